"""Recordings, through the same records as a microphone.

A file is read piece by piece, in constant memory, and comes out at the analysis rate. It is read
whole or refused: a recording that is damaged somewhere would otherwise pass for a quiet one.
Single samples that are no sound become gaps.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
import soundfile
import structlog

from detector.boottime import boottime
from detector.capture.channels import select_channel
from detector.capture.clock import SampleClock
from detector.capture.conversion import Conversion
from detector.capture.ring import RingBuffer
from detector.capture.status import OnStatus
from detector.errors import AudioFileError, DetectorError
from detector.records import (
    SAMPLE_RATE,
    AudioBlock,
    Cut,
    FloatArray,
    Gap,
    to_samples,
    to_seconds,
)

log = structlog.get_logger()

Channel = int | Literal["mix"]

_READ_FRAMES: Final = 16_384
_PLAY_SAMPLES: Final = to_samples(0.1)
_UNKNOWN_LENGTH: Final = 1 << 48
"""Frames. What no file holds is a writer's way of saying that it did not know."""
_STREAMED: Final = 0x7FFFF000
"""Bytes of audio, or more, are what programs announce that could not go back to fill it in."""
_WRONG_SIZE: Final = re.compile(r"^ *(?:data|SSND|riff) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_NO_END: Final = re.compile(
    "lacks an end-of-stream bit|File ended unexpectedly|Junk after the last page"
)
_MP3_PADDING: Final = 4 * 1152
"""Frames by which an MP3's own account of its length may be wrong."""
_PCM_NAME: Final = "standard input"


@contextlib.contextmanager
def open_audio(
    path: Path | str, channel: Channel = "mix", block_samples: int = SAMPLE_RATE
) -> Iterator[Iterator[AudioBlock | Gap]]:
    """Open a recording (WAV, FLAC, Ogg, MP3, …; any rate from 8 to 192 kHz, any width).

    Args:
        path: the file.
        channel: which to hear, counted from 1, or the mean of all.
        block_samples: length of each block but the last, and those before a gap.

    Returns:
        Consecutive blocks from sample 0 on, and gaps where the file holds what is no sound.

    Raises:
        AudioFileError: when it is opened or while it is read: the file is missing, empty, damaged,
            truncated, or no audio.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        try:
            if path.is_dir():
                raise AudioFileError(f"{path}: is a directory, not a recording")
            file = stack.enter_context(path.open("rb"))
            if path.stat().st_size == 0:
                raise AudioFileError(f"{path}: is empty (0 bytes)")
            # Its descriptor has no name, so that only the content says what it is.
            sound = stack.enter_context(soundfile.SoundFile(file.fileno(), closefd=False))
        except OSError as error:
            raise AudioFileError(f"{path}: cannot be read: {error.strerror}") from None
        except soundfile.LibsndfileError as error:
            raise AudioFileError(
                f"{path}: is damaged, or no audio that can be read here "
                f"(WAV, FLAC, Ogg, MP3, AIFF): {_reason(error)}"
            ) from None
        _check_length(path, sound)
        conversion = _open_conversion(str(path), sound.samplerate)
        _check_channel(str(path), sound.channels, channel)
        frames = _decoded(path, sound)
        yield _blocks(frames, str(path), conversion, channel, block_samples, sound.frames)


@contextlib.contextmanager
def open_pcm(
    stream: BinaryIO,
    rate: int,
    channels: int,
    channel: Channel = "mix",
    block_samples: int = SAMPLE_RATE,
) -> Iterator[Iterator[AudioBlock | Gap]]:
    """Read bare 16-bit little-endian samples, interleaved, as they come; as `open_audio` else.

    Args:
        stream: standard input, as a rule. It is not closed.
        rate: Hertz.
        channels: how many are interleaved.
        channel: which to hear, counted from 1, or the mean of all.
        block_samples: length of each block but the last, and those before a gap.

    Raises:
        AudioFileError: there is no audio, half a frame at the end, or the rate is not supported.
    """
    if channels < 1:
        raise AudioFileError(f"{_PCM_NAME}: cannot have {channels} channels")
    conversion = _open_conversion(_PCM_NAME, rate)
    _check_channel(_PCM_NAME, channels, channel)
    frames = _pcm(stream, channels)
    yield _blocks(frames, _PCM_NAME, conversion, channel, block_samples)


def only_sound(path: Path | str, items: Iterable[AudioBlock | Gap]) -> Iterator[AudioBlock]:
    """The blocks of a recording that has no gaps.

    Raises:
        AudioFileError: it has one.
    """
    for item in items:
        if isinstance(item, Gap):
            raise AudioFileError(
                f"{path}: holds samples that are not finite, or far beyond full scale, at "
                f"{to_seconds(item.first_sample):.3f} s"
            )
        yield item


class Recording:
    """A capture that is a file, delivered at the pace at which it was made, as if heard now."""

    def __init__(self, path: Path, *, channel: Channel = "mix", speed: float = 1.0) -> None:
        """Describe it; nothing is opened yet.

        Args:
            path: the file.
            channel: which to hear, counted from 1, or the mean of all.
            speed: how many times as fast.
        """
        self.clock = SampleClock(round(SAMPLE_RATE * speed))
        self._path, self._channel, self._speed = path, channel, speed

    @property
    def description(self) -> str:
        return str(self._path)

    async def run(self, ring: RingBuffer, on_status: OnStatus) -> None:
        """Deliver the file from its beginning to its end.

        Args:
            ring: gets the blocks, and gaps where the file holds what is no sound.
            on_status: is told listening at the beginning and offline at the end.

        Raises:
            AudioFileError: as `open_audio`.
        """
        with open_audio(self._path, self._channel, _PLAY_SAMPLES) as items:
            first_sample = self._next_sample(ring)
            began = boottime()
            on_status("listening")
            try:
                for item in items:
                    due = began + to_seconds(item.end_sample) / self._speed
                    await asyncio.sleep(due - boottime())
                    later = replace(item, first_sample=first_sample + item.first_sample)
                    self.clock.observe(later.end_sample, due)
                    ring.write(later)
            finally:
                on_status("offline")
                ring.write(Cut(ring.end_sample))

    def _next_sample(self, ring: RingBuffer) -> int:
        """The index that the file's first sample gets: not 0 if it is run again."""
        if self.clock.started:
            missed = round(self.clock.sample_at(boottime())) - ring.end_sample
            ring.write(Gap(ring.end_sample, max(0, missed), "restart"))
        return ring.end_sample


def _open_conversion(name: str, rate: int) -> Conversion:
    try:
        return Conversion(rate)
    except DetectorError as error:
        raise AudioFileError(f"{name}: {error}") from None


def _check_channel(name: str, channels: int, channel: Channel) -> None:
    try:
        select_channel(np.zeros((1, channels), np.float32), channel)
    except DetectorError as error:
        raise AudioFileError(f"{name}: {error}") from None


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).removeprefix("Error : ")


def _check_length(path: Path, sound: soundfile.SoundFile) -> None:
    """Refuse a file of which a part is missing, as far as its header tells.

    libsndfile trusts the file's size more than the header, so `frames` alone does not tell; its
    log does.
    """
    said = sound.extra_info
    for chunk in _WRONG_SIZE.finditer(said):
        promised, present = int(chunk[1]), int(chunk[2])
        if present < promised < _STREAMED:
            raise AudioFileError(
                f"{path}: is truncated: its header promises {promised} bytes of audio, "
                f"only {present} are there"
            )
    _check_end(path, sound)
    if sound.frames == 0:
        raise AudioFileError(f"{path}: holds no samples")
    if sound.frames >= _UNKNOWN_LENGTH:
        raise AudioFileError(
            f"{path}: does not say how long it is, since it was written to a pipe; "
            "ffmpeg -i FILE COPY.wav makes one that does"
        )


def _check_end(path: Path, sound: soundfile.SoundFile) -> None:
    """Refuse an Ogg file without an end; of some, libsndfile knows only when it got there."""
    if _NO_END.search(sound.extra_info):
        raise AudioFileError(f"{path}: is truncated: the stream has no end")


def _decoded(path: Path, sound: soundfile.SoundFile) -> Iterator[FloatArray]:
    """(n, channels) float32, piece by piece."""
    count = 0
    while True:
        try:
            frames: FloatArray = sound.read(_READ_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioFileError(
                f"{path}: is damaged or truncated: it cannot be decoded after "
                f"{count / sound.samplerate:.2f} s: {_reason(error)}"
            ) from None
        if not len(frames):
            break
        count += len(frames)
        yield frames
    _check_end(path, sound)
    allowed = _MP3_PADDING if sound.format == "MP3" else 0
    if count + allowed < sound.frames:
        raise AudioFileError(
            f"{path}: is truncated: its header promises {sound.frames / sound.samplerate:.2f} s, "
            f"only {count / sound.samplerate:.2f} s can be decoded"
        )


def _pcm(stream: BinaryIO, channels: int) -> Iterator[FloatArray]:
    """(n, channels) float32, as it comes."""
    frame_bytes = 2 * channels
    rest, empty = b"", True
    # read1 returns what there is: a pipe from a live source must not wait for a whole piece.
    read = getattr(stream, "read1", stream.read)
    while data := read(_READ_FRAMES * frame_bytes):
        data = rest + data
        whole = len(data) - len(data) % frame_bytes
        rest = data[whole:]
        if whole:
            empty = False
            samples = np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768)
            yield samples.reshape(-1, channels)
    if rest:
        raise AudioFileError(f"{_PCM_NAME}: ends within a frame of {channels} 16-bit samples")
    if empty:
        raise AudioFileError(f"{_PCM_NAME}: holds no samples")


def _converted(
    pieces: Iterable[FloatArray], conversion: Conversion, channel: Channel, promised_frames: int
) -> Iterator[AudioBlock | Gap]:
    """Mix and resample. If that fails midway, what is missing is a gap; then the error comes."""
    try:
        for frames in pieces:
            yield from conversion.push(select_channel(frames, channel))
    except AudioFileError:
        yield from conversion.finish()
        end = conversion.end_sample
        if 0 < end < (promised := conversion.sample_of(promised_frames)):
            yield Gap(end, promised - end, "undecodable")
        raise
    yield from conversion.finish()


def _blocks(
    pieces: Iterable[FloatArray],
    name: str,
    conversion: Conversion,
    channel: Channel,
    block_samples: int,
    promised_frames: int = 0,
) -> Iterator[AudioBlock | Gap]:
    """Mix, resample, and cut into blocks of `block_samples`; as `_converted`."""
    first_sample = 0
    waiting: list[FloatArray] = []

    def cut(*, all_of_it: bool) -> Iterator[AudioBlock]:
        nonlocal first_sample, waiting
        if sum(map(len, waiting)) < block_samples and not all_of_it:
            return
        samples = np.concatenate(waiting) if waiting else np.empty(0, np.float32)
        while len(samples) >= block_samples or (all_of_it and len(samples)):
            yield AudioBlock(first_sample, samples[:block_samples])
            first_sample += len(samples[:block_samples])
            samples = samples[block_samples:]
        waiting = [samples]

    invalid_samples = 0
    for item in _converted(pieces, conversion, channel, promised_frames):
        if isinstance(item, AudioBlock):
            waiting.append(item.samples)
            yield from cut(all_of_it=False)
        else:
            yield from cut(all_of_it=True)
            yield item
            first_sample = item.end_sample
            invalid_samples += item.length if item.reason == "not_finite" else 0
    yield from cut(all_of_it=True)
    if invalid_samples:
        log.warning(
            "samples that are not finite, or far beyond full scale, are left out as gaps",
            file=name,
            seconds=round(to_seconds(invalid_samples), 3),
        )
