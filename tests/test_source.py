"""A source through bursts, late, failing and hanging models, and captures that break."""

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from detector.errors import AudioFileError, InferenceError, ModelFailedError
from detector.inference.worker import MOST_FAILURES
from detector.publish.messages import EventMessage
from detector.records import SAMPLE_RATE
from tests.bundles import LOW_HZ
from tests.hearing import HOP_S, PATIENCE_S, SPEED, Model, hearing, model, other
from tests.test_pipeline import scene

__all__ = ["model", "other"]


def test_a_burst_after_a_stall_is_heard_whole(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    """Ten seconds at once are no overload if the model is quick."""

    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            model.slow_s = 0.001
            heard.capture.sound(scene(10, (LOW_HZ, 1, 2), (LOW_HZ, 7, 8)))
            heard.capture.close()
            await asyncio.wait_for(heard.task, PATIENCE_S)
            stats = heard.source.stats()
            assert stats.windows_skipped == 0
            assert stats.samples_heard == 10 * SAMPLE_RATE
            assert [e.type for e in heard.written.events] == ["start", "end"] * 2
            assert heard.written.gaps == []
            assert [w.end_sample for w in model.windows if w.new_samples] == [
                round(HOP_S * SAMPLE_RATE) * (i + 1) for i in range(20)
            ]

    asyncio.run(run())


def test_a_model_that_cannot_keep_up_leaves_out_windows_and_is_never_very_late(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    """The hop grows; nothing of the sound is lost as long as windows overlap."""

    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            model.slow_s = 0.4  # for half a second of sound, which here comes in an eighth
            pace = asyncio.create_task(heard.pace(24))
            late = []
            while not pace.done():
                await asyncio.sleep(0.02)
                scored = max((w.end_sample for w in model.windows), default=0)
                late.append(heard.capture.end - scored)
            assert max(late) / SAMPLE_RATE < 10
            stats = heard.source.stats()
            assert stats.windows_skipped > 10
            assert stats.samples_overrun == 0
            assert heard.written.gaps == []

    asyncio.run(run())


def test_what_a_model_that_is_far_too_slow_did_not_see_is_a_gap_of_that_model(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            model.slow_s = 0.9  # a window each three and a half seconds, and it shows 2.56 s
            await heard.pace(20)
            await heard.until(lambda: len(heard.written.gaps) >= 2)
            for gap in heard.written.gaps:
                assert (gap.model, gap.reason) == ("tones@1", "overrun")
                assert 0.1 < gap.duration_s < 8
            assert heard.source.stats().samples_overrun == 0

    asyncio.run(run())


def test_a_model_that_hangs_is_said_to_have_stalled_and_another_goes_on(
    monkeypatch: pytest.MonkeyPatch, model: Model, other: Model
) -> None:
    monkeypatch.setattr("detector.overload.HUNG_S", 1.0)
    monkeypatch.setattr("detector.overload.HUNG_HOPS", 0)

    async def run() -> None:
        async with hearing(monkeypatch, model, other) as heard:
            await heard.pace(3, LOW_HZ)
            await heard.until(lambda: len(heard.written.events) == 2)
            model.answers.clear()
            pace = asyncio.create_task(heard.pace(14, LOW_HZ))
            await heard.until(lambda: "stalled" in heard.written.statuses)
            ends = [e for e in heard.written.events if e.type == "end"]
            assert [(e.model, e.truncated) for e in ends] == [("tones@1", True)]
            await pace
            await heard.until(lambda: other.windows[-1].end_sample > 16 * SAMPLE_RATE)
            model.answers.set()
            await heard.until(lambda: heard.written.statuses[-1] == "listening")
            await heard.pace(3, LOW_HZ)
            await heard.until(lambda: heard.starts.count("tones@1") >= 2)
            await heard.until(lambda: heard.written.gaps)
            assert {g.model for g in heard.written.gaps} == {"tones@1"}
            assert sum(g.duration_s for g in heard.written.gaps) > 4

    asyncio.run(run())


def test_a_model_that_fails_is_a_gap_and_the_source_goes_on(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            await heard.pace(2, LOW_HZ)
            await heard.until(lambda: heard.written.events)
            model.wrong = InferenceError("no numbers", "not_finite")
            await heard.pace(HOP_S * (MOST_FAILURES - 2))
            await heard.until(lambda: heard.source.stats().windows_failed > 10)
            model.wrong = None
            await heard.pace(4, LOW_HZ)
            await heard.until(lambda: len(heard.written.events) == 3)
            start, end, again = heard.written.events
            assert (start.type, end.type, end.truncated, again.type) == (
                "start",
                "end",
                True,
                "start",
            )
            [gap] = heard.written.gaps
            assert (gap.model, gap.reason) == ("tones@1", "not_finite")
            assert end.duration_s == pytest.approx(2, abs=0.1)
            assert heard.written.statuses == ["listening"]

    asyncio.run(run())


def test_a_model_that_fails_time_and_again_ends_the_source_for_a_restart(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            await heard.pace(2, LOW_HZ)
            await heard.until(lambda: heard.written.events)
            model.wrong = RuntimeError("the device is lost")
            await heard.pace(HOP_S * (MOST_FAILURES + 2))
            with pytest.raises(ModelFailedError, match="the device is lost"):
                await asyncio.wait_for(heard.task, PATIENCE_S)
            assert [e.type for e in heard.written.events] == ["start", "end"]
            assert heard.written.statuses[-1] == "offline"

    asyncio.run(run())


@pytest.mark.parametrize("error", [AudioFileError("x.wav: is damaged"), ZeroDivisionError("oops")])
def test_a_source_that_fails_goes_offline_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, model: Model, error: Exception
) -> None:
    monkeypatch.setattr("detector.source.FIRST_PAUSE_S", 0.05)

    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            await heard.pace(3, LOW_HZ)
            await heard.until(lambda: heard.written.events)
            heard.capture.fail(error)
            await heard.until(
                lambda: heard.written.statuses == ["listening", "offline", "listening"]
            )
            assert [(e.type, e.truncated) for e in heard.written.events] == [
                ("start", False),
                ("end", True),
            ]
            heard.capture.gap(1)
            await heard.pace(3, LOW_HZ)
            await heard.until(lambda: len(heard.written.events) == 3)
            first, again = heard.written.events[0], heard.written.events[2]
            assert again.type == "start"
            assert again.id != first.id
            assert heard.source.stats().events == 3
            said = heard.source.explain(first.onset + timedelta(seconds=1 / SPEED), 0.2)
            assert [(label.label, label.why) for label in said.labels] == [("low", "merged")]
            assert said.labels[0].peak > 0.9, "what was scored before the failure is remembered"

    asyncio.run(run())


def test_a_mistake_while_it_stops_keeps_nothing_from_stopping(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            await heard.pace(2, LOW_HZ)
            await heard.until(lambda: heard.written.events)

            def broken(_: EventMessage) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr(heard.written, "event", broken)
            heard.task.cancel()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.wait([heard.task])
            assert heard.task.cancelled()
            assert heard.written.statuses[-1] == "offline"

    asyncio.run(run())


def test_a_recording_that_has_ended_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    monkeypatch.setattr("detector.source.FIRST_PAUSE_S", 2 * PATIENCE_S)

    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            await heard.pace(2, LOW_HZ)
            await heard.until(lambda: heard.written.events)

            def broken(_: EventMessage) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr(heard.written, "event", broken)
            heard.capture.close()
            await asyncio.wait_for(heard.task, PATIENCE_S)
            assert heard.written.statuses[-1] == "offline"

    asyncio.run(run())


def test_a_gap_of_hours_is_no_backlog(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    """After it, no window is left out: it is sound that makes a model late."""

    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            await heard.pace(3, LOW_HZ)
            heard.capture.gap(7200)
            await heard.pace(3, LOW_HZ)
            heard.capture.close()
            await asyncio.wait_for(heard.task, PATIENCE_S)
            stats = heard.source.stats()
            assert (stats.windows_skipped, stats.gaps) == (0, 1)
            assert stats.samples_heard == 6 * SAMPLE_RATE
            assert [e.type for e in heard.written.events] == ["start", "end"] * 2

    asyncio.run(run())


def test_ends_what_is_open_when_it_is_told_to_stop(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    async def run() -> None:
        async with hearing(monkeypatch, model) as heard:
            await heard.pace(3, LOW_HZ)
            await heard.until(lambda: heard.written.events)
            heard.capture.gap(600)
            await asyncio.sleep(0.1)
            heard.task.cancel()
            await asyncio.gather(heard.task, return_exceptions=True)
            end = heard.written.events[-1]
            assert (end.type, end.truncated) == ("end", True)
            assert end.duration_s is not None
            assert 2 < end.duration_s < 4
            assert np.isfinite(end.level_dbfs)

    asyncio.run(run())
