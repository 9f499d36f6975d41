"""A source that runs, with a capture that delivers what it is given and a model that misbehaves."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from detector.boottime import boottime
from detector.capture.capture import Capture
from detector.capture.clock import SampleClock
from detector.capture.ring import RingBuffer
from detector.capture.status import OnStatus
from detector.configured_model import ConfiguredModel
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.inference.worker import Worker
from detector.operate.schedule import Schedule
from detector.publish.messages import EventMessage, GapMessage
from detector.publish.publisher import Publisher
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Gap, Scores, SourceStatus, Window
from detector.settings.models import ModelSettings
from detector.settings.sources import SourceSettings
from detector.source import Source
from tests.bundles import tone_bundle
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
