"""Settings of programs that name no cluster: the local one of this folder, if it runs."""

from __future__ import annotations

from streams.embedded import discover
from streams.settings import Settings, load_settings


def with_local_cluster(settings: Settings) -> Settings:
    """Return the settings with the local cluster's addresses, unless they name a cluster themselves."""
    local = None if settings.bootstrap_servers else discover()
    if local is None:
        return settings
    found = {
        "bootstrap_servers": local.bootstrap_servers,
        "schema_registry_url": settings.schema_registry_url or local.schema_registry_url,
    }
    return settings.model_copy(update=found)


def default_settings() -> Settings:
    """Return the settings of the environment and of `streams.toml`, with the local cluster where they name none.

    Raises:
        UsageError: a setting is unknown or wrong.
    """
    return with_local_cluster(load_settings())
