"""What was begun of one partition and is not committed yet: results wait here for those of earlier records.

A job stays until its offset is committed: after an aborted transaction the same results are taken again, and nothing
runs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from streams.runners import Job


class Window:
    """Jobs by offset; `size` is the bytes that they were said to hold."""

    def __init__(self) -> None:
        self.size = 0
        self._jobs: dict[int, tuple[Job, int]] = {}

    def __len__(self) -> int:
        """Count the jobs."""
        return len(self._jobs)

    def __iter__(self) -> Iterator[tuple[int, Job]]:
        """Yield offsets with their jobs, in the order in which they were begun."""
        return ((offset, job) for offset, (job, _) in self._jobs.items())

    def get(self, offset: int) -> Job | None:
        """Return the job of an offset, if it was begun."""
        held = self._jobs.get(offset)
        return None if held is None else held[0]

    def put(self, offset: int, job: Job, size: int) -> None:
        """Note a job, or that it holds more by now."""
        self.forget(offset)
        self._jobs[offset] = (job, size)
        self.size += size

    def prefix(self, offsets: Iterable[int], needless: Callable[[int, Job | None], bool]) -> int:
        """Count how many of these offsets, from the first on, have ended, or need no job as `needless` says."""
        count = 0
        for offset in offsets:
            job = self.get(offset)
            if not (job is not None and job.ended) and not needless(offset, job):
                break
            count += 1
        return count

    def forget(self, offset: int) -> Job | None:
        """Return the job of an offset, which is not held any more."""
        job, size = self._jobs.pop(offset, (None, 0))
        self.size -= size
        return job

    def committed(self, below: int) -> list[Job]:
        """Forget the jobs of committed offsets, and return them."""
        found = (self.forget(offset) for offset in [offset for offset in self._jobs if offset < below])
        return [job for job in found if job is not None]
