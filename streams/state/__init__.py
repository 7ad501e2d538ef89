"""Keyed state: a backend that only ever holds committed data, overlays for what is not committed yet, restore."""
