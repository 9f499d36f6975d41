"""Which windows are scored together, and when. Pure: it is told what time it is."""

from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64)
"""Sizes of a batch for which a device keeps memory, and a graph of its own, ready."""

Job = TypeVar("Job")


def bucket_of(count: int) -> int:
    """The smallest bucket that holds so many windows; the others of its places are padding.

    Raises:
        ValueError: none does.
    """
    for bucket in BUCKETS:
        if count <= bucket:
            return bucket
    raise ValueError(f"{count} windows are more than the largest bucket holds, {BUCKETS[-1]}")


class Batcher(Generic[Job]):
    """Windows of all sources that wait for one model.

    A batch is due when it is full, or when the one that waits longest has waited for `max_delay_s`.
    Sources take turns, so that one with a backlog delays another by no more than one window a
    batch; each has its own windows in order.
    """

    def __init__(self, largest: int = 1, max_delay_s: float = 0.0) -> None:
        """Set up.

        Args:
            largest: batch, in windows.
            max_delay_s: how long a window may wait for others. At 0 those are scored together that
                have come while the model was busy, and nothing ever waits for company.
        """
        self._largest, self._max_delay_s = largest, max_delay_s
        self._waiting: dict[Hashable, deque[tuple[float, Job]]] = {}
        """Of each source that has windows waiting, since when; whose turn it is comes first."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, source: Hashable, job: Job, now_s: float) -> None:
        """Take another window of a source."""
        self._waiting.setdefault(source, deque()).append((now_s, job))
        self._count += 1

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until a batch is due, 0 if one is; None if nothing waits."""
        if not self._count:
            return None
        if self._count >= self._largest:
            return 0.0
        oldest = min(jobs[0][0] for jobs in self._waiting.values())
        return max(0.0, oldest + self._max_delay_s - now_s)

    def take(self) -> list[Job]:
        """The next batch, due or not; empty if nothing waits."""
        batch: list[Job] = []
        while self._count and len(batch) < self._largest:
            source = next(iter(self._waiting))
            jobs = self._waiting.pop(source)
            batch.append(jobs.popleft()[1])
            self._count -= 1
            if jobs:
                self._waiting[source] = jobs  # at the end of the line
        return batch
