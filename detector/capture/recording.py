"""Recordings, opened and brought to the analysis rate.

It is read piece by piece, in constant memory, and comes out at the analysis rate. What is no sound,
cannot be decoded or was left out by the recorder becomes a gap: a recording that is damaged
somewhere would otherwise pass for a quiet one.
"""

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import numpy as np
import structlog

from detector.capture.containers.byte_reader import ByteReader, Readable
from detector.capture.containers.decode import decode
from detector.capture.containers.frames import Frames, Hole
from detector.capture.containers.sniff import HEAD_BYTES, sniff
from detector.capture.programs.framing import MAGIC, StreamFormat
from detector.capture.sound.channels import select_channel
from detector.capture.sound.conversion import Conversion
from detector.capture.sound.pcm import PcmDecoder, RawFormat
from detector.errors import AudioFileError, DetectorError
from detector.records import (
    SAMPLE_RATE,
    AudioBlock,
    FloatArray,
    Gap,
    to_samples,
    to_seconds,
)

log = structlog.get_logger()

Channel = int | Literal["mix"]

_READ_FRAMES: Final = 16_384
_GATHERED_FRAMES: Final = 16_384
_TOLD: Final = 10
"""Holes of a recording that are told one by one; the others are only counted."""
_STDIN: Final = "standard input"
_WHAT: Final = {
    "not_finite": "samples that are not finite, or far beyond full scale,",
    "undecodable": "a part that cannot be decoded, or was left out,",
}
"""What a gap of a recording stands for."""


@contextlib.contextmanager
def open_audio(
    path: Path | str, channel: Channel = "mix", block_samples: int = SAMPLE_RATE
) -> Iterator[Iterator[AudioBlock | Gap]]:
    """Open a recording of any container and codec, at any rate from 8 to 384 kHz.

    Args:
        path: the file.
        channel: which to hear, counted from 1, or the mean of all.
        block_samples: length of each block but the last, and those before a gap.

    Returns:
        Consecutive blocks from sample 0 on, and gaps where there is no sound that can be heard.

    Raises:
        AudioFileError: when it is opened: the file is missing, empty or no audio. While it is read,
            once all that there is was given out: its end is missing.
    """
    pieces = _gathered(decode(Path(path), str(path)))
    with _opened(pieces, str(path), channel, block_samples) as items:
        yield items


@contextlib.contextmanager
def open_stream(
    stream: Readable, name: str, channel: Channel = "mix", block_samples: int = SAMPLE_RATE
) -> Iterator[Iterator[AudioBlock | Gap]]:
    """Read a recording from a pipe, as it comes; as `open_audio` else.

    Args:
        stream: what holds it, without a way back. It is not closed.
        name: what errors call it.
        channel: which to hear, counted from 1, or the mean of all.
        block_samples: length of each block but the last, and those before a gap.
    """
    with _opened(decode(stream, name), name, channel, block_samples) as items:
        yield items


def format_of(path: Path) -> StreamFormat:
    """The rate and the number of channels with which a recording begins.

    Raises:
        AudioFileError: it holds no sound that can be decoded here.
    """
    pieces = decode(path, str(path))
    found = next(piece for piece in pieces if isinstance(piece, Frames))
    return StreamFormat(found.rate, found.samples.shape[1])


@contextlib.contextmanager
def open_stdin(
    stream: Readable,
    raw: RawFormat | None,
    channel: Channel = "mix",
    block_samples: int = SAMPLE_RATE,
) -> Iterator[Iterator[AudioBlock | Gap]]:
    """Read a recording, or bare samples, as they come; as `open_audio` else.

    Args:
        stream: standard input, as a rule. It is not closed.
        raw: what bare samples are, if that was said.
        channel: which to hear, counted from 1, or the mean of all.
        block_samples: length of each block but the last, and those before a gap.

    Raises:
        AudioFileError: there is no audio, half a frame at the end, the rate is not supported, or
            it is neither a recording nor said to be bare samples.
    """
    if isinstance(stream, io.BufferedReader) and stream.seekable():  # < FILE
        head = stream.read(HEAD_BYTES)
        stream.seek(-len(head), io.SEEK_CUR)
    else:
        stream = ByteReader(stream)
        head = stream.peek(HEAD_BYTES)
    pieces: Iterator[Frames | Hole]
    if sniff(head):
        pieces = decode(stream, _STDIN)
    elif head.startswith(MAGIC):
        raise AudioFileError(f"{_STDIN}: records are for a source's program, socket or fifo")
    elif raw is None and head:
        raise AudioFileError(
            f"{_STDIN}: begins with {head[:8]!r}, which is no recording that is known here; for "
            "bare samples, give --rate, --channels and --sample-format"
        )
    else:
        pieces = _pcm(stream, raw)
    with _opened(pieces, _STDIN, channel, block_samples) as items:
        yield items


def only_sound(path: Path | str, items: Iterable[AudioBlock | Gap]) -> Iterator[AudioBlock]:
    """The blocks of a recording that has no gaps.

    Raises:
        AudioFileError: it has one.
    """
    for item in items:
        if isinstance(item, Gap):
            raise AudioFileError(
                f"{path}: holds {_WHAT[item.reason]} at {to_seconds(item.first_sample):.3f} s"
            )
        yield item


@contextlib.contextmanager
def _opened(
    pieces: Iterator[Frames | Hole], name: str, channel: Channel, block_samples: int
) -> Iterator[Iterator[AudioBlock | Gap]]:
    """Decode until there is sound, so that what is wrong with a recording is known at once."""
    before: list[Frames | Hole] = []
    for piece in pieces:
        before.append(piece)
        if isinstance(piece, Frames):
            _check(name, piece, channel)
            break
    yield _blocks(itertools.chain(before, pieces), name, channel, block_samples)


def _gathered(pieces: Iterator[Frames | Hole]) -> Iterator[Frames | Hole]:
    """Put short pieces together: each that follows costs more than its samples."""
    parts: list[FloatArray] = []
    form, count = StreamFormat(0, 0), 0

    def together() -> Iterator[Frames]:
        nonlocal parts, count
        if parts:
            yield Frames(np.concatenate(parts) if len(parts) > 1 else parts[0], form.rate)
        parts, count = [], 0

    try:
        for piece in pieces:
            if isinstance(piece, Hole):
                yield from together()
                yield piece
                continue
            if form != (other := StreamFormat(piece.rate, piece.samples.shape[1])):
                yield from together()
                form = other
            parts.append(piece.samples)
            count += len(piece.samples)
            if count >= _GATHERED_FRAMES:
                yield from together()
    except AudioFileError:
        yield from together()
        raise
    yield from together()


def _check(name: str, frames: Frames, channel: Channel) -> None:
    """Refuse a rate that is not supported and a channel that is not there."""
    try:
        Conversion(frames.rate)
        select_channel(frames.samples, channel)
    except DetectorError as error:
        raise AudioFileError(f"{name}: {error}") from None


def _pcm(stream: Readable, raw: RawFormat | None) -> Iterator[Frames]:
    """Frames, as they come."""
    empty, rest = True, 0
    if raw:
        decoder = PcmDecoder(raw)
        while data := stream.read(_READ_FRAMES * raw.frame_bytes):
            frames, rest = decoder.push(data), decoder.rest
            if len(frames):
                empty = False
                yield Frames(frames, raw.rate)
        if rest:
            raise AudioFileError(f"{_STDIN}: ends within a frame of {raw.frame_bytes} bytes")
    if empty:
        raise AudioFileError(f"{_STDIN}: holds no samples")


class _Converter:
    """Frames of any rates and channels, one after the other, at the analysis rate."""

    def __init__(self, name: str, channel: Channel) -> None:
        self._name, self._channel = name, channel
        self._conversion: Conversion | None = None
        self._end = 0
        self._holes = self._invalid = 0

    def items(self, pieces: Iterable[Frames | Hole]) -> Iterator[AudioBlock | Gap]:
        """Mix and resample. If reading fails midway, the error comes behind all that there was."""
        try:
            for piece in pieces:
                if isinstance(piece, Frames):
                    yield from self._push(piece)
                else:
                    yield from self._finish()
                    yield from self._gap(piece)
        except AudioFileError:
            yield from self._finish()
            raise
        yield from self._finish()

    def _push(self, frames: Frames) -> Iterator[AudioBlock | Gap]:
        if not self._conversion or self._conversion.rate != frames.rate:
            yield from self._finish()
            _check(self._name, frames, self._channel)
            self._conversion = Conversion(frames.rate, first_sample=self._end)
        yield from self._seen(self._conversion.push(select_channel(frames.samples, self._channel)))

    def _finish(self) -> Iterator[AudioBlock | Gap]:
        if self._conversion:
            yield from self._seen(self._conversion.finish())
        self._conversion = None

    def _seen(self, items: Iterator[AudioBlock | Gap]) -> Iterator[AudioBlock | Gap]:
        for item in items:
            self._end = item.end_sample
            if isinstance(item, Gap):
                self._invalid += item.length
            yield item

    def _gap(self, hole: Hole) -> Iterator[Gap]:
        length = to_samples(hole.seconds)
        if not length:
            return
        gap = Gap(self._end, length, "undecodable")
        self._holes += 1
        if self._holes <= _TOLD:
            log.warning(
                "a part of the recording cannot be heard",
                file=self._name,
                at_s=round(to_seconds(gap.first_sample), 3),
                seconds=round(gap.seconds, 3),
                reason=hole.reason,
            )
        self._end = gap.end_sample
        yield gap

    def tell(self) -> None:
        """Say what was not said where it happened."""
        if self._holes > _TOLD:
            log.warning(
                "further parts of the recording cannot be heard",
                file=self._name,
                parts=self._holes - _TOLD,
            )
        if self._invalid:
            log.warning(
                "samples that are not finite, or far beyond full scale, are left out as gaps",
                file=self._name,
                seconds=round(to_seconds(self._invalid), 3),
            )


def _blocks(
    pieces: Iterable[Frames | Hole], name: str, channel: Channel, block_samples: int
) -> Iterator[AudioBlock | Gap]:
    """Mix, resample, and cut into blocks of `block_samples`; as `_Converter`."""
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

    converter = _Converter(name, channel)
    try:
        for item in converter.items(pieces):
            if isinstance(item, AudioBlock):
                waiting.append(item.samples)
                yield from cut(all_of_it=False)
            else:
                yield from cut(all_of_it=True)
                yield item
                first_sample = item.end_sample
    except AudioFileError:
        yield from cut(all_of_it=True)
        raise
    yield from cut(all_of_it=True)
    converter.tell()
