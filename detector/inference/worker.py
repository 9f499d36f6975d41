"""A thread that runs one model, so that the event loop never waits for it."""

import asyncio
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog

from detector.errors import InferenceError, ModelFailedError
from detector.inference.batching import Batcher
from detector.inference.scorer import Scorer
from detector.records import Scores, Unscored, Window

log = structlog.get_logger()

MOST_FAILURES: Final = 20
"""So many windows in a row that cannot be scored are no accident."""


@dataclass(frozen=True, slots=True)
class _Job:
    window: Window
    answer: asyncio.Future[Scores]


class Worker:
    """Scores windows of all sources in a thread of its own, several at once if they wait.

    The thread is a daemon: a computation that hangs must not keep the process from ending. What
    waits is bounded by its users, each of which waits for the answers to a few windows.
    """

    def __init__(
        self, scorer: Scorer, largest_batch: int | None = None, max_delay_s: float = 0.0
    ) -> None:
        """Start the thread.

        Args:
            scorer: the model.
            largest_batch: windows that are scored at once, at most; what the scorer says if absent.
            max_delay_s: how long one waits for others.
        """
        self._scorer = scorer
        self.in_flight = scorer.in_flight
        self._batcher: Batcher[_Job] = Batcher(largest_batch or scorer.largest_batch, max_delay_s)
        self._changed = threading.Condition()
        self._closed = False
        self._failures = 0
        """In a row."""
        name = f"inference {scorer.spec.id}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def score(self, window: Window, source: Hashable = None) -> Scores | Unscored:
        """Score one window.

        Args:
            window: what to score.
            source: who asks; those take turns, and each gets its answers in order.

        Returns:
            Unscored if the model failed: that is said, and the next window may fare better.

        Raises:
            ModelFailedError: it has failed too often.
        """
        answer: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
        with self._changed:
            self._batcher.add(source, _Job(window, answer), monotonic())
            self._changed.notify()
        try:
            scores = await answer
        except Exception as error:  # noqa: BLE001 (whatever it is, a model has failed and no more)
            return self._failed(window, error)
        self._failures = 0
        return scores

    async def close(self, timeout_s: float) -> bool:
        """End the thread; say whether it has ended, which one that hangs does not."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, timeout_s)
        return not self._thread.is_alive()

    def _failed(self, window: Window, error: Exception) -> Unscored:
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise ModelFailedError(
                f"model {self._scorer.spec.id} has failed {self._failures} times in a row: {error}"
            ) from None
        if self._failures == 1:
            log.warning("a model fails", model=self._scorer.spec.id, error=str(error))
        reason = error.reason if isinstance(error, InferenceError) else "unscored"
        return Unscored(window.first_sample, window.end_sample, reason)

    def _run(self) -> None:
        while batch := self._next():
            jobs = [job for job in batch if not job.answer.done()]  # nobody waits for the others
            if not jobs:
                continue
            answers = self._score(jobs)
            loop = jobs[0].answer.get_loop()
            try:
                loop.call_soon_threadsafe(_deliver, jobs, answers)
            except RuntimeError:  # the loop has ended meanwhile
                return

    def _next(self) -> list[_Job]:
        """Wait for a batch that is due; none comes any more once this is closed and empty."""
        with self._changed:
            while True:
                due_in_s = self._batcher.due_in_s(monotonic())
                if due_in_s == 0 or self._closed:
                    return self._batcher.take()
                self._changed.wait(due_in_s)

    def _score(self, jobs: Sequence[_Job]) -> list[Scores | Exception]:
        """Score them together; if that fails each alone, since one may spoil it for all."""
        try:
            return list(self._scorer.score([job.window for job in jobs]))
        except BaseException as error:  # noqa: BLE001 (who asked for the answer is told)
            if len(jobs) > 1:
                return [answer for job in jobs for answer in self._score([job])]
            return [error if isinstance(error, Exception) else RuntimeError(repr(error))]


def _deliver(jobs: Sequence[_Job], answers: Sequence[Scores | Exception]) -> None:
    """Give each its answer, in the event loop's own thread."""
    for job, answer in zip(jobs, answers, strict=True):
        if job.answer.done():
            continue
        if isinstance(answer, Exception):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
