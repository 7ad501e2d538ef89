"""Health is progress: what workers tell of themselves, what it means, and where it is told."""
