"""The only package that imports confluent_kafka's clients: settings, consumer, producer, admin, error translation."""
