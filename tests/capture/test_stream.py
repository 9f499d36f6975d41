"""Cameras: the stream program and the capture that runs it, with a real RTSP server."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.boottime import boottime
from detector.records import SAMPLE_RATE
from detector.settings.sources import SourceSettings
from tests.capturing import RunningCapture, listening
from tests.rtsp import Camera, camera, steady_camera

__all__ = ["camera", "steady_camera"]

PERIOD_S = 0.5
"""Between two bursts of a tone that a camera hears (`rtsp_server.py`)."""
EARLIEST_S, LATEST_S = 0.1, 0.3
"""What a camera needs to send what it hears."""
MOST_PSS_KB = 35_000


def stream(url: str, **settings: Any) -> SourceSettings:
    return SourceSettings(name="porch", url=url, **settings)


def latencies(capture: RunningCapture) -> list[float]:
    """By how many seconds each burst is told too late; by less than 0 if too early."""
    loud = np.abs(capture.samples) > 0.15
    quiet_before = np.convolve(loud, np.ones(SAMPLE_RATE // 5), "full")[: len(loud)] == 1
    heard = [capture.clock.captured_at(int(onset)) for onset in np.flatnonzero(loud & quiet_before)]
    return [(at + EARLIEST_S) % PERIOD_S - EARLIEST_S for at in heard]


def assert_heard_at_its_time(capture: RunningCapture) -> None:
    """All bursts are told equally late: what was missing between them has the right length.

    But for one, in the middle of which the camera may have been stopped.
    """
    late = latencies(capture)
    assert max(late) < LATEST_S, late
    assert sorted(late)[-2] - min(late) < 0.1, late


@pytest.mark.parametrize("path", ["opus", "aac", "latm", "alaw", "mulaw", "stereo"])
def test_a_camera_is_heard_at_its_time_in_every_codec(steady_camera: Camera, path: str) -> None:
    async def scenario() -> None:
        async with listening(stream(steady_camera.url(path))) as [capture]:
            await capture.heard(2.2)
            assert not capture.gaps
            assert not capture.cuts
            assert len(latencies(capture)) >= 3
            assert_heard_at_its_time(capture)
            assert 0.4 < np.abs(capture.samples).max() < 0.9  # of 0.5; AAC rings at a beginning
            assert capture.skew_s() < 0.5

    asyncio.run(scenario())


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_sound_of_a_camera_with_pictures_is_heard_within_two_seconds(
    steady_camera: Camera, transport: str
) -> None:
    async def scenario() -> None:
        asked = boottime()
        source = stream(steady_camera.url("both"), transport=transport)
        async with listening(source) as [capture]:
            assert boottime() - asked < 2
            await capture.heard(1)
            assert not capture.gaps

    asyncio.run(scenario())


def test_a_camera_that_is_switched_off_is_heard_again_in_another_codec_and_others_do_not_notice(
    camera: Camera, steady_camera: Camera
) -> None:
    async def scenario() -> None:
        porch_url, yard_url = camera.url(), steady_camera.url("aac")
        async with listening(stream(porch_url), stream(yard_url)) as [porch, yard]:
            await porch.heard(1)
            gone = boottime()
            camera.kill()
            assert await porch.status("offline") - gone < 6
            await porch.cut()
            await asyncio.sleep(2.5)  # as long as the pauses between attempts become
            await asyncio.to_thread(camera.start, "alaw")
            back = boottime()
            assert await porch.status("listening") - back < 5
            again = boottime()
            await porch.heard(1.5)
            [gap] = porch.gaps
            assert (gap.reason, porch.cuts) == ("restart", [gap.first_sample])
            assert gap.seconds == pytest.approx(again - gone, abs=0.8)
            assert_heard_at_its_time(porch)
            assert not yard.gaps
            assert not yard.cuts
            assert [status for status, _ in yard.statuses] == ["listening"]
            assert_heard_at_its_time(yard)

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_camera_that_hangs_is_offline_within_six_seconds_though_its_connection_is_open(
    camera: Camera,
) -> None:
    async def scenario() -> None:
        async with listening(stream(camera.url())) as [capture]:
            await capture.heard(1)
            gone = boottime()
            camera.stop()
            assert await capture.status("stalled") - gone < 3
            assert await capture.status("offline") - gone < 6
            await asyncio.sleep(3)
            camera.cont()
            back = boottime()
            assert await capture.status("listening") - back < 5
            await capture.heard(1.5)
            assert [gap.reason for gap in capture.gaps] == ["restart"]
            assert_heard_at_its_time(capture)

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [1.3, 3.4])
def test_what_a_camera_lost_while_it_hung_for_a_moment_is_a_gap(
    camera: Camera, seconds: float
) -> None:
    """It need not be connected to anew."""

    async def scenario() -> None:
        async with listening(stream(camera.url())) as [capture]:
            await capture.heard(1)
            camera.stop()
            await asyncio.sleep(seconds)
            camera.cont()
            await capture.heard(seconds + 1.5)
            assert "offline" not in [status for status, _ in capture.statuses]
            assert sum(gap.seconds for gap in capture.gaps) == pytest.approx(seconds, abs=0.1)
            assert_heard_at_its_time(capture)

    asyncio.run(scenario())


def program_of(parent: int) -> Path:
    """Where the kernel describes the stream program that a process has started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    folders = [Path(f"/proc/{pid}") for pid in children]
    return next(path for path in folders if b"capture.stream" in (path / "cmdline").read_bytes())


def pss_kb(process: Path) -> int:
    """Its proportional set size."""
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_a_stream_program_takes_little_memory(steady_camera: Camera) -> None:
    async def scenario() -> None:
        async with listening(stream(steady_camera.url("aac"))) as [capture]:
            await capture.heard(2)
            assert pss_kb(program_of(os.getpid())) < MOST_PSS_KB

    asyncio.run(scenario())


def test_a_stream_program_that_hangs_is_stopped_within_a_second(steady_camera: Camera) -> None:
    async def scenario() -> Path:
        capture = RunningCapture(stream(steady_camera.url()))
        running = asyncio.create_task(capture.run())
        await capture.status("listening")
        program = program_of(os.getpid())
        os.kill(int(program.name), signal.SIGSTOP)
        began = boottime()
        running.cancel()
        await asyncio.wait([running])
        assert boottime() - began < 3
        return program

    assert not asyncio.run(scenario()).exists()
