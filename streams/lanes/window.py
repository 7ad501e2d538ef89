"""What was begun of one partition and is not committed yet: results wait here for those of earlier records.

A job stays until it is committed: after an aborted transaction the same results are taken again, nothing runs twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeVar

from streams.lanes.runners import Job

J = TypeVar("J", bound=Job)


class Window(Generic[J]):
    """Jobs by the offset of their record.

    A job is queued, running or ended; once its result went through `step` it is taken; once that is committed it is
    gone. `size` is what the jobs hold, in bytes; `failing` counts the failed ones that are not taken, by lane.
    """

    def __init__(self) -> None:
        self.size = 0
        self.failing: Counter[object] = Counter()
        self._jobs: dict[int, J] = {}
        self._taken: set[int] = set()

    def __len__(self) -> int:
        """Count the jobs whose results are not taken."""
        return len(self._jobs) - len(self._taken)

    def untaken(self) -> Iterator[J]:
        """Yield the jobs whose results are not taken."""
        return (job for offset, job in self._jobs.items() if offset not in self._taken)

    def __iter__(self) -> Iterator[J]:
        """Yield the jobs in the order in which they were put in."""
        return iter(self._jobs.values())

    def get(self, offset: int) -> J | None:
        """Return the job of a record, unless its result is taken."""
        return None if offset in self._taken else self._jobs.get(offset)

    def put(self, offset: int, job: J) -> None:
        """Note a job; it takes the place of an earlier one of the same record."""
        self.forget(offset)
        self._jobs[offset] = job
        self.size += job.size

    def ended(self, job: J, size: int) -> None:
        """Note that a job ended and now holds so many bytes more."""
        job.size += size
        self.size += size
        self.failing[job.lane] += job.error is not None

    def take(self, offset: int) -> J | None:
        """Note that a record was stepped; return its job if that did not begin, so it never need."""
        job = self.get(offset)
        if job is None:
            return None
        if not job.ended:
            return self.forget(offset)
        self._taken.add(offset)
        self._let_go(job)
        return None

    def forget(self, offset: int) -> J | None:
        """Return the job of a record, which is not held any more."""
        job = self._jobs.pop(offset, None)
        if job is not None:
            self.size -= job.size
            if offset not in self._taken:
                self._let_go(job)
        self._taken.discard(offset)
        return job

    def committed(self) -> None:
        """Forget what is taken."""
        for offset in list(self._taken):
            self.forget(offset)

    def failed_with(self, kind: type[Exception]) -> list[J]:
        """Forget the jobs that ended with such an error, and return them."""
        found = [offset for offset, job in self._jobs.items() if job.ended and isinstance(job.error, kind)]
        return [job for offset in found if (job := self.forget(offset)) is not None]

    def rewind(self) -> None:
        """Take nothing for taken that is not committed."""
        self._taken.clear()
        self.failing = Counter(job.lane for job in self if job.ended and job.error is not None)

    def unbegun(self) -> list[J]:
        """Forget the jobs that did not begin, and return them."""
        found = [offset for offset, job in self._jobs.items() if not job.running and not job.ended]
        return [job for offset in found if (job := self.forget(offset)) is not None]

    def _let_go(self, job: J) -> None:
        if job.ended and job.error is not None:
            self.failing[job.lane] -= 1
            if not self.failing[job.lane]:
                del self.failing[job.lane]
