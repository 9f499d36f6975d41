"""The microphone program and the capture that runs it, with a real sound server."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from detector.boottime import boottime
from detector.capture.capture import open_capture
from detector.capture.clock import SampleClock
from detector.capture.framing import HEADER_BYTES, Kind, payload_bytes, unpack_format, unpack_header
from detector.capture.microphone import EXIT_STOPPED, EXIT_UNKNOWN_DEVICE, QUEUE_S, Recorder
from detector.capture.ring import RingBuffer
from detector.capture.timeline import STALL_S
from detector.records import SAMPLE_RATE, AudioBlock, Cut, FloatArray, Gap
from detector.settings.sources import SourceSettings
from tests.sound import SoundServer, noise

pytestmark = pytest.mark.sound

EARLIEST_S, LATEST_S = -0.11, 0.4
"""When a sound is heard after its player was started. A busy sound server makes the sound of its
null sink up to two of its periods of 50 ms ahead of time."""


class RunningCapture:
    """A microphone that listens, and all that came of it."""

    def __init__(self, device: str = "hall") -> None:
        self._capture = open_capture(SourceSettings(name="capture", device=device))
        self.clock = cast("SampleClock", self._capture.clock)
        self.items: list[AudioBlock | Gap] = []
        self.cuts: list[int] = []
        """At which samples the sound stopped for as long as nobody knew."""
        self.statuses: list[tuple[str, float]] = []
        """And when they were told, on the boottime clock."""
        self._ring = RingBuffer()
        self._reader = self._ring.reader()
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._capture.run(self._ring, self._on_status))
            group.create_task(self._read())

    async def status(self, status: str, within_s: float = 8.0) -> float:
        """Wait until the last status is this one; return when it was told."""
        return (await self._until(lambda: self.statuses[-1:], status, within_s))[1]

    async def cut(self) -> None:
        """Wait until what was heard is cut off where it ends."""
        async with asyncio.timeout(1), self._changed:
            await self._changed.wait_for(lambda: self.cuts[-1:] == [self._ring.end_sample])

    async def heard(self, seconds: float) -> None:
        """Wait until that much more was heard or is known to be missing."""
        goal = self._ring.end_sample + seconds * SAMPLE_RATE
        async with asyncio.timeout(seconds + 8), self._changed:
            await self._changed.wait_for(lambda: self._ring.end_sample >= goal)

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]

    @property
    def samples(self) -> FloatArray:
        """All samples at their indices, with zeros in the gaps."""
        return np.concatenate(
            [
                np.zeros(item.length, np.float32) if isinstance(item, Gap) else item.samples
                for item in self.items
            ]
        )

    def skew_s(self) -> float:
        """By how much the clock says that the newest sample was heard before it was read."""
        return boottime() - self.clock.captured_at(self._ring.end_sample)

    async def _until(
        self, last: Callable[[], list[tuple[str, float]]], status: str, within_s: float
    ) -> tuple[str, float]:
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: [s for s, _ in last()] == [status])
        return last()[0]

    def _on_status(self, status: str) -> None:
        self.statuses.append((status, boottime()))
        self._notifying = asyncio.create_task(self._notify())

    async def _read(self) -> None:
        while True:
            await self._reader.wait()
            item = self._reader.read(SAMPLE_RATE)
            if isinstance(item, Cut):
                self.cuts.append(item.end_sample)
            elif item is not None:
                self.items.append(item)
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@contextlib.asynccontextmanager
async def listening(*devices: str) -> AsyncIterator[list[RunningCapture]]:
    """Captures that listen already."""
    captures = [RunningCapture(device) for device in devices]
    tasks = [asyncio.create_task(capture.run()) for capture in captures]
    try:
        for capture in captures:
            await capture.status("listening")
        yield captures
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=3)


def position(needle: FloatArray, hay: FloatArray) -> tuple[int, float]:
    """Where the needle begins in the hay, and the correlation coefficient there."""
    size = 1 << (len(hay) + len(needle)).bit_length()
    product = np.fft.rfft(hay, size) * np.conj(np.fft.rfft(needle, size))
    best = int(np.argmax(np.fft.irfft(product, size)[: len(hay) - len(needle)]))
    found = hay[best : best + len(needle)]
    return best, float(np.corrcoef(found, needle)[0, 1])


def test_what_is_played_is_heard_whole_and_at_its_time(sound_server: SoundServer) -> None:
    sound = noise(1.5, SAMPLE_RATE)

    async def scenario() -> None:
        async with listening("hall") as [capture]:
            await capture.heard(0.5)
            began = boottime()
            await asyncio.to_thread(sound_server.play_samples, sound, SAMPLE_RATE)
            await capture.heard(0.5)
            assert not capture.gaps
            assert len(capture.statuses) == 1
            at, correlation = position(sound, capture.samples)
            assert correlation > 0.99
            assert EARLIEST_S < capture.clock.captured_at(at) - began < LATEST_S

    asyncio.run(scenario())


def test_a_microphone_that_is_unplugged_is_heard_again_and_others_do_not_notice(
    sound_server: SoundServer, other_sound_server: SoundServer
) -> None:
    async def scenario() -> None:
        async with listening("hall", "yard") as [hall, yard]:
            await hall.heard(0.5)
            gone = boottime()
            sound_server.unload_sink()
            assert await hall.status("offline") - gone < 3
            await hall.cut()
            await asyncio.sleep(2.5)  # as long as the pauses between attempts become
            back = boottime()
            sound_server.load_sink()
            assert await hall.status("listening") - back < 5
            listening_again = boottime()
            await hall.heard(1)
            [gap] = hall.gaps
            assert gap.reason == "restart"
            assert hall.cuts == [gap.first_sample]
            assert gap.length / SAMPLE_RATE == pytest.approx(listening_again - gone, abs=0.4)
            assert abs(hall.skew_s()) < 0.15
            assert not yard.gaps
            assert not yard.cuts
            assert [status for status, _ in yard.statuses] == ["listening"]

    asyncio.run(scenario())


def test_a_sound_server_that_crashes_is_survived(sound_server: SoundServer) -> None:
    async def scenario() -> None:
        async with listening("default") as [capture]:
            await capture.heard(0.5)
            gone = boottime()
            sound_server.kill()
            assert await capture.status("offline") - gone < 3
            await asyncio.to_thread(sound_server.restart)
            back = boottime()
            assert await capture.status("listening") - back < 5
            await capture.heard(0.5)
            assert [gap.reason for gap in capture.gaps] == ["restart"]
            assert abs(capture.skew_s()) < 0.15

    asyncio.run(scenario())


def test_a_stall_is_noticed_and_leaves_a_gap_but_no_skew(sound_server: SoundServer) -> None:
    sound = noise(1.0, SAMPLE_RATE)

    async def scenario() -> None:
        async with listening("hall") as [capture]:
            await capture.heard(0.5)
            stopped = boottime()
            sound_server.stop()
            assert await capture.status("stalled") - stopped < 2.5
            await capture.cut()
            await asyncio.sleep(stopped + 3 - boottime())
            sound_server.cont()
            continued = boottime()
            assert await capture.status("listening") - continued < 1
            await capture.heard(0.5)
            [gap] = capture.gaps
            assert gap.reason == "stall"
            assert capture.cuts == [gap.first_sample]
            assert gap.length / SAMPLE_RATE == pytest.approx(3, abs=0.3)
            began = boottime()
            await asyncio.to_thread(sound_server.play_samples, sound, SAMPLE_RATE)
            await capture.heard(0.5)
            at, correlation = position(sound, capture.samples)
            assert correlation > 0.99
            assert EARLIEST_S < capture.clock.captured_at(at) - began < LATEST_S

    asyncio.run(scenario())


def test_a_daemon_that_slept_itself_reads_what_it_missed_and_cuts_nothing(
    sound_server: SoundServer,
) -> None:
    async def scenario() -> None:
        async with listening("hall") as [capture]:
            await capture.heard(0.5)
            # While the microphone program goes on.
            asyncio.get_running_loop().call_soon(time.sleep, STALL_S + 0.5)
            await capture.heard(STALL_S + 1)
            assert [status for status, _ in capture.statuses] == ["listening"]
            assert not capture.cuts
            assert not capture.gaps

    asyncio.run(scenario())


def test_a_device_that_stalls_for_long_is_given_up_and_opened_again(
    sound_server: SoundServer,
) -> None:
    async def scenario() -> None:
        async with listening("hall") as [capture]:
            await capture.heard(0.3)
            stopped = boottime()
            sound_server.stop()
            try:
                assert 6 < await capture.status("offline", within_s=12) - stopped < 9
            finally:
                sound_server.cont()
            await capture.status("listening", within_s=5)
            await capture.heard(0.5)
            assert [gap.reason for gap in capture.gaps] == ["restart"]
            assert capture.cuts == [capture.gaps[0].first_sample]
            assert [status for status, _ in capture.statuses] == [
                *("listening", "stalled", "offline", "listening")
            ]
            assert abs(capture.skew_s()) < 0.15

    asyncio.run(scenario())


def test_an_unknown_device_is_said_once_with_those_that_there_are(
    sound_server: SoundServer,
) -> None:
    async def scenario() -> None:
        capture = RunningCapture("harp")
        task = asyncio.create_task(capture.run())
        with capture_logs() as logs:
            await capture.status("offline")
            await asyncio.sleep(2)
        assert len(capture.statuses) == 1
        task.cancel()
        await asyncio.wait([task])
        [told] = [entry for entry in logs if entry["log_level"] == "warning"]
        assert told["source"] == "capture"
        assert "there is no device 'harp'; there are 'hall', " in told["reason"]

    structlog.reset_defaults()
    asyncio.run(scenario())


def test_stopping_takes_less_than_a_second_even_if_the_sound_server_hangs(
    sound_server: SoundServer,
) -> None:
    async def scenario() -> None:
        try:
            async with listening("hall") as [capture]:
                await capture.heard(0.3)
                opening = asyncio.create_task(RunningCapture("default").run())
                sound_server.stop()
                await asyncio.sleep(0.5)
                began = boottime()
                opening.cancel()
                await asyncio.wait([opening])
                assert boottime() - began < 1
                began = boottime()
            assert boottime() - began < 1
        finally:
            sound_server.cont()

    asyncio.run(scenario())
    assert not children()


def children() -> list[str]:
    """The microphone programs that this process has left."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (folder / "cmdline").read_text().replace("\0", " ")
            if parent == os.getpid() and "capture.microphone" in command:
                found.append(command)
    return found


@contextlib.contextmanager
def program(device: str, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "detector.capture.microphone", "--device", device, *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        limit = threading.Timer(20, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def test_the_program_ends_when_it_is_told_and_when_the_device_is_gone(
    sound_server: SoundServer,
) -> None:
    with program("hall") as asked, program("default") as unplugged, program("harp") as unknown:
        assert asked.stdin
        assert unplugged.stdout
        assert unknown.stdout
        header = unpack_header(unplugged.stdout.read(HEADER_BYTES))
        assert unpack_format(unplugged.stdout.read(header.size)) == (SAMPLE_RATE, 2)
        header = unpack_header(unplugged.stdout.read(HEADER_BYTES))
        assert header[:2] == (Kind.AUDIO, 0)
        assert header.size == SAMPLE_RATE // 10
        assert abs(header.captured_ns / 1e9 - boottime()) < 0.5
        unplugged.stdout.read(payload_bytes(header, 2))

        asked.stdin.close()
        assert asked.wait(3) == 0
        sound_server.unload_sink()
        rest = unplugged.stdout.read()
        assert unplugged.wait(3) == EXIT_STOPPED
        assert rest.endswith(b"device 'default' stopped: unplugged, or its sound server ended")
        assert b"there is no device 'harp'" in unknown.stdout.read()
        assert unknown.wait(3) == EXIT_UNKNOWN_DEVICE


def test_the_program_delivers_another_rate_without_holes(sound_server: SoundServer) -> None:
    with program("hall", "--rate", "44100", "--block-ms", "50") as process:
        assert process.stdout
        header = unpack_header(process.stdout.read(HEADER_BYTES))
        assert unpack_format(process.stdout.read(header.size)) == (44_100, 2)
        expected = 0
        for _ in range(20):
            header = unpack_header(process.stdout.read(HEADER_BYTES))
            assert (header.first_sample, header.size, header.dropped) == (expected, 2205, 0)
            assert len(process.stdout.read(payload_bytes(header, 2))) == 2205 * 2 * 4
            expected += header.size


def test_portaudio_knows_when_a_sound_server_heard_a_block(sound_server: SoundServer) -> None:
    script = (
        "import os, queue, sounddevice\n"
        "from detector.capture.microphone import InputLatency\n"
        "blocks, found = queue.SimpleQueue(), InputLatency(16000)\n"
        "def callback(data, frames, time, status):\n"
        "    began, now = time.inputBufferAdcTime, time.currentTime\n"
        "    blocks.put((began, now, frames / 16000, found.update(time, frames)))\n"
        "stream = sounddevice.RawInputStream(device='hall', samplerate=16000, channels=2,\n"
        "    dtype='float32', blocksize=1600, latency=0.1, callback=callback)\n"
        "stream.start()\n"
        "for _ in range(20):\n"
        "    print(*blocks.get(timeout=5), flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    blocks = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    assert len(blocks) == 20
    for began, now, length_s, latency_s in blocks:
        assert began > 0
        # A null sink makes sound ahead of its time; a busy machine calls back late.
        assert -0.1 < now - began - length_s < 1
        assert 0 <= latency_s < 0.2
    assert np.allclose(np.diff([began for began, *_ in blocks]), 0.1, atol=0.06)


def test_a_reader_that_does_not_read_costs_counted_samples_and_no_memory() -> None:
    recorder = Recorder(rate=1000, block_frames=100)
    time = SimpleNamespace(inputBufferAdcTime=0.0, currentTime=0.0)
    overflow = SimpleNamespace(input_overflow=True)
    fine = SimpleNamespace(input_overflow=False)
    for i in range(250):
        recorder.callback(bytes(800), 100, time, overflow if i == 120 else fine)
    headers = [block[0] for _ in range(round(QUEUE_S * 10)) if (block := recorder.get(1))]
    assert [header.first_sample for header in headers] == list(range(0, 10_000, 100))
    recorder.callback(bytes(800), 100, time, fine)
    recorder.finished()
    last = recorder.get(1)
    assert last
    assert last[0][:2] == (Kind.AUDIO_AFTER_OVERFLOW, 25_000)
    assert last[0].dropped == 15_000
    assert recorder.get(1) is None


def test_the_program_does_not_outlive_a_daemon_that_is_killed(sound_server: SoundServer) -> None:
    script = (
        "import asyncio, sys\n"
        "from detector.capture.microphone import program as command\n"
        "from detector.capture.process import running\n"
        "import structlog\n"
        "async def main():\n"
        "    microphone = command('hall', 'mix')\n"
        "    async with running(microphone, structlog.get_logger()) as program:\n"
        "        await program.stdout.readexactly(100)\n"
        "        print(program.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout
        pid = int(daemon.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        daemon.send_signal(signal.SIGKILL)
    deadline = boottime() + 3
    while _runs(pid):
        assert boottime() < deadline, "the microphone program goes on"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "capture.microphone" in Path(f"/proc/{pid}/cmdline").read_text()
    return False
