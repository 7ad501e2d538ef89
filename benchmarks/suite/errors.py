class BenchmarkError(Exception):
    """There is no figure, and why."""
