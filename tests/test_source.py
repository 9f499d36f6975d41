"""A source through bursts, late, failing and hanging models, and captures that break."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from detector.boottime import boottime
from detector.capture.capture import Capture
from detector.capture.clock import SampleClock
from detector.capture.ring import RingBuffer
from detector.capture.status import OnStatus
from detector.configured_model import ConfiguredModel
from detector.errors import AudioFileError, InferenceError, ModelFailedError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.inference.worker import MOST_FAILURES, Worker
from detector.operate.schedule import Schedule
from detector.publish.messages import EventMessage, GapMessage
from detector.publish.publisher import Publisher
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Gap, Scores, SourceStatus, Window
from detector.settings.models import ModelSettings
from detector.settings.sources import SourceSettings
from detector.source import Source
from tests.bundles import LOW_HZ, tone_bundle
from tests.test_pipeline import scene

PATIENCE_S = 30
HOP_S = 0.5
SPEED = 4
"""How many times as fast as sound it goes here."""


class Written(Publisher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[EventMessage] = []
        self.gaps: list[GapMessage] = []
        self.statuses: list[SourceStatus] = []

    def event(self, message: EventMessage) -> None:
        self.events.append(message)

    def gap(self, message: GapMessage) -> None:
        self.gaps.append(message)

    def source_status(self, source: str, status: SourceStatus) -> None:  # noqa: ARG002
        self.statuses.append(status)


class Delivered:
    """A capture that delivers what it is given, when it is given; it is open until it is closed."""

    description = "a test"

    def __init__(self) -> None:
        self._clock = SampleClock(SPEED * SAMPLE_RATE)
        self._items: asyncio.Queue[AudioBlock | Gap | Exception | None] = asyncio.Queue()
        self.end = 0

    @property
    def clock(self) -> SampleClock:
        return self._clock

    async def run(self, ring: RingBuffer, on_status: OnStatus) -> None:
        on_status("listening")
        while (item := await self._items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, AudioBlock):
                self._clock.observe(item.end_sample, boottime())
            ring.write(item)
        on_status("offline")

    def sound(self, samples: FloatArray) -> None:
        self._items.put_nowait(AudioBlock(self.end, samples))
        self.end += len(samples)

    def gap(self, seconds: float) -> None:
        self._items.put_nowait(Gap(self.end, round(seconds * SAMPLE_RATE), "stall"))
        self.end += round(seconds * SAMPLE_RATE)

    def fail(self, error: Exception) -> None:
        self._items.put_nowait(error)

    def close(self) -> None:
        self._items.put_nowait(None)


class Model(Session):
    """A real model, which can be made slow, wrong or silent."""

    def __init__(self, folder: Path) -> None:
        super().__init__(load_bundle(str(folder)), "cpu")
        self.slow_s = 0.0
        self.wrong: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.windows: list[Window] = []

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        self.windows += windows
        time.sleep(self.slow_s)
        self.answers.wait(PATIENCE_S)
        if self.wrong:
            raise self.wrong
        return super().score(windows)


class Heard:
    """A source that runs."""

    def __init__(self, capture: Delivered, models: Sequence[Model], written: Written) -> None:
        self.capture, self.written = capture, written
        configured_models = [
            (ConfiguredModel(model.spec.name, model.spec, ModelSettings(bundle="x")), Worker(model))
            for model in models
        ]
        settings = SourceSettings(name="hall", device="test")
        self.source = Source(settings, "attic", configured_models, written, Schedule((), None), {})
        self.task = asyncio.create_task(self.source.run())

    @property
    def starts(self) -> list[str]:
        """The models that told of a beginning."""
        return [event.model for event in self.written.events if event.type == "start"]

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)

    async def pace(self, seconds: float, hz: float | None = None) -> None:
        """Sound as it would arrive, but SPEED times as fast."""
        tones = [(hz, 0, seconds)] if hz else []
        samples = scene(seconds, *tones)
        for i in range(0, len(samples), SAMPLE_RATE // 10):
            self.capture.sound(samples[i : i + SAMPLE_RATE // 10])
            await asyncio.sleep(0.1 / SPEED)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tone_bundle(tmp_path / "tones", hop_s=HOP_S))


@pytest.fixture
def other(tmp_path: Path) -> Model:
    return Model(tone_bundle(tmp_path / "other", "other", hop_s=HOP_S))


@contextlib.asynccontextmanager
async def hearing(monkeypatch: pytest.MonkeyPatch, *models: Model) -> AsyncIterator[Heard]:
    capture = Delivered()

    def opened(_: SourceSettings) -> Capture:
        return capture

    began = time.monotonic()
    monkeypatch.setattr("detector.source.open_capture", opened)
    monkeypatch.setattr(
        "detector.source.monotonic", lambda: began + SPEED * (time.monotonic() - began)
    )
    heard = Heard(capture, models, Written())
    try:
        yield heard
    finally:
        for model in models:
            model.answers.set()
        heard.task.cancel()
        await asyncio.gather(heard.task, return_exceptions=True)


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
    monkeypatch.setattr("detector.source.HUNG_S", 1.0)
    monkeypatch.setattr("detector.source.HUNG_HOPS", 0)

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
