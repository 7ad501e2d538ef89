"""A post reaches notifications, news feeds and analytics at the same time, each at its own pace."""
