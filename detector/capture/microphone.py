"""A small program of its own: a sound device becomes framed samples on stdout.

It is a process because PortAudio needs one: after a device vanished only initialising PortAudio
anew helps, and closing a device can hang for ever. So this program never tidies up; it ends, and
whoever started it starts it again. It ends when its stdin or stdout is closed, so that it never
outlives the daemon.

The callback copies the samples into a bounded queue and does nothing else. A full queue drops what
comes and counts it.
"""

import argparse
import contextlib
import os
import queue
import sys
import threading
from collections import deque
from typing import Any, BinaryIO, Final, Literal, Protocol

from detector.boottime import boottime_ns
from detector.capture.devices import Device, list_devices, match
from detector.capture.framing import (
    Header,
    Kind,
    StreamFormat,
    pack_error,
    pack_format,
    pack_header,
)
from detector.capture.program import CaptureProgram
from detector.errors import ConfigError, DetectorError, SourceError

WANTED_RATE: Final = 16_000
"""Hertz: what the detector works with, so that nobody has to resample."""
QUEUE_S: Final = 10.0
"""How much audio waits for a reader that does not read."""
MAX_CHANNELS: Final = 8
"""A device with more is not hardware, as a rule, but a sound server that offers any number."""
MAX_BLOCK_BYTES: Final = 1 << 20
SILENT_S: Final = 1.0
"""How long the callback may be silent before the stream is asked whether it is active."""

EXIT_UNKNOWN_DEVICE: Final = 3
EXIT_CANNOT_OPEN: Final = 4
EXIT_STOPPED: Final = 5
"""The device vanished, or the sound server did."""


def program(device: str, channel: int | Literal["mix"]) -> CaptureProgram:
    """This program, as the daemon runs it.

    Args:
        device: its name, a part of it, or default.
        channel: which to hear, counted from 1, or mix.
    """
    module = (sys.executable, "-m", "detector.capture.microphone")
    return CaptureProgram(
        name="microphone program",
        source=f"device {device!r}",
        command=(*module, "--device", device, "--channel", str(channel)),
    )


class CallbackTime(Protocol):
    """What PortAudio knows of time when it calls back (PaStreamCallbackTimeInfo)."""

    inputBufferAdcTime: float  # noqa: N815 (PortAudio's own name)
    """When the first frame of the block was converted, in seconds on the clock of the stream."""
    currentTime: float  # noqa: N815
    """When it calls back, on the same clock."""


class InputLatency:
    """How old the last frame of a block is when the callback gets it.

    The latency is the least age of the last blocks: one is also old when it waited in a backlog,
    after a stall, and how much of that is true is not for this program to judge.
    """

    _BLOCKS: Final = 100
    """Of how many blocks the least age is taken."""
    _MAX_S: Final = 3.0
    """No device takes longer; some ALSA plugins give times that make no sense."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._ages_s: deque[float] = deque(maxlen=self._BLOCKS)

    def update(self, time: CallbackTime, frames: int) -> float:
        """Take the time of a block; return the latency in seconds, 0 if it is not known."""
        began, now = time.inputBufferAdcTime, time.currentTime
        age_s = now - began - frames / self._rate
        # NaN is neither. A sound server may be ahead of its time, by less than a block.
        if began > 0 and -frames / self._rate <= age_s <= self._MAX_S:
            self._ages_s.append(max(0.0, age_s))
        return min(self._ages_s, default=0.0)


class Recorder:
    """What the callback fills and the main thread empties."""

    def __init__(self, rate: int, block_frames: int) -> None:
        self._queue: queue.SimpleQueue[tuple[Header, bytes] | None] = queue.SimpleQueue()
        self._limit = max(1, round(QUEUE_S * rate / block_frames))
        self._next_sample = 0
        self._dropped = 0
        self._overflowed = False
        self._latency = InputLatency(rate)

    def callback(self, data: Any, frames: int, time: CallbackTime, status: Any) -> None:  # noqa: ANN401
        """PortAudio's thread: copy, count, return."""
        captured_ns = boottime_ns() - round(self._latency.update(time, frames) * 1e9)
        first_sample = self._next_sample
        self._next_sample += frames
        self._overflowed |= bool(status.input_overflow)
        if self._queue.qsize() >= self._limit:
            self._dropped += frames
            return
        kind = Kind.AUDIO_AFTER_OVERFLOW if self._overflowed else Kind.AUDIO
        self._overflowed = False
        header = Header(kind, first_sample, captured_ns, self._dropped, frames)
        self._queue.put((header, bytes(data)))

    def finished(self) -> None:
        """PortAudio stopped the stream: the device is gone."""
        self._queue.put(None)

    def get(self, timeout_s: float) -> tuple[Header, bytes] | None:
        """The next block; None after the last.

        Raises:
            queue.Empty: nothing came for `timeout_s` seconds.
        """
        return self._queue.get(timeout=timeout_s)


def channels_to_open(device: Device, channel: int | Literal["mix"]) -> int:
    """All that hardware has; of a sound server, which mixes to any number, a stereo pair.

    Raises:
        ConfigError: the device has no such channel.
    """
    if channel != "mix" and channel > device.channels:
        raise ConfigError(f"device {device.name!r} has {device.channels} channels, not {channel}")
    if device.channels <= MAX_CHANNELS:
        return device.channels
    return 2 if channel == "mix" else max(2, channel)


def record(
    name: str, channel: int | Literal["mix"], rate: int | None, block_ms: int, out: BinaryIO
) -> None:
    """Write the device's samples to `out` until the device stops.

    Raises:
        UnknownDeviceError: there is no such device.
        SourceError: it cannot be opened.
        BrokenPipeError: nobody reads any more.
    """
    device = match(name, list_devices())
    channels = channels_to_open(device, channel)
    import sounddevice  # noqa: PLC0415 (list_devices says it if the library is missing)

    try:
        rate = rate or _rate(device, channels)
        recorder = Recorder(rate, rate * block_ms // 1000)
        stream = sounddevice.RawInputStream(
            device=device.index,
            samplerate=rate,
            channels=channels,
            dtype="float32",
            blocksize=rate * block_ms // 1000,
            latency=block_ms / 1000,  # "low" would call back every 2 ms
            callback=recorder.callback,
            finished_callback=recorder.finished,
        )
        stream.start()
    except sounddevice.PortAudioError as error:
        raise SourceError(f"device {device.name!r} cannot be opened: {error}") from None

    out.write(pack_format(StreamFormat(rate, channels)))
    out.flush()
    while True:
        try:
            block = recorder.get(SILENT_S)
        except queue.Empty:
            # A stopped sound server looks like this too, and stays "active": that is not ours to
            # judge, whoever reads our frames sees that none come.
            if stream.active:
                continue
            block = None
        if block is None:
            return
        header, samples = block
        out.write(pack_header(header))
        out.write(samples)
        out.flush()


def _rate(device: Device, channels: int) -> int:
    import sounddevice  # noqa: PLC0415

    try:
        sounddevice.check_input_settings(
            device=device.index, channels=channels, dtype="float32", samplerate=WANTED_RATE
        )
    except sounddevice.PortAudioError:
        return device.default_rate
    return WANTED_RATE


def _end_with_parent() -> None:
    """Leave as soon as stdin is closed, whatever the other threads are stuck in."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(0)


def _write_error(out: BinaryIO, why: str) -> None:
    """Tell the reader why the program ends."""
    with contextlib.suppress(BrokenPipeError):
        out.write(pack_error(why))
        out.flush()


def _channel(text: str) -> int | Literal["mix"]:
    return "mix" if text == "mix" else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m detector.capture.microphone")
    parser.add_argument("--device", required=True, help="its name, a part of it, or default")
    parser.add_argument("--channel", default="mix", type=_channel, help="the one to hear, or mix")
    parser.add_argument("--rate", type=int, help="Hz; 16000 if the device can, else its default")
    parser.add_argument("--block-ms", type=int, default=100)
    arguments = parser.parse_args()

    # Audio goes to the real stdout; what a library prints there must not get between the frames.
    # A block is written in one piece, so that its reader is woken once.
    out = os.fdopen(os.dup(1), "wb", buffering=MAX_BLOCK_BYTES)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        record(arguments.device, arguments.channel, arguments.rate, arguments.block_ms, out)
        _write_error(
            out, f"device {arguments.device!r} stopped: unplugged, or its sound server ended"
        )
    except BrokenPipeError:
        return 0
    except DetectorError as error:
        _write_error(out, str(error))
        if isinstance(error, ConfigError):
            return EXIT_UNKNOWN_DEVICE
        return EXIT_CANNOT_OPEN
    return EXIT_STOPPED


if __name__ == "__main__":
    # Closing a device can hang, and PortAudio closes its devices when a process exits in order.
    code = main()
    sys.stderr.flush()
    os._exit(code)
