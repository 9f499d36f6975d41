"""How much energy a stretch of sound holds, without keeping its samples."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.features.row_buffer import RowBuffer
from detector.records import FloatArray
from detector.spec import WindowSpec

_BLOCK: Final = 160
"""Samples that are summed once and for all: to them the hops of log-mel models are multiples."""


def can_sum(window: WindowSpec) -> bool:
    """Whether sums alone tell of all windows, but for the last samples of a stretch."""
    return window.hop_samples % _BLOCK == 0


class Energy:
    """Sums of squares over blocks of a stretch, and over its last samples.

    What is asked for is a sum over blocks and over what is left at both ends, so it is bitwise the
    same however the sound arrived, and whoever else asks.
    """

    def __init__(self, samples: RowBuffer, kept: int, slack: int) -> None:
        """Set up.

        Args:
            samples: those that are kept themselves, at least a block: the ends of what is asked for
                lie in them, unless they are multiples of a block.
            kept: for how many samples before the newest sums are kept.
            slack: at most so many are pushed at once.
        """
        self._samples = samples
        self._sums = RowBuffer(kept // _BLOCK + 2, slack // _BLOCK + 2, dtype=np.float64)
        self._rest: FloatArray = np.empty(0, np.float32)

    def push(self, samples: FloatArray) -> None:
        """Take more samples, which the buffer has already."""
        heard = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        whole = len(heard) // _BLOCK * _BLOCK
        self._rest = heard[whole:].copy()
        self._sums.append(_squares(heard[:whole]).reshape(-1, _BLOCK).sum(axis=1))

    def between(self, first: int, end: int) -> float:
        """The sum of the squares of the samples `first <= i < end`."""
        begin, stop = -(-first // _BLOCK), end // _BLOCK
        if begin > stop:  # within one block
            return float(_squares(self._samples.rows(first, end)).sum())
        total = float(self._sums.rows(begin, stop).sum())
        if begin * _BLOCK > first:
            total += float(_squares(self._samples.rows(first, begin * _BLOCK)).sum())
        if stop * _BLOCK < end:
            total += float(_squares(self._samples.rows(stop * _BLOCK, end)).sum())
        return total


def _squares(samples: FloatArray) -> NDArray[np.float64]:
    squares = samples.astype(np.float64)
    squares *= squares
    return squares
