"""Failures: what becomes of a record that cannot be handled, and of what waits."""
