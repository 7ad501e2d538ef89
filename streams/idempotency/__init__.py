"""Idempotency: ids of events, and the inbox that knows them."""
