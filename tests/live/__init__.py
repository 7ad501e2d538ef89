"""What tests with a real Kafka share: a second client, test processors, worker processes."""
