"""A thread that runs one model, so that the event loop never waits for it."""

import asyncio
import queue
import threading
from concurrent.futures import Future

from detector.inference.session import Session
from detector.records import Scores, Window


class Worker:
    """Scores windows of all sources, one after the other, in a thread of its own.

    The thread is a daemon: a computation that hangs must not keep the process from ending. The
    queue is bounded by its users, each of which waits for one answer at a time.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._jobs: queue.SimpleQueue[tuple[Window, Future[Scores]]] = queue.SimpleQueue()
        name = f"inference {session.spec.id}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def score(self, window: Window) -> Scores:
        """Score one window.

        Raises:
            BundleError: the model's answer is not what its bundle promises.
        """
        answer: Future[Scores] = Future()
        self._jobs.put((window, answer))
        return await asyncio.wrap_future(answer)

    def _run(self) -> None:
        while True:
            window, answer = self._jobs.get()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(self._session.score([window])[0])
            except BaseException as error:  # noqa: BLE001 (who asked for the answer raises it)
                answer.set_exception(error)
