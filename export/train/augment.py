"""Windows composed from recordings, as mel energies before the logarithm.

Energies of independent sounds add (their cross terms vanish in expectation), so sounds, rooms,
rates and microphones are mixed here at a fraction of what they would cost as samples. Nothing
moves a sound along the frequency axis: that would make it another sound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.records import FloatArray
from export.train.data import FBANK

FRAMES = 512
"""Rows of the input."""
HEARD = 510
"""Whole frames in the detector's window; the other rows are padding."""
VISIBLE = 70
"""Frames of active sound, 0.7 s, from which on a window carries the label."""

Generator = np.random.Generator


@dataclass(frozen=True)
class Sound:
    """A recording that may be placed in a window."""

    power: FloatArray
    """(t, mel_bins), energies."""
    target: int | None
    """Which label; None for a background."""
    unknown: tuple[int, ...]
    """Labels that it may hold as well."""
    taught: FloatArray
    """(windows, classes): the teacher's scores, one window every 50 frames; or (0, 0)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "active", active_frames(self.power))

    active: NDArray[np.bool_] = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Example:
    """One window and what is to be said of it."""

    power: FloatArray
    """(FRAMES, mel_bins), energies."""
    heard: int
    """Rows that are sound; those after them are padding."""
    target: FloatArray
    """(labels,) 0..1."""
    known: FloatArray
    """(labels,) 0 where nothing is known of the label, else 1."""
    taught: FloatArray
    """(classes,) the teacher's scores."""
    taught_known: float


def active_frames(power: FloatArray) -> NDArray[np.bool_]:
    """(t,) where the recording's own sound is heard, rather than a pause or its background.

    That is within 30 dB of the peak and, where the quietest frames are well below it, 6 dB above
    those.
    """
    energy = power.sum(axis=1)
    peak, floor = energy.max(), np.percentile(energy, 10)
    return np.asarray(energy > max(peak * 1e-3, min(floor * 4, peak * 0.1)))


def place(
    rng: Generator, active: NDArray[np.bool_], heard: int, *, whole: bool
) -> tuple[int, slice]:
    """Where in `heard` rows a sound of len(active) frames stands.

    Any place will do at which VISIBLE active frames (or 7 of 10, if it has fewer) are seen.

    Returns:
        The row of its first frame, negative if it began before the window, and the frames seen.
    """
    length = len(active)
    offsets = np.arange(1 - length, heard)
    first, stop = np.maximum(0, -offsets), np.minimum(length, heard - offsets)
    total = np.concatenate(([0], np.cumsum(active)))
    fits = total[stop] - total[first] >= min(VISIBLE, np.ceil(0.7 * total[-1]))
    if whole and length <= heard:
        fits &= (offsets >= 0) & (offsets + length <= heard)
    if not fits.any():  # fewer rows are heard than must be seen: show where it is densest
        fits = total[stop] - total[first] == (total[stop] - total[first]).max()
    choice = rng.choice(np.flatnonzero(fits))
    return int(offsets[choice]), slice(int(first[choice]), int(stop[choice]))


def decibels(value: float) -> float:
    return float(10 ** (value / 10))


def equaliser(rng: Generator, bins: int, spread_db: float) -> FloatArray:
    """(bins,) a smooth random response, at times of a narrow band as a telephone's."""
    knots = rng.normal(0, spread_db, 6)
    if rng.random() < 0.15:
        knots[-rng.integers(1, 3) :] -= rng.uniform(10, 40)
    if rng.random() < 0.15:
        knots[0] -= rng.uniform(10, 30)
    curve = np.interp(np.linspace(0, 5, bins), np.arange(6), knots)
    return np.asarray(10 ** (curve / 10), np.float32)


def stretch(rng: Generator, power: FloatArray, active: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the frames that make the sound up to a fifth slower or faster."""
    rate = np.exp(rng.uniform(-0.2, 0.2))
    if not active.any():
        rate = 1.0
    return np.asarray(np.arange(int(len(power) / rate)) * rate, np.intp)


def reverberate(rng: Generator, power: FloatArray) -> FloatArray:
    """Energy that dies away by 60 dB in 0.2 to 1.2 s."""
    decay = 10 ** (-6 / (100 * rng.uniform(0.2, 1.2)))
    tail = power * rng.uniform(0.05, 0.5) * (1 - decay)
    for shift in (1, 2, 4, 8, 16, 32, 64):  # doubles the length of the response each time
        tail[shift:] += tail[:-shift] * decay**shift
    return power + tail


class Composer:
    """Makes examples; the same generator makes the same example."""

    def __init__(self, sounds: list[Sound], noise: FloatArray, labels: int, speech: int) -> None:
        """Take the sounds to place, and `noise` (t, mel_bins): energies of white noise."""
        self._sounds = sounds
        self._noise = noise / np.maximum(noise.mean(axis=0), 1e-12)  # one bin holds no line
        self._labels, self._classes = labels, max(s.taught.shape[1] for s in sounds)
        by_label = [[s for s in sounds if s.target == label] for label in range(labels)]
        self._backgrounds = [s for s in sounds if s.target is None]
        # Speech varies more than any category: it is drawn three times as often.
        self._draw = [*by_label, by_label[speech], by_label[speech]]

    def compose(self, rng: Generator) -> Example:
        """One window: a sound, two, or none, before a background, in a room, at some level."""
        heard, whole = self._extent(rng)
        out = _Canvas(heard, self._labels, self._classes)
        kind = rng.random()
        if kind < 0.15:
            self._nothing(rng, out)
        else:
            out.add(rng, self._sound(rng), level=None, share=1.0, whole=whole)
            if kind < 0.72:
                self._second(rng, out, whole=whole)
            if rng.random() < 0.4:
                self._background(rng, out, out.level * decibels(-rng.uniform(0, 30)))
            if rng.random() < 0.5:
                self._hiss(rng, out, out.level * decibels(-rng.uniform(5, 45)))
        power = reverberate(rng, out.power) if rng.random() < 0.15 else out.power
        power[heard:] = 0
        power *= equaliser(rng, power.shape[1], 2) * decibels(rng.uniform(-30, 8))
        return Example(power, heard, out.target, out.known, out.taught, out.taught_known)

    def _extent(self, rng: Generator) -> tuple[int, bool]:
        """How many rows are heard, and whether a sound that fits is heard whole."""
        kind = rng.random()
        if kind < 0.2:
            return 498, True  # a clip of five seconds
        if kind < 0.35:
            return int(rng.integers(50, HEARD)), False  # a stream that has just begun
        return HEARD, kind < 0.55

    def _sound(self, rng: Generator) -> Sound:
        label = self._draw[rng.integers(len(self._draw))]
        return label[rng.integers(len(label))]

    def _second(self, rng: Generator, out: "_Canvas", *, whole: bool) -> None:
        """Another sound, up to 12 dB below or above the first; the fainter counts less."""
        above = rng.uniform(-12, 12)
        share = float(np.clip(1 - (abs(above) - 3) / 12, 0.25, 1))
        if above > 0:
            out.fade(share)
        level = out.level * decibels(above)
        out.add(rng, self._sound(rng), level, share if above < 0 else 1.0, whole=whole)

    def _nothing(self, rng: Generator, out: "_Canvas") -> None:
        kind = rng.random()
        if kind < 0.55:
            self._background(rng, out, level=None)
        if kind > 0.45:
            self._hiss(rng, out, decibels(rng.uniform(-50, 55)))
        if kind > 0.9:
            out.power *= 0  # digital silence

    def _background(self, rng: Generator, out: "_Canvas", level: float | None) -> None:
        out.add_steady(rng, self._backgrounds[rng.integers(len(self._backgrounds))], level)

    def _hiss(self, rng: Generator, out: "_Canvas", level: float) -> None:
        """Steady noise of any colour, at times with a hum or a whistle in it."""
        start = rng.integers(len(self._noise) - FRAMES)
        tilt = rng.normal(0, 8) if rng.random() < 0.7 else 0.0
        colour = np.linspace(0, tilt, self._noise.shape[1])
        shape = equaliser(rng, self._noise.shape[1], 4 if tilt else 1) * 10 ** (colour / 10)
        noise = self._noise[start : start + out.heard] * shape
        if rng.random() < 0.3:
            lines = rng.integers(noise.shape[1], size=rng.integers(1, 7))
            noise[:, lines] += noise.max() * decibels(rng.uniform(-10, 20))
        out.power[: out.heard] += noise * (level / max(noise.sum(axis=1).mean(), 1e-12))


class _Canvas:
    """A window in the making."""

    def __init__(self, heard: int, labels: int, classes: int) -> None:
        self.heard = heard
        self.power = np.zeros((FRAMES, FBANK.mel_bins), np.float32)
        self.target, self.known = np.zeros(labels, np.float32), np.ones(labels, np.float32)
        self.taught, self.taught_known = np.zeros(classes, np.float32), 0.0
        self.level = 1.0
        """Mean energy of an active frame of the first sound."""

    def add(
        self, rng: Generator, sound: Sound, level: float | None, share: float, *, whole: bool
    ) -> None:
        """Place a sound; `level` None leaves it as loud as it is."""
        frames = stretch(rng, sound.power, sound.active)
        row, seen = place(rng, sound.active[frames], self.heard, whole=whole)
        frames = frames[seen]
        power, active = sound.power[frames], sound.active[frames]
        power = power * equaliser(rng, power.shape[1], 3)
        loud = float(power[active].sum(axis=1).mean()) if active.any() else 1.0
        row = max(0, row)
        self.power[row : row + len(frames)] += power * ((level or loud) / max(loud, 1e-12))
        if level is None:
            self.level = loud
        self._tell(sound, frames, share)
        if sound.target is not None:
            self.target[sound.target] = max(self.target[sound.target], share)
            self.known[sound.target] = 1

    def add_steady(self, rng: Generator, sound: Sound, level: float | None) -> None:
        """A stretch of a background under everything."""
        frames = (rng.integers(len(sound.power)) + np.arange(self.heard)) % len(sound.power)
        power = sound.power[frames] * equaliser(rng, FBANK.mel_bins, 3)
        loud = float(power.sum(axis=1).mean())
        self.power[: self.heard] += power * ((level or loud) / max(loud, 1e-12))
        self._tell(sound, frames, 1.0)

    def fade(self, share: float) -> None:
        """The sounds placed so far are fainter than the next."""
        self.target *= share
        self.taught *= share

    def _tell(self, sound: Sound, frames: NDArray[np.intp], share: float) -> None:
        for label in sound.unknown:
            if not self.target[label]:
                self.known[label] = 0
        if len(sound.taught):
            windows = np.unique(np.clip((frames - 48) // 50, 0, len(sound.taught) - 1))
            np.maximum(self.taught, sound.taught[windows].max(axis=0) * share, out=self.taught)
            self.taught_known = 1.0
