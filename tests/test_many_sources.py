"""A source's events do not depend on who else asks the same model."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detector.configured_model import ConfiguredModel
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.inference.worker import Worker
from detector.pipeline import Pipeline, work_of
from detector.records import AudioBlock, Cut, Event, FloatArray, Scores, Unscored, Window
from detector.settings.models import ModelSettings
from tests.bundles import HIGH_HZ, LOW_HZ, tone_bundle
from tests.test_pipeline import scene

SOURCES = 32
SECONDS = 4


def sound(number: int) -> FloatArray:
    """Tones at times of its own, louder or quieter than those of other sources."""
    rng = np.random.default_rng(number)
    onset, length, gain = rng.uniform(0.2, 2), rng.uniform(0.3, 1.5), rng.uniform(0.3, 3)
    samples = scene(SECONDS, (LOW_HZ, onset, onset + length), (HIGH_HZ, 1.1, 1.1 + length))
    return np.asarray(samples * gain, np.float32)


class Listener:
    """One source: its pipeline, what it was told, and what the model said."""

    def __init__(self, model: ConfiguredModel, number: int) -> None:
        self.name = f"source {number}"
        self.pipeline = Pipeline([model])
        self.samples = sound(number)
        self.events: list[Event] = []
        self.scores: list[FloatArray] = []

    async def run(self, worker: Worker) -> None:
        def blocks() -> Iterator[AudioBlock | Cut]:
            yield AudioBlock(0, self.samples)
            yield Cut(len(self.samples))

        for lane, work in work_of(self.pipeline, blocks()):
            answer: Scores | Unscored | Cut
            if isinstance(work, Window):
                answer = await worker.score(work, self.name)
            else:
                answer = work
            if isinstance(answer, Scores):
                self.scores += [x for x in (answer.clip, answer.frames) if x is not None]
            told = self.pipeline.resolve(lane, answer)
            self.events += [event for event in told if isinstance(event, Event)]


@pytest.mark.parametrize("largest", [1, 3, 32])
@pytest.mark.parametrize("bundle", ["tones", "sounds", "audioset"])
def test_a_sources_events_are_the_same_alone_and_among_31_others(
    tmp_path: Path, bundle: str, largest: int
) -> None:
    name = str(tone_bundle(tmp_path / "tones")) if bundle == "tones" else bundle
    loaded = load_bundle(name)
    model = ConfiguredModel("m", loaded.spec, ModelSettings(bundle=name, hop_s=0.96))
    session = Session(loaded, "cpu")

    async def alone() -> Listener:
        listener = Listener(model, 0)
        await listener.run(Worker(session, largest_batch=1))
        return listener

    async def together() -> list[Listener]:
        worker = Worker(session, largest, max_delay_s=0.01)
        listeners = [Listener(model, number) for number in range(SOURCES)]
        await asyncio.gather(*(listener.run(worker) for listener in listeners))
        return listeners

    expected, [found, *others] = asyncio.run(alone()), asyncio.run(together())
    assert len(found.scores) == len(expected.scores) > SECONDS * 0.9
    for one, other in zip(found.scores, expected.scores, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert times(found.events) == times(expected.events)
    assert any(not np.array_equal(found.scores[-1], other.scores[-1]) for other in others)
    if bundle == "tones":
        assert [event.type for event in expected.events].count("start") >= 2


def times(events: list[Event]) -> list[tuple[str, str, int, int | None]]:
    return [(e.type, e.label, e.onset_sample, e.offset_sample) for e in events]
