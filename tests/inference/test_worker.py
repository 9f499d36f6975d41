"""A thread that scores for the event loop."""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from detector.errors import ModelFailedError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.inference.worker import MOST_FAILURES, Worker
from detector.records import Scores, Unscored, Window
from tests.bundles import loudness_bundle

PATIENCE_S = 10


class HeldSession(Session):
    """Answers when it is let, and remembers which windows it was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(load_bundle(str(folder)), "cpu")
        self.asked: list[int] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        self.asked += [window.end_sample for window in windows]
        self.begun.set()
        if not self.go_on.wait(PATIENCE_S):
            raise TimeoutError
        return super().score(windows)


@pytest.fixture
def session(tmp_path: Path) -> HeldSession:
    return HeldSession(loudness_bundle(tmp_path / "loudness"))


def window(end_sample: int, *, amplitude: float = 0.0, size: int = 16_000) -> Window:
    return Window(0, end_sample, 10, np.full(size, amplitude, np.float32), amplitude**2)


def test_each_request_gets_its_own_answer(session: HeldSession) -> None:
    session.go_on.set()

    async def run() -> list[Scores | Unscored]:
        worker = Worker(session)
        asked = [worker.score(window(i, amplitude=i % 2)) for i in range(20)]
        return list(await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S))

    answers = asyncio.run(run())
    assert [scores.end_sample for scores in answers] == list(range(20))
    for i, scores in enumerate(answers):
        assert isinstance(scores, Scores)
        assert scores.clip is not None
        assert scores.clip[0] == pytest.approx(i % 2, abs=1e-3)


def test_the_event_loop_goes_on_while_a_window_is_scored(session: HeldSession) -> None:
    async def run() -> None:
        answer = asyncio.create_task(Worker(session).score(window(1)))
        await asyncio.to_thread(session.begun.wait, PATIENCE_S)
        assert not answer.done()
        session.go_on.set()
        scores = await asyncio.wait_for(answer, PATIENCE_S)
        assert scores.end_sample == 1

    asyncio.run(run())


def test_a_window_that_cannot_be_scored_is_unscored_and_the_next_one_is_not(
    session: HeldSession,
) -> None:
    session.go_on.set()

    async def run() -> None:
        worker = Worker(session)
        for _ in range(2 * MOST_FAILURES):
            wrong, right = worker.score(window(1, size=99)), worker.score(window(2))
            answers = await asyncio.gather(wrong, right)
            assert answers[0] == Unscored(0, 1, "unscored")
            assert isinstance(answers[1], Scores)

    asyncio.run(run())


def test_a_model_that_fails_time_and_again_is_given_up(session: HeldSession) -> None:
    session.go_on.set()

    async def run() -> None:
        worker = Worker(session)
        for _ in range(MOST_FAILURES - 1):
            assert isinstance(await worker.score(window(1, size=99)), Unscored)
        with pytest.raises(
            ModelFailedError, match=f"loudness@1 has failed {MOST_FAILURES} times"
        ) as e:
            await worker.score(window(1, size=99))
        assert e.value.exit_code == 5
        assert "99" in str(e.value)

    asyncio.run(run())


def test_a_worker_is_closed_when_it_has_done_what_it_was_asked_and_not_while_it_hangs(
    session: HeldSession,
) -> None:
    async def run() -> None:
        worker = Worker(session)
        answer = asyncio.create_task(worker.score(window(1)))
        await asyncio.to_thread(session.begun.wait, PATIENCE_S)
        assert not await worker.close(0.05)
        session.go_on.set()
        assert isinstance(await asyncio.wait_for(answer, PATIENCE_S), Scores)
        assert await worker.close(PATIENCE_S)

    asyncio.run(run())


def test_a_request_that_was_cancelled_is_not_computed(session: HeldSession) -> None:
    async def run() -> None:
        worker = Worker(session, largest_batch=1)
        first, second, third = (asyncio.create_task(worker.score(window(i))) for i in (1, 2, 3))
        await asyncio.to_thread(session.begun.wait, PATIENCE_S)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        session.go_on.set()
        await asyncio.wait_for(asyncio.gather(first, third), PATIENCE_S)

    asyncio.run(run())
    assert session.asked == [1, 3]


def test_an_answer_nobody_waits_for_any_more_does_no_harm(session: HeldSession) -> None:
    async def run() -> None:
        worker = Worker(session)
        asked = asyncio.create_task(worker.score(window(1)))
        await asyncio.to_thread(session.begun.wait, PATIENCE_S)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        session.go_on.set()
        answer = await asyncio.wait_for(worker.score(window(2)), PATIENCE_S)
        assert answer.end_sample == 2

    asyncio.run(run())


def test_what_came_while_the_model_was_busy_is_scored_at_once(session: HeldSession) -> None:
    sizes: list[int] = []
    score = session.score
    session.score = lambda windows: sizes.append(len(windows)) or score(windows)  # type: ignore[method-assign, func-returns-value]

    async def run() -> list[Scores | Unscored]:
        worker = Worker(session, largest_batch=4)
        asked = [asyncio.create_task(worker.score(window(0), "first"))]
        await asyncio.to_thread(session.begun.wait, PATIENCE_S)
        asked += [
            asyncio.create_task(worker.score(window(i, amplitude=i % 2), f"source {i}"))
            for i in range(1, 7)
        ]
        await asyncio.sleep(0)
        session.go_on.set()
        return list(await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S))

    answers = asyncio.run(run())
    assert sizes == [1, 4, 2]
    for i, scores in enumerate(answers):
        assert isinstance(scores, Scores)
        assert scores.clip is not None
        assert (scores.end_sample, scores.clip[0]) == (i, pytest.approx(i % 2, abs=1e-3))


def test_a_window_waits_for_company_no_longer_than_it_may(session: HeldSession) -> None:
    session.go_on.set()

    async def run() -> float:
        worker = Worker(session, largest_batch=4, max_delay_s=0.2)
        began = time.monotonic()
        await asyncio.wait_for(worker.score(window(1)), PATIENCE_S)
        return time.monotonic() - began

    assert asyncio.run(run()) >= 0.2


def test_a_window_that_cannot_be_scored_does_not_spoil_the_others_of_its_batch(
    session: HeldSession,
) -> None:
    async def run() -> list[Scores | Unscored]:
        worker = Worker(session, largest_batch=4)
        asked = [asyncio.create_task(worker.score(window(0)))]
        await asyncio.to_thread(session.begun.wait, PATIENCE_S)
        asked += [
            asyncio.create_task(worker.score(window(i, size=99 if i == 2 else 16_000), i))
            for i in (1, 2, 3)
        ]
        await asyncio.sleep(0)
        session.go_on.set()
        return list(await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S))

    answers = asyncio.run(run())
    assert [isinstance(answer, Scores) for answer in answers] == [True, True, False, True]
