class BenchmarkError(Exception):
    """There is no figure, and why."""


class WrongOutputError(BenchmarkError):
    """An output is not what it has to be: who writes it has no figure at all."""
