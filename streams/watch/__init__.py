"""What a worker watches beside its work: ends of partitions, partitions that nobody owns, topics."""
