"""Rows 15 to 20 of the table of faults with real sound servers: what is heard and told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from detector.boottime import boottime
from detector.configured_model import ConfiguredModel
from detector.health_report import ProblemKind
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.inference.worker import Worker
from detector.operate.schedule import Schedule
from detector.records import SAMPLE_RATE, FloatArray
from detector.settings.models import ModelSettings
from detector.settings.sources import SourceSettings
from detector.source import Source
from tests.bundles import LOW_HZ, tone_bundle
from tests.capture.test_microphone import microphone
from tests.capturing import listening, position
from tests.hearing import Written
from tests.sound import SoundServer, noise, tone

pytestmark = pytest.mark.sound


class Listener:
    """A source that hears a real microphone with a real model, and what it told."""

    def __init__(self, folder: Path, device: str) -> None:
        self.told = Written()
        session = Session(load_bundle(str(tone_bundle(folder / "tones", hop_s=0.5))), "cpu")
        model = ConfiguredModel("tones", session.spec, ModelSettings(bundle="x"))
        settings = SourceSettings(name="hall", device=device)
        self.source = Source(
            settings, "attic", [(model, Worker(session))], self.told, Schedule((), None), {}
        )

    @property
    def problems(self) -> list[ProblemKind]:
        return [problem.kind for problem in self.told.healths[-1].problems]

    async def until(self, true: Callable[[], object], within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not true():  # noqa: ASYNC110 (of whatever it is told)
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def hearing(folder: Path, device: str = "hall") -> AsyncIterator[Listener]:
    listener = Listener(folder, device)
    listener.source.declare()
    task = asyncio.create_task(listener.source.run())
    try:
        await listener.until(lambda: listener.told.statuses[-1] == "listening", 8)
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.slow
def test_row_19_silence_clipping_and_an_offset_are_told_and_are_no_events(
    sound_server: SoundServer, tmp_path: Path
) -> None:
    hum = 0.2 * tone(LOW_HZ / 7, 13)

    async def scenario() -> None:
        async with hearing(tmp_path) as heard:
            await heard.until(lambda: heard.problems == ["silent"], 15)
            assert heard.told.statuses[-1] == "silent"
            for sound, problem in (
                (np.sign(hum[: 4 * SAMPLE_RATE]), "clipping"),
                (hum + np.float32(0.3), "dc_offset"),
            ):
                playing = asyncio.create_task(
                    asyncio.to_thread(sound_server.play_samples, sound, SAMPLE_RATE)
                )
                await heard.until(lambda problem=problem: problem in heard.problems, 20)  # type: ignore[misc]
                await playing
            assert "clipping" in heard.told.statuses
            assert heard.told.events == []

    asyncio.run(scenario())


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8_000, 1), (96_000, 6)])
def test_row_20_other_rates_and_channels_are_heard_as_what_they_are(
    sound_server: SoundServer, rate: int, channels: int
) -> None:
    sound_server.unload_sink()
    sound_server.load_sink(rate, channels)
    sound = noise(1.5, 8_000)

    async def scenario() -> None:
        async with listening(microphone("hall")) as [capture]:
            await asyncio.to_thread(sound_server.play_samples, sound, 8_000)
            await capture.heard(0.5)
            played = np.interp(np.arange(24_000) / 2, np.arange(len(sound)), sound)
            _, correlation = position(played.astype(np.float32), capture.samples)
            assert correlation > 0.9
            assert capture.gaps == []

    asyncio.run(scenario())


@pytest.mark.slow
def test_row_20_channels_that_cancel_are_told(sound_server: SoundServer, tmp_path: Path) -> None:
    one = noise(12, SAMPLE_RATE)
    stereo: FloatArray = np.stack([one, -one], axis=1)

    async def scenario() -> None:
        async with hearing(tmp_path) as heard:
            playing = asyncio.create_task(
                asyncio.to_thread(sound_server.play_samples, stereo, SAMPLE_RATE)
            )
            await heard.until(lambda: "out_of_phase" in heard.problems, 20)
            await playing

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["unload_sink", "kill", "stop"])
def test_rows_15_to_17_the_death_of_one_microphone_costs_another_no_sample(
    sound_server: SoundServer, other_sound_server: SoundServer, fault: str
) -> None:
    sound = noise(5.0, SAMPLE_RATE)

    async def scenario() -> None:
        async with listening(microphone("hall"), microphone("yard")) as [hall, yard]:
            playing = asyncio.create_task(
                asyncio.to_thread(other_sound_server.play_samples, sound, SAMPLE_RATE)
            )
            await yard.heard(1)
            died = boottime()
            getattr(sound_server, fault)()
            told = await hall.status("stalled" if fault == "stop" else "offline")
            assert told - died < 3
            await playing
            await yard.heard(0.5)
            if fault == "stop":
                sound_server.cont()
            assert yard.gaps == []
            assert yard.cuts == []
            assert [status for status, _ in yard.statuses] == ["listening"]
            _, correlation = position(sound, yard.samples)
            assert correlation > 0.99

    asyncio.run(scenario())
