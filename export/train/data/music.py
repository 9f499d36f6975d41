"""Music rendered with fluidsynth: `python -m export.train.data.music --out DIR`.

Chords, a melody and drums drawn by chance, for instruments of General MIDI: no piece of anyone's.
"""

import argparse
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

SOUNDFONT: Final = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
"""Of Debian's package fluid-soundfont-gm (MIT)."""
PIECES: Final = 60
TICKS: Final = 480
"""In a beat."""
BEATS: Final = 40
DRUMS: Final = 9
"""The channel of the drums."""
PROGRAMS: Final = 112
"""After these come drums and noises of things, which may be labels."""
SCALES: Final = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))

Event = tuple[int, bytes]
"""When, in ticks, and what."""


def piece(rng: np.random.Generator) -> bytes:
    """A file of MIDI, of up to four instruments."""
    tempo = round(60e6 / rng.uniform(60, 170))
    events: list[Event] = [(0, b"\xff\x51\x03" + tempo.to_bytes(3, "big"))]
    scale, root = SCALES[rng.integers(len(SCALES))], int(rng.integers(48, 60))
    degrees = rng.integers(0, 7, BEATS // 4)
    for channel in range(int(rng.integers(1, 5))):
        events.append((0, bytes((0xC0 | channel, int(rng.integers(PROGRAMS))))))
        if channel % 2:
            events += _chords(rng, channel, scale, root, degrees)
        else:
            events += _melody(rng, channel, scale, root + 12 * int(rng.integers(-1, 3)))
    if rng.random() < 0.5:
        events += _drums(rng)
    return _file(events)


def _chords(
    rng: np.random.Generator, channel: int, scale: tuple[int, ...], root: int, degrees: np.ndarray
) -> list[Event]:
    events: list[Event] = []
    for bar, degree in enumerate(degrees):
        for step in (0, 2, 4):
            at = int(degree) + step
            note = root + scale[at % len(scale)] + 12 * (at // len(scale))
            events += _note(channel, note, 4 * bar * TICKS, 4 * TICKS, int(rng.integers(50, 100)))
    return events


def _melody(
    rng: np.random.Generator, channel: int, scale: tuple[int, ...], root: int
) -> list[Event]:
    events: list[Event] = []
    at, step = 0.0, int(rng.integers(7))
    while at < BEATS:
        length = float(rng.choice((0.25, 0.5, 0.5, 1, 2)))
        step = int(np.clip(step + rng.integers(-3, 4), -7, 14))
        note = root + scale[step % len(scale)] + 12 * (step // len(scale))
        if rng.random() < 0.85:
            velocity = int(rng.integers(50, 120))
            events += _note(channel, note, round(at * TICKS), round(length * TICKS), velocity)
        at += length
    return events


def _drums(rng: np.random.Generator) -> list[Event]:
    events: list[Event] = []
    pattern = rng.random((3, 8)) < np.array([[0.4], [0.3], [0.7]])
    for eighth in range(2 * BEATS):
        for drum, hits in zip((36, 38, 42), pattern, strict=True):
            if hits[eighth % 8]:
                at = eighth * TICKS // 2
                events += _note(DRUMS, drum, at, TICKS // 4, int(rng.integers(60, 120)))
    return events


def _note(channel: int, note: int, at: int, length: int, velocity: int) -> list[Event]:
    note = min(120, max(12, note))
    return [
        (at, bytes((0x90 | channel, note, velocity))),
        (at + length - 1, bytes((0x80 | channel, note, 0))),
    ]


def _file(events: list[Event]) -> bytes:
    track, now = b"", 0
    for at, what in sorted(events, key=lambda event: event[0]):
        track += _variable(at - now) + what
        now = at
    track += b"\x00\xff\x2f\x00"
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + track


def _variable(number: int) -> bytes:
    """A number of MIDI's variable length: seven bits a byte."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.insert(0, number & 0x7F | 0x80)
    return bytes(digits)


def render(folder: Path, pieces: int = PIECES, seed: int = 0) -> None:
    """Write `pieces` FLAC files at 16 kHz, mono, into `folder`; those that are there stay."""
    import soundfile  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    for i in range(pieces):
        out = folder / f"rendered-{i:03}.flac"
        if out.exists():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            midi, wave = Path(scratch) / "piece.mid", Path(scratch) / "piece.wav"
            midi.write_bytes(piece(np.random.default_rng((seed, i))))
            subprocess.run(
                ["fluidsynth", "-ni", "-q", "-F", wave, "-r", "16000", SOUNDFONT, midi],
                check=True,
                capture_output=True,
            )
            samples, rate = soundfile.read(wave, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1)[: 25 * rate]
        soundfile.write(out, mono / max(2.0 * float(np.abs(mono).max()), 1e-6), rate)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.train.data.music", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    render(parser.parse_args().out)


if __name__ == "__main__":
    main()
