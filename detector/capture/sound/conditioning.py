"""Gain and filters, before anything is made of the sound of a source.

What comes out has the same place in time as what went in, and is bitwise the same however the sound
was cut into blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.records import SAMPLE_RATE, AudioBlock, FloatArray

_BUTTERWORTH: Final = (0.541196100146197, 1.306562964876377)
"""Qs of the sections of a fourth-order filter: 1 / (2 cos x), x being 1 and 3 times pi / 8."""
_HUM_Q: Final = 30
"""A notch is a thirtieth of its frequency wide: mains are held to a thousandth of theirs."""
_HUM_TONES: Final = 9
"""The mains frequency and its first harmonics; removing more costs what is to be heard."""
_BLOCK: Final = 80
"""Samples that are filtered at once."""

Matrix = NDArray[np.float64]


class Conditioning:
    """What the settings `gain_db`, `highpass_hz` and `mains_hz` of a source ask for."""

    def __init__(
        self, gain_db: float = 0.0, highpass_hz: float | None = None, mains_hz: int | None = None
    ) -> None:
        sections = highpass(highpass_hz) if highpass_hz else []
        sections += hum_notches(mains_hz) if mains_hz else []
        self._gain = np.float32(10 ** (gain_db / 20))
        self._filter = LinearFilter(sections) if sections else None
        self._end_sample: int | None = None

    def apply(self, block: AudioBlock) -> AudioBlock:
        """Take the next block of the source, return what takes its place."""
        samples = block.samples
        if self._filter is not None:
            if block.first_sample != self._end_sample:  # after a gap
                self._filter.reset()
            self._end_sample = block.end_sample
            samples = self._filter.push(samples)
        return replace(block, samples=samples * self._gain)


class LinearFilter:
    """Sections of the second order in series.

    They are one linear system, which gives _BLOCK samples and the next states by one product of a
    vector and a matrix. That has always the same shape, and a sample that has yet to come counts
    for an exact zero in those before it: so nothing depends on the blocks in which the sound comes.
    """

    def __init__(self, sections: Sequence["Section"]) -> None:
        system = reduce(_in_series, map(_system, sections))
        self._states = len(system.take)
        self._matrix = _block_matrix(system)
        self._settled = np.linalg.solve(np.eye(self._states) - system.keep, system.take)
        """The states that a constant of 1 leads to."""
        self._vector = np.zeros(self._states + _BLOCK)
        """The states before a block, and the block."""
        self._done: int | None = None
        """How much of the block was returned already; None before the first sample."""

    def reset(self) -> None:
        """What follows has nothing to do with what came before."""
        self._done = None

    def push(self, samples: FloatArray) -> FloatArray:
        """Take (n,) float32 samples, return as many."""
        filtered = np.empty(len(samples), np.float32)
        states, block = self._vector[: self._states], self._vector[self._states :]
        first = 0
        while first < len(samples):
            if self._done is None:  # as if the first sample had always been there: no click
                states[:], self._done = self._settled * samples[0], 0
            begin, size = self._done, min(_BLOCK - self._done, len(samples) - first)
            block[begin : begin + size] = samples[first : first + size]
            block[begin + size :] = 0
            answer = self._vector @ self._matrix
            filtered[first : first + size] = answer[self._states + begin :][:size]
            first, self._done = first + size, begin + size
            if self._done == _BLOCK:
                states[:], self._done = answer[: self._states], 0
        return filtered


class Section(NamedTuple):
    """A filter of the second order: a[0] y = b[0] x + b[1] x' + b[2] x'' - a[1] y' - a[2] y''."""

    b: Matrix
    a: Matrix
    """Both (3,); a prime is a sample earlier."""


def highpass(hertz: float) -> list[Section]:
    """Butterworth's of the fourth order: 3 dB less at `hertz`, 24 dB an octave below it.

    As R. Bristow-Johnson's "Cookbook formulae for audio EQ biquad filter coefficients" has it.
    """
    return [
        Section(np.array([1, -2, 1]) * (1 + math.cos(angle)) / 2, _poles(angle, q))
        for angle in [2 * math.pi * hertz / SAMPLE_RATE]
        for q in _BUTTERWORTH
    ]


def hum_notches(mains_hz: int) -> list[Section]:
    """Take out the hum of the mains; the notches of the same Cookbook."""
    angles = [2 * math.pi * mains_hz * k / SAMPLE_RATE for k in range(1, _HUM_TONES + 1)]
    return [
        Section(np.array([1, -2 * math.cos(angle), 1]), _poles(angle, _HUM_Q)) for angle in angles
    ]


def _poles(angle: float, q: float) -> Matrix:
    alpha = math.sin(angle) / (2 * q)
    return np.array([1 + alpha, -2 * math.cos(angle), 1 - alpha])


class _System(NamedTuple):
    """states' = keep @ states + take * sample; answer = show @ states + direct * sample."""

    keep: Matrix
    """(states, states)"""
    take: Matrix
    """(states,)"""
    show: Matrix
    """(states,)"""
    direct: float


def _system(section: Section) -> _System:
    """The section in the transposed direct form II."""
    b, a = section.b / section.a[0], section.a / section.a[0]
    keep = np.array([[-a[1], 1], [-a[2], 0]])
    return _System(keep, b[1:] - a[1:] * b[0], np.array([1.0, 0]), float(b[0]))


def _in_series(one: _System, other: _System) -> _System:
    nothing = np.zeros((len(one.take), len(other.take)))
    return _System(
        keep=np.block([[one.keep, nothing], [np.outer(other.take, one.show), other.keep]]),
        take=np.concatenate([one.take, other.take * one.direct]),
        show=np.concatenate([other.direct * one.show, other.show]),
        direct=other.direct * one.direct,
    )


def _block_matrix(system: _System) -> Matrix:
    """(states + block, states + block): (states, samples) @ it is (states after them, answers)."""
    count = len(system.take)
    matrix = np.zeros((count + _BLOCK, count + _BLOCK))
    states, impulse = np.eye(count), system.take  # after n samples; n samples after an impulse
    matrix[count:, count:] = system.direct * np.eye(_BLOCK)
    for n in range(_BLOCK):
        matrix[:count, count + n] = system.show @ states
        states = system.keep @ states
    for n in range(1, _BLOCK):
        since = np.arange(_BLOCK - n)
        matrix[count + since, count + since + n] = system.show @ impulse
        matrix[count + _BLOCK - n, :count] = impulse
        impulse = system.keep @ impulse
    matrix[count, :count] = impulse
    matrix[:count, :count] = states.T
    return matrix
