"""A recording as a source: at its own pace, again and again, and damaged."""

import asyncio
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from structlog.testing import capture_logs

from detector.boottime import boottime
from detector.capture.playback import Recording
from detector.capture.ring import RingBuffer
from detector.errors import AudioFileError
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Gap
from tests.capture.test_recording import tone
from tests.sound import noise


def test_a_recording_is_played_at_its_own_pace(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(16_000, 0.75), 16_000, subtype="FLOAT")

    async def scenario() -> None:
        ring, recording = RingBuffer(SAMPLE_RATE), Recording(path)
        said: list[str] = []
        reader = ring.reader()
        began = boottime()
        await recording.run(ring, said.append)
        took = boottime() - began
        assert 0.75 <= took < 1.0
        assert said == ["listening", "offline"]
        got = reader.read(SAMPLE_RATE)
        assert isinstance(got, AudioBlock)
        assert np.array_equal(got.samples, tone(16_000, 0.75))
        assert recording.clock.captured_at(12_000) == pytest.approx(began + 0.75, abs=0.05)

    asyncio.run(scenario())


def test_a_recording_can_be_played_faster(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(16_000, 2.0), 16_000)

    async def scenario() -> None:
        ring = RingBuffer(2 * SAMPLE_RATE)
        began = asyncio.get_running_loop().time()
        await Recording(path, speed=10).run(ring, lambda _: None)
        assert 0.2 <= asyncio.get_running_loop().time() - began < 0.4
        assert ring.end_sample == 2 * SAMPLE_RATE

    asyncio.run(scenario())


def test_a_recording_that_is_run_again_goes_on_behind_what_it_missed(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(16_000, 0.2), 16_000)

    async def scenario() -> None:
        ring, recording = RingBuffer(SAMPLE_RATE), Recording(path)
        reader = ring.reader()
        await recording.run(ring, lambda _: None)
        await asyncio.sleep(0.3)
        await recording.run(ring, lambda _: None)
        items = [reader.read(SAMPLE_RATE) for _ in range(6)]
        assert [type(item) for item in items] == [
            *(AudioBlock, Cut, Gap, AudioBlock, Cut, type(None))
        ]
        gap = items[2]
        assert isinstance(gap, Gap)
        assert gap.reason == "restart"
        assert gap.seconds == pytest.approx(0.3, abs=0.1)
        assert recording.clock.captured_at(ring.end_sample) == pytest.approx(boottime(), abs=0.05)

    asyncio.run(scenario())


def test_a_recording_that_cannot_be_read_fails_as_a_capture(tmp_path: Path) -> None:
    path = tmp_path / "text.wav"
    path.write_text("no sound")
    statuses: list[str] = []
    capture = Recording(path)
    assert capture.description == str(path)
    with pytest.raises(AudioFileError, match="is damaged"):
        asyncio.run(capture.run(RingBuffer(), statuses.append))
    assert not statuses


@pytest.mark.parametrize("loop", [False, True])
def test_a_recording_whose_end_is_missing_is_played_as_far_as_it_goes(
    tmp_path: Path, *, loop: bool
) -> None:
    whole, path = tmp_path / "whole.flac", tmp_path / "half.flac"
    soundfile.write(whole, noise(1, 2 * SAMPLE_RATE), SAMPLE_RATE)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    ring = RingBuffer(8 * SAMPLE_RATE)

    async def play() -> None:
        playing = asyncio.create_task(
            Recording(path, speed=20, loop=loop).run(ring, lambda _: None)
        )
        async with asyncio.timeout(10):
            while loop and ring.end_sample < 5 * SAMPLE_RATE:
                await ring.changed()
            if loop:
                playing.cancel()
            await asyncio.wait({playing})
        assert playing.cancelled() == loop
        assert loop or playing.exception() is None

    with capture_logs() as logs:
        asyncio.run(play())
    told = [entry for entry in logs if entry["event"] == "the recording is incomplete"]
    assert {entry["file"] for entry in told} == {str(path)}
    assert all(str(path) in entry["reason"] for entry in told)
    assert ring.samples_heard > 0.7 * SAMPLE_RATE * (2 if loop else 1)


def test_a_recording_that_is_mostly_damage_does_not_hold_up_others(tmp_path: Path) -> None:
    path = tmp_path / "damaged.mp3"
    tones = tmp_path / "tone.wav"
    soundfile.write(tones, tone(SAMPLE_RATE), SAMPLE_RATE)
    subprocess.run(
        ("ffmpeg", "-v", "error", "-i", tones, "-write_xing", "0", path), check=True, timeout=30
    )
    sound = path.read_bytes()
    path.write_bytes(sound + np.random.default_rng(1).bytes(20_000_000) + sound)
    held_up_s: list[float] = []

    async def play() -> None:
        ring = RingBuffer(8 * SAMPLE_RATE)
        playing = asyncio.create_task(Recording(path, speed=100_000).run(ring, lambda _: None))
        while not playing.done():
            began = boottime()
            await asyncio.sleep(0.01)
            held_up_s.append(boottime() - began)
        await playing

    asyncio.run(play())
    assert max(held_up_s) < 0.4 * sum(held_up_s)


def test_a_recording_that_loops_goes_on_without_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    samples = tone(SAMPLE_RATE, 0.37).astype(np.float32)
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    ring, statuses = RingBuffer(4 * SAMPLE_RATE), list[str]()
    reader = ring.reader()

    async def play() -> None:
        recording = Recording(path, speed=10, loop=True)
        playing = asyncio.create_task(recording.run(ring, statuses.append))
        async with asyncio.timeout(10):
            await reader.wait(2 * SAMPLE_RATE)
        playing.cancel()
        await asyncio.wait({playing})

    asyncio.run(play())
    assert statuses == ["listening", "offline"]
    heard = reader.read(2 * SAMPLE_RATE)
    assert isinstance(heard, AudioBlock)
    assert np.array_equal(heard.samples, np.resize(samples, len(heard.samples)))
