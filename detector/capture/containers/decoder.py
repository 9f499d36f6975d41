"""One link of a chain through libavformat and libavcodec: frames, and what is absent between."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from detector.capture.containers.flac import first_frame
from detector.capture.containers.frames import Frames, Hole, to_frames
from detector.capture.containers.links import Link
from detector.capture.containers.mp3 import Mp3Length
from detector.capture.containers.timestamps import LOOSE_TOLERANCE_S, TOLERANCE_S, Timeline

_FAILURES: Final = 100
"""So many times in a row may reading fail before what follows is given up."""
_CHECKED: Final = frozenset(("tta", "wavpack"))
"""Codecs whose decoders give noise for damaged bytes unless they are told to compare checksums."""
_COUNTED: Final = frozenset(("vorbis", "opus", "speex", "flac"))
"""Codecs of which Ogg counts the frames."""
_NO_FRAMES: Final = "bytes that are none of the sound's frames"
_ROUNDING_S: Final = 0.15
"""By so much may a header's duration be wrong: it counts encoders' silence, or is rounded."""
_FLAC_HEADER_BYTES: Final = 16
_LONGEST_EXCESS: Final = 2 * 8192
"""Frames: two of Vorbis's longest blocks."""
_FIRST_BLOCK_S: Final = 1.0
"""No time stamp of the first sound is as great as this because of it."""


class FaultError(Exception):
    """What is wrong with a link; who knows its name makes an AudioFileError of it."""

    def __init__(self, message: str, missing_s: float = 0.0) -> None:
        super().__init__(message)
        self.missing_s = missing_s
        """How many seconds of sound are absent at its end."""


class Decoder:
    """Decodes the sound of one container to its end."""

    def __init__(
        self, container: InputContainer, link: Link, length: Mp3Length | None = None
    ) -> None:
        """Choose the stream that a player would.

        Raises:
            FaultError: there is none, or it cannot be decoded here.
        """
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream):
            raise FaultError(
                "is a video without sound" if container.streams.video else "holds no sound"
            )
        if not stream.codec_context:
            raise FaultError("its codec is none that can be decoded here")
        stream.codec_context.thread_count = 1
        self._container, self._stream = container, stream
        self._link, self._length = link, length
        self.codec: str = stream.codec_context.name
        if self.codec in _CHECKED:
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        loose = self.codec == "vorbis"
        self._timeline = Timeline(LOOSE_TOLERANCE_S if loose else TOLERANCE_S)
        self._block = 0
        """Frames in the first block that was decoded."""
        self._reason = ""
        """Why the last packets gave no frames; empty if they did."""
        self._failures = 0
        """How many packets these were."""
        self._end_s = 0.0
        """Where the last packet ends."""
        self._lost_s = 0.0
        """How much the link has lost since the last frame."""
        self.decoded_s = 0.0
        """How much was given out, holes and all."""
        self._behind: list[Frames] = []
        """What is silence of the encoder, unless more follows."""

    @property
    def promised_s(self) -> float | None:
        """How long the header says that it is."""
        stream, length = self._stream, self._length
        if length:
            return length.frames / stream.rate if stream.rate else None
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        if self._container.duration is not None and len(self._container.streams) == 1:
            return self._container.duration / av.time_base
        return None

    def items(self) -> Iterator[Frames | Hole]:
        """All frames, and holes between them.

        Raises:
            FaultError: the end is missing. All else was given out before.
        """
        for packet in self._packets():
            self._note(packet)
            try:
                decoded = packet.decode()
            except (FFmpegError, ValueError) as error:
                self._failures += 1
                self._damaged(error)
                continue
            for index, frame in enumerate(decoded):
                yield from self._place(frame, packet if index == 0 else None)
        lost_s = self._lost_s + self._link.lost_s(None)
        if self._failures > 1:  # one is the rest of a frame, as padding leaves it
            lost_s += self._timeline.until(self._end_s)
        lost_s += self._before_the_end(lost_s)
        if lost_s:
            self.decoded_s += lost_s
            yield Hole(lost_s, self._reason or _NO_FRAMES)
        self._check_end()

    def _packets(self) -> "Iterator[av.Packet[AudioStream]]":
        failures = 0
        while failures < _FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
            except (FFmpegError, ValueError) as error:
                failures += 1
                self._damaged(error)
            else:
                return

    def _note(self, packet: "av.Packet[AudioStream]") -> None:
        if packet.pos is not None:
            self._lost_s += self._link.lost_s(packet.pos)
        if packet.pts is not None and packet.size:
            self._end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)

    def _damaged(self, error: Exception) -> None:
        self._reason = getattr(error, "strerror", None) or str(error)

    def _place(
        self, frame: av.AudioFrame, packet: "av.Packet[AudioStream] | None"
    ) -> Iterator[Frames | Hole]:
        """Give out a frame and what is absent before it.

        Args:
            frame: what was decoded.
            packet: what it was made of; None if an earlier frame of it was made as well.
        """
        frames = to_frames(frame, self.codec)
        duration_s = len(frames.samples) / frames.rate
        self._block = self._block or len(frames.samples)
        at_s = None
        if frame.pts is not None and frame.time_base is not None:
            at_s = float(frame.pts * frame.time_base)
        if self.codec == "flac":
            first = first_frame(bytes(packet)[:_FLAC_HEADER_BYTES], self._block) if packet else None
            at_s = None if first is None else first / frames.rate
        if self._link.lost_beginning:
            self._timeline.begin()
        absent_s = self._timeline.absent_s(at_s, duration_s, damaged=bool(self._reason))
        if self._lost_s:
            absent_s, self._reason = absent_s + self._lost_s, self._reason or _NO_FRAMES
        if absent_s:
            yield Hole(absent_s, self._reason or "time stamps leave it out")
        self._reason, self._failures, self._lost_s = "", 0, 0.0
        self.decoded_s += duration_s + absent_s
        yield from self._without_padding(self._up_to_the_end(frames))

    def _up_to_the_end(self, frames: Frames) -> Frames:
        """Leave out what libavcodec's Vorbis decoder gives beyond the stream's end."""
        end = self._link.end_frame
        if end is None or self.codec != "vorbis":
            return frames
        # Of a stream on a single page, libavformat counts the first block, which gives no sound.
        begin_s = self._timeline.begin_s if self._timeline.begin_s > _FIRST_BLOCK_S else 0.0
        excess = round((begin_s + self.decoded_s) * frames.rate) - end
        if not 0 < excess <= _LONGEST_EXCESS:
            return frames
        return replace(frames, samples=frames.samples[: max(0, len(frames.samples) - excess)])

    def _without_padding(self, frames: Frames) -> Iterator[Frames]:
        """Keep back what lies behind the promised end, until it is clear that sound follows."""
        if not self._length:
            if len(frames.samples):
                yield frames
            return
        excess = round(self.decoded_s * frames.rate) - self._length.frames
        self._behind.append(frames)
        if excess > self._length.padding + len(frames.samples):
            yield from self._behind
            self._behind, self._length = [], None
            return
        kept = max(0, sum(len(one.samples) for one in self._behind) - max(0, excess))
        together = self._behind
        self._behind = []
        for one in together:
            if kept:
                yield replace(one, samples=one.samples[:kept])
            if len(one.samples) > kept:
                self._behind.append(replace(one, samples=one.samples[kept:]))
            kept = max(0, kept - len(one.samples))

    def _before_the_end(self, lost_s: float) -> float:
        """How much is absent before the stream's end, where its container tells that apart."""
        end, rate = self._link.end_frame, self._stream.rate
        if end is None or self.codec not in _COUNTED or not rate:
            return 0.0
        missing_s = end / rate - self._timeline.begin_s - self.decoded_s - lost_s
        return missing_s if missing_s > _ROUNDING_S else 0.0

    def _check_end(self) -> None:
        promised_s = self.promised_s or 0.0
        missing_s = promised_s - self.decoded_s
        if missing_s > _ROUNDING_S:
            raise FaultError(
                f"is truncated: its header promises {promised_s:.2f} s, only "
                f"{self.decoded_s:.2f} s can be decoded",
                missing_s,
            )
