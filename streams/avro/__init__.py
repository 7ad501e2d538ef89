"""Avro: framing, codecs of generated pydantic models, compatibility of versions, the schema registry."""
