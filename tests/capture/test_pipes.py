"""What other programs write: to their stdout, a FIFO or a socket; with real ones of each."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from detector.boottime import boottime
from detector.records import SAMPLE_RATE, FloatArray
from detector.settings.sources import SourceSettings
from tests.capturing import RunningCapture, all_running
from tests.sound import noise

RAW = {"rate": SAMPLE_RATE, "channels": 1, "sample_format": "s16le"}
CHUNK_S = 0.1


def source(**settings: Any) -> RunningCapture:
    return RunningCapture(SourceSettings(name="capture", **settings))


def pcm(samples: FloatArray) -> bytes:
    return np.round(samples * 32767).astype("<i2").tobytes()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def write_live(descriptor: int, samples: FloatArray) -> None:
    """Write samples as a microphone would: each tenth of a second when it is over."""
    began, step = boottime(), round(CHUNK_S * SAMPLE_RATE)
    for first in range(0, len(samples), step):
        await asyncio.sleep(began + (first + step) / SAMPLE_RATE - boottime())
        os.write(descriptor, pcm(samples[first : first + step]))


async def forever(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            await write_live(descriptor, noise(1, SAMPLE_RATE))


@contextlib.asynccontextmanager
async def writing(descriptor: int) -> AsyncIterator[None]:
    """Noise is written until the end of the block; then the descriptor is closed."""
    task = asyncio.create_task(forever(descriptor))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        os.close(descriptor)


def test_a_fifo_is_heard_whole_and_at_its_time(tmp_path: Path) -> None:
    sound = noise(1.5, SAMPLE_RATE)

    async def scenario() -> None:
        hall = source(fifo=tmp_path / "hall", **RAW)
        async with all_running(hall):
            await hall.status("offline")
            descriptor = await opened(tmp_path / "hall")
            began = boottime()
            await write_live(descriptor, sound)
            os.close(descriptor)
            await hall.status("listening")
            await hall.status("offline")
            await hall.cut()
        assert len(hall.samples) == len(sound)
        assert np.abs(hall.samples - sound).max() < 1e-4
        assert hall.clock.captured_at(0) - began == pytest.approx(0, abs=0.1)

    asyncio.run(scenario())


async def opened(path: Path) -> int:
    """The FIFO, as a writer opens it: without one who reads, that fails."""
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(OSError):
                return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            await asyncio.sleep(0.02)


def test_a_writer_that_goes_and_comes_back_leaves_a_gap_as_long_as_it_was_away(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        hall, yard = source(fifo=tmp_path / "hall", **RAW), source(fifo=tmp_path / "yard", **RAW)
        async with all_running(hall, yard), writing(await opened(tmp_path / "yard")):
            async with writing(await opened(tmp_path / "hall")):
                await hall.heard(0.5)
            gone = boottime()
            assert await hall.status("offline") - gone < 0.5
            await hall.cut()
            await asyncio.sleep(1.0)
            async with writing(await opened(tmp_path / "hall")):
                back = boottime()
                await hall.heard(1.0)
                await yard.heard(0.5)
        [gap] = hall.gaps
        assert gap.reason == "restart"
        assert gap.length / SAMPLE_RATE == pytest.approx(back - gone, abs=0.1)
        assert abs(hall.skew_s()) < 0.3
        assert not yard.gaps
        assert not yard.cuts

    asyncio.run(scenario())


def test_a_writer_that_stalls_is_said_to_and_heard_again_when_it_goes_on(tmp_path: Path) -> None:
    """Its FIFO stays open, since closing it would end the writer."""

    async def scenario() -> None:
        hall = source(fifo=tmp_path / "hall", **RAW)
        async with all_running(hall):
            descriptor = await opened(tmp_path / "hall")
            await write_live(descriptor, noise(0.5, SAMPLE_RATE))
            stopped = boottime()
            assert await hall.status("stalled") - stopped < 2.5
            await hall.cut()
            assert await hall.status("offline") - stopped < 5.5
            async with writing(descriptor):
                went_on = boottime()
                assert await hall.status("listening") - went_on < 0.5
                await hall.heard(1.0)
            [gap] = hall.gaps
            assert gap.length / SAMPLE_RATE == pytest.approx(went_on - stopped, abs=0.1)

    asyncio.run(scenario())


def test_the_rest_of_what_cannot_be_heard_is_not_heard_as_bare_samples(tmp_path: Path) -> None:
    """The writer is read to its end; the next one is heard."""
    garbage = b"fLaC" + bytes(range(256)) * 1000

    async def scenario() -> None:
        hall = source(fifo=tmp_path / "hall", **RAW)
        async with all_running(hall):
            descriptor = await opened(tmp_path / "hall")
            os.set_blocking(descriptor, True)
            await asyncio.to_thread(os.write, descriptor, garbage)
            await hall.reason(logs, "the stream: ")
            await asyncio.to_thread(os.write, descriptor, garbage)
            os.close(descriptor)
            await asyncio.sleep(0.5)  # it is read until then
            assert {status for status, _ in hall.statuses} == {"offline"}
            async with writing(await opened(tmp_path / "hall")):
                await hall.status("listening")

    structlog.reset_defaults()
    with capture_logs() as logs:
        asyncio.run(scenario())


def test_a_reader_that_is_killed_is_started_again_and_its_writer_heard(tmp_path: Path) -> None:
    async def scenario() -> None:
        hall = source(fifo=tmp_path / "hall", **RAW)
        async with all_running(hall):
            async with writing(await opened(tmp_path / "hall")):
                await hall.heard(0.3)
                [reader] = readers(tmp_path)
                os.kill(reader, signal.SIGKILL)
                await hall.status("offline")
            async with writing(await opened(tmp_path / "hall")):
                await hall.status("listening")
                await hall.heard(1)
        assert [gap.reason for gap in hall.gaps] == ["restart"]
        assert readers(tmp_path) == []

    asyncio.run(scenario())


def readers(folder: Path) -> list[int]:
    """The readers of what is in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_text()
            if "capture.reader" in command and str(folder) in command:
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("kind", ["fifo", "unix", "tcp"])
def test_stopping_while_nobody_writes_takes_less_than_a_second(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        kinds: dict[str, dict[str, Any]] = {
            "fifo": {"fifo": tmp_path / "hall"},
            "unix": {"socket": f"unix:{tmp_path}/socket"},
            "tcp": {"socket": f"tcp:127.0.0.1:{free_port()}"},
        }
        async with all_running(hall := source(**kinds[kind], **RAW)):
            await hall.status("offline")
            began = boottime()
        assert boottime() - began < 3
        assert not (tmp_path / "socket").exists()

    asyncio.run(scenario())


@pytest.mark.parametrize("address", ["unix:{folder}/socket", "tcp:127.0.0.1:{port}"])
def test_a_socket_is_heard_whole_and_a_second_writer_is_turned_away(
    tmp_path: Path, address: str
) -> None:
    sound, port = noise(1.5, SAMPLE_RATE), free_port()

    async def scenario() -> None:
        hall = source(socket=address.format(folder=tmp_path, port=port), **RAW)
        async with all_running(hall):
            await hall.status("offline")
            with connected(tmp_path, address, port) as writer:
                await write_live(writer.fileno(), sound[:8000])
                with connected(tmp_path, address, port) as other:
                    other.settimeout(2)
                    said = await asyncio.to_thread(other.recv, 100)
                    assert said == b"detector: another writer is being heard\n"
                    assert other.recv(100) == b""
                await write_live(writer.fileno(), sound[8000:])
            await hall.status("offline")
        heard = np.concatenate([block.samples for block in hall.blocks])
        assert np.abs(heard - sound).max() < 1e-4
        assert len(heard) == len(sound)

    structlog.reset_defaults()
    with capture_logs() as logs:
        asyncio.run(scenario())
    assert any("a second writer" in entry.get("said", "") for entry in logs)


def connected(folder: Path, address: str, port: int) -> socket.socket:
    if address.startswith("unix"):
        writer = socket.socket(socket.AF_UNIX)
        writer.connect(f"{folder}/socket")
    else:
        writer = socket.create_connection(("127.0.0.1", port))
    return writer


def test_a_socket_that_a_killed_process_left_is_taken_over_and_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "socket"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    assert path.exists()

    async def scenario() -> None:
        first = source(socket=f"unix:{path}", permissions="0600", **RAW)
        async with all_running(first):
            await first.status("offline")
            async with asyncio.timeout(5):
                while not reachable(path):  # noqa: ASYNC110 - another process makes it
                    await asyncio.sleep(0.05)
            assert path.stat().st_mode & 0o777 == 0o600
            with capture_logs() as logs:
                second = source(socket=f"unix:{path}", **RAW)
                async with all_running(second):
                    await second.reason(logs, "another program listens there")
            assert reachable(path)

    structlog.reset_defaults()
    asyncio.run(scenario())


def reachable(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


FORMATS = ["wav", "flac", "ogg -c:a libopus", "mp3", "adts"]


@pytest.mark.parametrize("output", FORMATS)
def test_a_container_is_decoded_as_what_it_is_whatever_bare_samples_were_said_to_be(
    output: str,
) -> None:
    sine = ("-f", "lavfi", "-i", "sine=frequency=440:duration=1.5")
    command = ("ffmpeg", "-v", "error", "-re", *sine, "-f", *output.split(), "-")

    async def scenario() -> None:
        said = RAW if output == "wav" else {}
        async with all_running(hall := source(program=command, **said)):
            await hall.status("listening")
            await hall.status("offline")
            await hall.cut()
        heard = np.concatenate([block.samples for block in hall.blocks])
        assert len(heard) / SAMPLE_RATE == pytest.approx(1.5, abs=0.15)
        spectrum = np.abs(np.fft.rfft(heard[4000:20_000]))
        assert np.argmax(spectrum) == pytest.approx(440, abs=2)
        assert not hall.gaps

    asyncio.run(scenario())
