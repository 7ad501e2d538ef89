"""Batches of columns: Avro frames to Arrow record batches and back, and processors whose handlers take them."""
