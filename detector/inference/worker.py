"""A thread that runs one model, so that the event loop never waits for it."""

import asyncio
import queue
import threading
from concurrent.futures import Future
from typing import Final

import structlog

from detector.errors import InferenceError, ModelFailedError
from detector.inference.scorer import Scorer
from detector.records import Scores, Unscored, Window

log = structlog.get_logger()

MOST_FAILURES: Final = 20
"""So many windows in a row that cannot be scored are no accident."""


class Worker:
    """Scores windows of all sources, one after the other, in a thread of its own.

    The thread is a daemon: a computation that hangs must not keep the process from ending. The
    queue is bounded by its users, each of which waits for one answer at a time.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._jobs: queue.SimpleQueue[tuple[Window, Future[Scores]] | None] = queue.SimpleQueue()
        self._failures = 0
        """In a row."""
        name = f"inference {scorer.spec.id}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def score(self, window: Window) -> Scores | Unscored:
        """Score one window.

        Returns:
            Unscored if the model failed: that is said, and the next window may fare better.

        Raises:
            ModelFailedError: it has failed too often.
        """
        answer: Future[Scores] = Future()
        self._jobs.put((window, answer))
        try:
            scores = await asyncio.wrap_future(answer)
        except Exception as error:  # noqa: BLE001 (whatever it is, a model has failed and no more)
            return self._failed(window, error)
        self._failures = 0
        return scores

    async def close(self, timeout_s: float) -> bool:
        """End the thread; say whether it has ended, which one that hangs does not."""
        self._jobs.put(None)
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
        while (job := self._jobs.get()) is not None:
            window, answer = job
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(self._scorer.score([window])[0])
            except BaseException as error:  # noqa: BLE001 (who asked for the answer raises it)
                answer.set_exception(error)
