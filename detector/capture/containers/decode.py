"""Recordings and streams of any container and codec become frames, in order, to the last one.

Nothing is sought, unless a container keeps its index at its end, and no header's length is trusted.
"""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

import av
from av.container import InputContainer
from av.error import FFmpegError

from detector.capture.containers.byte_reader import ByteReader, Readable
from detector.capture.containers.decoder import Decoder, FaultError
from detector.capture.containers.frame_sequence import FrameSequence
from detector.capture.containers.frames import Frames, Hole
from detector.capture.containers.indexed import INDEXED, IndexedLink
from detector.capture.containers.links import Link, PlainLink
from detector.capture.containers.mp3 import mp3_length
from detector.capture.containers.mpeg import HEADER_BYTES, mp3_frame
from detector.capture.containers.ogg import OggLink
from detector.capture.containers.riff import RiffLink
from detector.capture.containers.sniff import FRAMES, HEAD_BYTES, id3_bytes, sniff
from detector.errors import AudioFileError

_OTHERS: Final = (
    "ac3,aa,ape,avi,dts,dtshd,eac3,flv,gsm,iff,latm,loas,mlp,mpc,mpc8,mpeg,mpegts,nut,oma,rm,sbc,"
    "shn,tak,truehd,tta,voc,vqf,wv,xwma"
)
"""What libavformat may recognise by itself: containers of sound, and none that names other files or
addresses, as playlists do."""
_MAGIC_BYTES: Final = 24
_MP3_TAG_BYTES: Final = 512
_PCM_BYTES: Final = "65536"
"""At once: by itself, libavformat gives out 4096."""
_LIVE_PROBE_BYTES: Final = "8192"
"""What libavformat may read before it must give out what it has."""
_READABLE: Final = "WAV, FLAC, Ogg, MP3, M4A, WebM, Matroska, WMA, AMR, AIFF and others"


def decode(source: Path | Readable, name: str, *, live: bool = False) -> Iterator[Frames | Hole]:
    """Decode a recording, or what comes out of a pipe.

    Args:
        source: a file's path; or a stream of bytes that need not be seekable, and is not closed.
        name: what errors call it.
        live: whether it is being made now, so that nothing may wait for more than it needs, and
            what is wrong is told at once, though more may follow.

    Raises:
        AudioFileError: it holds no sound that can be decoded here; or, once all that there is was
            given out, that its end is missing.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(_open(source)) if isinstance(source, Path) else source
        reader = ByteReader(stream)
        if reader.at_end():
            raise AudioFileError(f"{name}: is empty (0 bytes)")
        yield from _chain(reader, stream, name, live=live)


def _open(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise AudioFileError(f"{path}: is a directory, not a recording")
        if path.is_fifo():  # opening it would wait for a writer
            raise AudioFileError(f"{path}: is a FIFO (named pipe), no recording; set fifo to it")
        return path.open("rb")
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be read: {error.strerror}") from None


def _chain(
    reader: ByteReader, stream: Readable, name: str, *, live: bool
) -> Iterator[Frames | Hole]:
    """One link after another; what is wrong with one does not keep the next from being heard."""
    heard = False
    faults: list[FaultError] = []
    kind: str | None = None
    while not reader.at_end():
        _skip_tags(reader)
        link_kind = sniff(reader.peek(_MAGIC_BYTES)) or sniff(reader.peek(HEAD_BYTES))
        if heard and link_kind != kind:
            break
        kind = link_kind
        try:
            for item in _link(reader, kind, stream, live=live):
                heard = heard or isinstance(item, Frames)
                yield item
        except FaultError as fault:
            if live:
                raise AudioFileError(f"{name}: {fault}") from None
            faults.append(fault)
            if fault.missing_s:
                yield Hole(fault.missing_s, str(fault))
    if faults:
        raise AudioFileError(f"{name}: {faults[0]}")
    if not heard:
        raise AudioFileError(f"{name}: holds no samples")


def _skip_tags(reader: ByteReader) -> None:
    size = id3_bytes(reader.peek(10))
    while size and (data := reader.read(size)):
        size = size - len(data) or id3_bytes(reader.peek(10))


def _open_link(reader: ByteReader, kind: str | None, stream: Readable) -> Link:
    if kind == "wav":
        riff = RiffLink(reader)
        return FrameSequence(ByteReader(riff), mp3_frame, riff) if riff.holds_mpeg else riff
    if kind == "ogg":
        return OggLink(reader)
    if kind in INDEXED and isinstance(stream, io.BufferedReader) and stream.seekable():
        return IndexedLink(reader, stream, kind)
    if kind in FRAMES and FRAMES[kind](reader.peek(HEADER_BYTES)[:HEADER_BYTES]):
        return FrameSequence(reader, FRAMES[kind])
    return PlainLink(reader, kind)


def _link(
    reader: ByteReader, kind: str | None, stream: Readable, *, live: bool
) -> Iterator[Frames | Hole]:
    """Decode what the reader stands before.

    Raises:
        FaultError: what is wrong with it.
    """
    length = mp3_length(reader.peek(_MP3_TAG_BYTES)) if kind == "mp3" else None
    link = _open_link(reader, kind, stream)
    demuxer = "mp3" if isinstance(link, FrameSequence) and kind == "wav" else kind
    decoded_s = 0.0
    try:
        with _open_container(link, demuxer, live=live) as container:
            decoder = Decoder(container, link, length)
            for item in decoder.items():
                decoded_s = decoder.decoded_s
                yield item
    except FaultError as fault:
        if not live:
            link.drain()
        if kind in INDEXED and not decoded_s:
            what = "is damaged or truncated: its index, which may stand at the end, is not there"
            if not isinstance(link, IndexedLink):
                what = "may have its index at its end, which a pipe cannot give; save it as a file"
            raise FaultError(what) from None
        if link.fault:
            missing_s = max(fault.missing_s, link.missing_share * decoded_s)
            raise FaultError(link.fault, missing_s) from None
        raise
    link.drain()
    if link.fault:
        raise FaultError(link.fault, link.missing_share * decoded_s)


def _open_container(link: Link, kind: str | None, *, live: bool) -> InputContainer:
    options = {} if kind else {"format_whitelist": _OTHERS}
    if live:
        options["probesize"] = _LIVE_PROBE_BYTES
    elif isinstance(link, RiffLink) and link.holds_pcm:
        options["max_size"] = _PCM_BYTES
    try:
        return av.open(link, "r", format=kind, options=options)
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if kind:
            raise FaultError(f"is damaged: it begins as {kind}, but: {reason}") from None
        raise FaultError(
            f"is damaged, or no audio that can be read here ({_READABLE}): {reason}"
        ) from None
