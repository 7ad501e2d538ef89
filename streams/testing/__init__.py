"""Testing apps: on a cluster in memory, on the embedded one, in containers."""
