"""Recordings in every container and codec that people have, made of one sound by real programs."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detector.records import SAMPLE_RATE, FloatArray

SECONDS = 2.5
_PROGRAMS = {"ffmpeg": "ffmpeg", "sox": "sox, libsox-fmt-all", "lame": "lame"}
_MISSING = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
needs_encoders = pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")


@dataclass(frozen=True, slots=True)
class Encoding:
    """One way to write a recording."""

    name: str
    suffix: str
    options: str
    """Of FFmpeg, between its input and its output."""
    rates: tuple[int, ...] = (44_100,)
    tells_length: bool = True
    """Whether a reader can know that the end is missing."""
    survives: bool = True
    """Whether what follows damage in the middle is found again within so short a recording."""
    shift_s: float = 0.07
    """By so much may the sound begin later, or end earlier: the silence that encoders put before
    it where the container does not say how much that is, or their last frame."""


ENCODINGS = (
    Encoding("wav-8-bit", "wav", "-c:a pcm_u8", (8_000, 44_100), shift_s=0),
    Encoding("wav-16-bit", "wav", "-c:a pcm_s16le", (8_000, 44_100, 384_000), shift_s=0),
    Encoding("wav-24-bit", "wav", "-c:a pcm_s24le", (48_000,), shift_s=0),
    Encoding("wav-float", "wav", "-c:a pcm_f32le", (16_000, 192_000), shift_s=0),
    Encoding("wav-double", "wav", "-c:a pcm_f64le", (48_000,), shift_s=0),
    Encoding("wav-a-law", "wav", "-c:a pcm_alaw", (8_000,), shift_s=0),
    Encoding("wav-adpcm", "wav", "-c:a adpcm_ima_wav", (16_000,)),
    Encoding("wav-mp3", "wav", "-c:a libmp3lame"),
    Encoding("rf64", "rf64", "-rf64 always -f wav -c:a pcm_s16le", (48_000,), shift_s=0),
    Encoding("wave64", "w64", "", shift_s=0.0002),
    Encoding("aiff", "aiff", "", (8_000, 44_100), shift_s=0),
    Encoding("aifc", "aif", "-c:a pcm_f32be", shift_s=0),
    Encoding("au", "au", "", (16_000,), shift_s=0),
    Encoding("caf", "caf", "", shift_s=0),
    Encoding("voc", "voc", "-c:a pcm_s16le", tells_length=False, shift_s=0),
    Encoding("flac", "flac", "", (8_000, 44_100, 96_000), shift_s=0),
    Encoding("flac-24-bit", "flac", "-sample_fmt s32", (48_000,), shift_s=0),
    Encoding("ogg-flac", "oga", "-c:a flac", survives=False, shift_s=0),
    Encoding("true-audio", "tta", "", survives=False, shift_s=0),
    Encoding("wavpack", "wv", "", survives=False, shift_s=0),
    Encoding("vorbis", "ogg", "-c:a libvorbis", (8_000, 48_000), survives=False, shift_s=0),
    Encoding("opus", "opus", "-c:a libopus", (16_000, 48_000), survives=False, shift_s=0),
    Encoding("speex", "spx", "-c:a libspeex", (16_000,), survives=False),
    Encoding("mp3", "mp3", "-b:a 96k", (22_050, 44_100), shift_s=0),
    Encoding("mp3-variable", "mp3", "-q:a 4 -write_xing 0", tells_length=False),
    Encoding(
        "mp3-bare", "mp3", "-b:a 64k -id3v2_version 0 -write_xing 0", (48_000,), tells_length=False
    ),
    Encoding("mp2", "mp2", "-b:a 128k", tells_length=False),
    Encoding("m4a", "m4a", "-c:a aac -b:a 96k", (16_000, 44_100)),
    Encoding("m4a-index-first", "m4a", "-c:a aac -b:a 96k -movflags +faststart"),
    Encoding("mp4-fragments", "mp4", "-c:a aac -b:a 96k -movflags frag_keyframe+empty_moov"),
    Encoding("alac", "m4a", "-c:a alac", shift_s=0),
    Encoding("mov", "mov", "-c:a pcm_s16le", (48_000,), shift_s=0),
    Encoding("3gp", "3gp", "-c:a aac", (16_000,)),
    Encoding("aac", "aac", "-b:a 96k", tells_length=False),
    Encoding("mkv-aac", "mkv", "-c:a aac -b:a 96k", survives=False),
    Encoding("mkv-flac", "mkv", "-c:a flac", survives=False, shift_s=0),
    Encoding("mkv-pcm", "mkv", "-c:a pcm_s16le", (48_000,), survives=False, shift_s=0),
    Encoding("webm-opus", "webm", "-c:a libopus", (48_000,), survives=False),
    Encoding("webm-vorbis", "webm", "-c:a libvorbis", survives=False),
    Encoding("wma", "wma", "-b:a 96k", (16_000, 44_100)),
    Encoding("asf-mp3", "asf", "-c:a libmp3lame", survives=False),
    Encoding("ac-3", "ac3", "-b:a 192k", (48_000,), tells_length=False),
    Encoding("mpeg-ts", "ts", "-c:a aac -b:a 96k", (48_000,), tells_length=False),
    Encoding("avi", "avi", "-c:a libmp3lame"),
    Encoding("flv", "flv", "-c:a libmp3lame"),
)
"""What FFmpeg writes."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file of the matrix."""

    encoding: Encoding
    rate: int
    channels: int

    @property
    def name(self) -> str:
        return f"{self.encoding.name}-{self.rate}-{self.channels}.{self.encoding.suffix}"


FILES = tuple(
    Made(encoding, rate, channels)
    for encoding in ENCODINGS
    for rate in encoding.rates
    for channels in (1, 2)
)
BY_OTHERS = (
    Made(Encoding("sox-mp3", "mp3", "", tells_length=False), 44_100, 1),
    Made(Encoding("sox-amr", "amr", "", tells_length=False, survives=False), 8_000, 1),
    Made(Encoding("sox-gsm", "wav", ""), 8_000, 1),
    Made(Encoding("lame-average", "mp3", ""), 44_100, 2),
)


def sweep(rate: int = SAMPLE_RATE) -> FloatArray:
    """(n,) a tone that rises all the time: each moment of it is known from every other."""
    at = np.arange(round(SECONDS * rate)) / rate
    return np.asarray(0.5 * np.sin(2 * np.pi * (300 + 240 * at) * at), np.float32)


def write_all(folder: Path) -> None:
    """Write every file of the matrix: FFmpeg is started once for each rate."""
    for rate in sorted({made.rate for made in FILES}):
        sources = [_source(folder, rate, channels) for channels in (1, 2)]
        command: list[str | Path] = ["ffmpeg", "-v", "error", "-y"]
        command += ["-i", sources[0], "-i", sources[1]]
        for made in FILES:
            if made.rate == rate:
                options = made.encoding.options.split()
                command += ["-map", f"{made.channels - 1}:a", *options, folder / made.name]
        subprocess.run(command, check=True)
    for made, start in zip(BY_OTHERS, _other_commands(folder), strict=True):
        subprocess.run([*start, folder / made.name], check=True)


def _source(folder: Path, rate: int, channels: int) -> Path:
    path = folder / f"source-{rate}-{channels}.wav"
    left = sweep(rate)
    samples = left if channels == 1 else np.stack([left, left / 2], axis=1)
    soundfile.write(path, samples, rate, subtype="PCM_24")
    return path


def _other_commands(folder: Path) -> Iterator[list[str | Path]]:
    high, low, two = (_source(folder, *x) for x in ((44_100, 1), (8_000, 1), (44_100, 2)))
    yield ["sox", high]
    yield ["sox", low, "-t", "amr-nb", "-C", "7"]
    yield ["sox", low, "-e", "gsm"]
    yield ["lame", "--quiet", "--abr", "96", two]
