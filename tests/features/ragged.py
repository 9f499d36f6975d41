"""The same audio, cut up in every way."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from hypothesis import strategies as st

from detector.records import AudioBlock, FloatArray

SIZES = (0, 1, 2, 7, 13, 159, 160, 161, 397, 399, 400, 401, 997, 4001, 16_001)
"""Block lengths in samples: none, one, primes, and those around a frame and its shift."""

sizes = st.lists(st.sampled_from(SIZES) | st.integers(0, 20_000), max_size=40)
"""Lengths of the first blocks; what is left after them is one block."""


def cut(samples: FloatArray, lengths: Iterable[int]) -> Iterator[FloatArray]:
    """Cut into blocks of these lengths, as far as they go, and the rest."""
    done = 0
    for length in lengths:
        if done >= len(samples):
            return
        yield samples[done : done + length]
        done += length
    yield samples[done:]


def blocks(
    samples: FloatArray, lengths: Iterable[int] = (), first_sample: int = 0
) -> Iterator[AudioBlock]:
    for part in cut(samples, lengths):
        yield AudioBlock(first_sample, part)
        first_sample += len(part)


def evenly(length: int) -> Iterator[int]:
    return itertools.repeat(length)


def noise(seconds: float, seed: int = 0) -> FloatArray:
    """(n,) float32 with a wide range of loudness, as real sound has."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(round(seconds * 16_000))
    loudness = 10 ** np.interp(
        np.arange(len(samples)), np.linspace(0, len(samples), 12), rng.uniform(-5, -0.5, 12)
    )
    return np.asarray(np.clip(samples * loudness, -1, 1), np.float32)
