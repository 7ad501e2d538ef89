"""A typed, exactly-once event-streaming toolkit for Apache Kafka."""
