"""Windows composed from recordings, as mel energies before the logarithm.

Energies of independent sounds add (their cross terms vanish in expectation), so sounds, rooms,
rates and microphones are mixed here at a fraction of what they would cost as samples. Nothing
moves a sound along the frequency axis: that would make it another sound. (A recording played
faster or slower is another thing of the same kind; `data.cached_power` computes it from samples.)
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detector.records import FloatArray
from export.train.data import FBANK, SPEEDS

FRAMES = 512
"""Rows of the input."""
HEARD = 510
"""Whole frames in the detector's window; the other rows are padding."""
VISIBLE = 70
"""Frames of active sound, 0.7 s, from which on a window carries the label."""
TOKEN = 8
"""Rows of the input that become a token."""
FRAME = 4
"""Rows of the input that become a frame of the answer."""
NO_LESSON = -1
PAUSE = 30
"""Frames, 0.3 s: a sound that pauses for less is still heard."""
UNHEARD = 4.0
"""A teacher's word on a sound is asked for while what is mixed in is this much fainter (6 dB)."""

Generator = np.random.Generator
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sound:
    """A recording that may be placed in a window."""

    powers: tuple[FloatArray, ...]
    """(t, mel_bins) each, energies: the recording at each of `speeds`."""
    labels: Mapping[int, Mask]
    """For each label that is heard, in which of the t frames at speed 1; none for a background."""
    active: Mask
    """(t,) where anything but a pause is heard, at speed 1."""
    unknown: tuple[int, ...] = ()
    """Labels that it may hold as well."""
    lesson: int = NO_LESSON
    """Which row of the teacher's answers is of its first window; they are 50 frames apart."""
    lessons: int = 0
    """How many rows are of this recording."""
    visible: int = VISIBLE
    """Active frames from which on its labels are recognised."""
    speeds: tuple[float, ...] = SPEEDS


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
    frames: FloatArray
    """(FRAMES / FRAME, labels) 0..1."""
    lesson: NDArray[np.intp]
    """(FRAMES / TOKEN,): which row of the teacher's answers is of this token, or NO_LESSON."""


def active_frames(power: FloatArray) -> Mask:
    """(t,) where the recording's own sound is heard, rather than a pause or its background.

    That is within 30 dB of the peak and, where the quietest frames are well below it, 6 dB above
    those.
    """
    energy = power.sum(axis=1)
    peak, floor = energy.max(), np.percentile(energy, 10)
    return np.asarray(energy > max(peak * 1e-3, min(floor * 4, peak * 0.1)))


def without_pauses(active: Mask, longest: int) -> Mask:
    """The same, with pauses of at most `longest` frames between two active ones filled."""
    filled = active.copy()
    on = np.flatnonzero(active)
    for before, after in itertools.pairwise(on):
        if after - before - 1 <= longest:
            filled[before:after] = True
    return filled


def place(
    rng: Generator, active: Mask, heard: int, *, whole: bool, visible: int = VISIBLE
) -> tuple[int, slice]:
    """Where in `heard` rows a sound of len(active) frames stands.

    Any place will do at which `visible` active frames (or 7 of 10, if it has fewer) are seen.

    Returns:
        The row of its first frame, negative if it began before the window, and the frames seen.
    """
    length = len(active)
    offsets = np.arange(1 - length, heard)
    first, stop = np.maximum(0, -offsets), np.minimum(length, heard - offsets)
    total = np.concatenate(([0], np.cumsum(active)))
    fits = total[stop] - total[first] >= min(visible, np.ceil(0.7 * total[-1]))
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


def band(rng: Generator, bins: int) -> FloatArray:
    """(bins,) what a recorder of a lower rate, or a telephone, lets through."""
    response = np.ones(bins, np.float32)
    top = int(rng.integers(bins * 5 // 8, bins * 15 // 16))
    response[top:] = decibels(-rng.uniform(30, 80))
    if rng.random() < 0.4:
        low = int(rng.integers(1, bins * 3 // 10))
        response[:low] *= decibels(-rng.uniform(10, 50))
    return response


def compress(rng: Generator, power: FloatArray) -> FloatArray:
    """Level out: loud frames become quieter and quiet ones louder, as recorders do."""
    energy = power.sum(axis=1, keepdims=True)
    loudest = max(float(energy.max()), 1e-12)
    gain = (np.maximum(energy, loudest * 1e-4) / loudest) ** -rng.uniform(0.2, 0.7)
    return np.asarray(power * gain, np.float32)


def encode(rng: Generator, power: FloatArray) -> FloatArray:
    """Leave out what a lossy codec would: what is faint beside the loudest of its frame."""
    loudest = power.max(axis=1, keepdims=True)
    kept = power > loudest * decibels(-rng.uniform(18, 35))
    return np.asarray(np.where(kept, power, power * decibels(-rng.uniform(10, 40))), np.float32)


def stretch(rng: Generator, length: int, *, steady: bool) -> NDArray[np.intp]:
    """Indices of the frames that make a sound of `length` frames up to a fifth slower or faster."""
    rate = 1.0 if steady else np.exp(rng.uniform(-0.2, 0.2))
    return np.asarray(np.arange(int(length / rate)) * rate, np.intp)


def reverberate(rng: Generator, power: FloatArray) -> FloatArray:
    """Energy that dies away by 60 dB in 0.2 to 1.2 s."""
    decay = 10 ** (-6 / (100 * rng.uniform(0.2, 1.2)))
    tail = power * rng.uniform(0.05, 0.9) * (1 - decay)
    for shift in (1, 2, 4, 8, 16, 32, 64):  # doubles the length of the response each time
        tail[shift:] += tail[:-shift] * decay**shift
    return power + tail


class Composer:
    """Makes examples; the same generator makes the same example."""

    def __init__(
        self, groups: list[list[Sound]], backgrounds: list[Sound], noise: FloatArray, labels: int
    ) -> None:
        """Take what there is to place.

        Args:
            groups: sounds of one kind each; one kind is drawn as often as another.
            backgrounds: what may stand under everything.
            noise: (t, mel_bins) energies of white noise.
            labels: how many there are.
        """
        self._groups, self._backgrounds, self._labels = groups, backgrounds, labels
        self._noise = noise / np.maximum(noise.mean(axis=0), 1e-12)  # one bin holds no line

    def compose(self, rng: Generator) -> Example:
        """One window: a sound, two, or none, before a background, in a room, at some level."""
        heard, whole = self._extent(rng)
        out = _Canvas(heard, self._labels)
        kind = rng.random()
        if kind < 0.14:
            self._nothing(rng, out)
        else:
            out.add(rng, self._sound(rng), level=None, share=1.0, whole=whole)
            if kind < 0.6:
                self._second(rng, out, whole=whole)
            if rng.random() < 0.45:
                self._background(rng, out, out.level * decibels(-rng.uniform(0, 30)))
            if rng.random() < 0.5:
                self._hiss(rng, out, out.level * decibels(-rng.uniform(5, 45)))
        power = self._record(rng, out.power)
        power[heard:] = 0
        return Example(power, heard, out.target, out.known, out.frame_targets(), out.lesson)

    def _record(self, rng: Generator, power: FloatArray) -> FloatArray:
        """The room, the microphone and what is done to its signal."""
        if rng.random() < 0.25:
            power = reverberate(rng, power)
        response = equaliser(rng, power.shape[1], 2)
        if rng.random() < 0.15:
            response = response * band(rng, power.shape[1])
        power = power * (response * decibels(rng.uniform(-36, 8)))
        if rng.random() < 0.12:
            power = compress(rng, power)
        if rng.random() < 0.1:
            power = encode(rng, power)
        return power

    def _extent(self, rng: Generator) -> tuple[int, bool]:
        """How many rows are heard, and whether a sound that fits is heard whole."""
        kind = rng.random()
        if kind < 0.25:
            return 498, True  # a clip of five seconds
        if kind < 0.38:
            return int(rng.integers(50, HEARD)), False  # a stream that has just begun
        return HEARD, kind < 0.55

    def _sound(self, rng: Generator) -> Sound:
        group = self._groups[rng.integers(len(self._groups))]
        return group[rng.integers(len(group))]

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
        if rng.random() < 0.3:  # gusts, or somebody passing
            swell = np.cumsum(rng.normal(0, 0.6, len(noise)))
            noise *= 10 ** (0.1 * (swell - swell.max()))[:, None]
        out.power[: out.heard] += noise * (level / max(noise.sum(axis=1).mean(), 1e-12))


@dataclass
class _Canvas:
    """A window in the making."""

    heard: int
    labels: int
    level: float = 1.0
    """Mean energy of an active frame of the first sound."""
    power: FloatArray = field(init=False)
    target: FloatArray = field(init=False)
    known: FloatArray = field(init=False)
    frames: FloatArray = field(init=False)
    """(FRAMES, labels): which labels are heard in each row."""
    lesson: NDArray[np.intp] = field(init=False)
    _loud: FloatArray = field(init=False)
    """(tokens,): energy of the loudest sound in each token, of all but steady noise."""

    def __post_init__(self) -> None:
        self.power = np.zeros((FRAMES, FBANK.mel_bins), np.float32)
        self.target, self.known = (
            np.zeros(self.labels, np.float32),
            np.ones(self.labels, np.float32),
        )
        self.frames = np.zeros((FRAMES, self.labels), np.float32)
        self.lesson = np.full(FRAMES // TOKEN, NO_LESSON, np.intp)
        self._loud = np.zeros(FRAMES // TOKEN, np.float32)

    def add(
        self, rng: Generator, sound: Sound, level: float | None, share: float, *, whole: bool
    ) -> None:
        """Place a sound; `level` None leaves it as loud as it is."""
        pick = int(rng.integers(len(sound.speeds)))
        speed, power = sound.speeds[pick], sound.powers[pick]
        steady = len(sound.speeds) == 1  # a rhythm that is a standard stays as it is
        frames = stretch(rng, len(power), steady=steady or not sound.active.any())
        # The same moment in the recording as it was made.
        original = np.minimum((frames * speed).astype(np.intp), len(sound.active) - 1)
        row, seen = place(
            rng, sound.active[original], self.heard, whole=whole, visible=sound.visible
        )
        frames, original = frames[seen], original[seen]
        power = power[frames]
        active = sound.active[original]
        if not steady:
            power = power * equaliser(rng, power.shape[1], 3)
        loud = float(power[active].sum(axis=1).mean()) if active.any() else 1.0
        rows = slice(max(0, row), max(0, row) + len(frames))
        self.power[rows] += power * ((level or loud) / max(loud, 1e-12))
        if level is None:
            self.level = loud
        enough = active.sum() >= min(sound.visible, np.ceil(0.7 * sound.active.sum()))
        for label, mask in sound.labels.items():
            if mask[original].any():
                self.target[label] = max(self.target[label], share)
                self.known[label] = float(enough)
                np.maximum(
                    self.frames[rows, label], share * mask[original], out=self.frames[rows, label]
                )
        self._leave_unsaid(sound)
        self._learn(sound, rows, original, level or loud)

    def add_steady(self, rng: Generator, sound: Sound, level: float | None) -> None:
        """A stretch of a background under everything."""
        pick = int(rng.integers(len(sound.speeds)))
        whole = sound.powers[pick]
        frames = (rng.integers(len(whole)) + np.arange(self.heard)) % len(whole)
        power = whole[frames] * equaliser(rng, FBANK.mel_bins, 3)
        loud = float(power.sum(axis=1).mean())
        self.power[: self.heard] += power * ((level or loud) / max(loud, 1e-12))
        self._leave_unsaid(sound)
        if level is None:
            original = (frames * sound.speeds[pick]).astype(np.intp)
            self._learn(sound, slice(0, self.heard), original, loud)

    def fade(self, share: float) -> None:
        """The sounds placed so far are fainter than the next."""
        self.target *= share
        self.frames *= share

    def frame_targets(self) -> FloatArray:
        """(FRAMES / FRAME, labels): the share of each frame's rows in which a label is heard."""
        rows = self.frames.reshape(FRAMES // FRAME, FRAME, -1)
        return np.asarray(rows.mean(axis=1), np.float32)

    def _leave_unsaid(self, sound: Sound) -> None:
        for label in sound.unknown:
            if not self.target[label]:
                self.known[label] = 0

    def _learn(self, sound: Sound, rows: slice, original: NDArray[np.intp], loud: float) -> None:
        """What the teacher said of the recording is asked of the tokens in which it prevails."""
        tokens = np.arange(-(-rows.start // TOKEN), rows.stop // TOKEN)
        if not len(tokens):
            return
        others = self._loud[tokens]
        prevails = loud > others * UNHEARD
        unclear = ~prevails & (loud * UNHEARD > others)
        if sound.lessons:
            middle = np.minimum(tokens * TOKEN + TOKEN // 2 - rows.start, len(original) - 1)
            which = np.clip((original[middle] - 48 + 25) // 50, 0, sound.lessons - 1)
            self.lesson[tokens[prevails]] = sound.lesson + which[prevails]
        else:
            unclear |= prevails
        self.lesson[tokens[unclear]] = NO_LESSON
        self._loud[tokens] = np.maximum(others, loud)
