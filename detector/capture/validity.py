"""What cannot be sound is kept out of everything that follows.

One sample that is not a number would spread through the resampler and the spectrograms, and one of
an absurd size would drown all that is summed up after it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from detector.records import FloatArray

MAX_AMPLITUDE: Final = 64.0
"""36 dB above full scale. Converters end at 1; mixing eight channels, a sound server's amplifier
(11 dB in PulseAudio's own dialogs) and recordings that were made too loud stay below 10. What is
beyond this is a wrong format or damaged memory."""
_VALID_S: Final = 0.1
"""How much valid sound ends an invalid stretch. Garbage has valid values in it, and a gap for each
of its samples would be of no use to anybody."""
_LONGEST_S: Final = 1.0
"""A stretch that lasts longer is told in parts."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """Consecutive frames that are no sound."""

    frames: int


class ValidityFilter:
    """Mono samples at any rate in, valid samples and invalid stretches out, in order and complete.

    A sample is valid if it is finite and at most `MAX_AMPLITUDE`. What comes out is the same
    however the samples are cut into blocks. Valid samples come out at once, except after an
    invalid one, where they are kept until it is certain that the stretch is over.
    """

    def __init__(self, rate: int) -> None:
        """Args: rate: Hertz."""
        self._recovery = round(_VALID_S * rate)
        self._longest = round(_LONGEST_S * rate)
        self._in_stretch = False
        self._invalid = 0
        """Frames of the stretch that were not told yet."""
        self._kept: list[FloatArray] = []
        """Valid samples since the last invalid one of the stretch."""

    def push(self, samples: FloatArray) -> Iterator[FloatArray | Invalid]:
        """Take (n,) samples, return what is certain by now."""
        valid = np.abs(samples) <= MAX_AMPLITUDE  # not so of NaN
        if valid.all() and not self._in_stretch:
            yield samples
            return
        starts = np.flatnonzero(np.diff(valid, prepend=not valid[:1].any()))
        for run in np.split(samples, starts[1:]):
            if abs(run[0]) <= MAX_AMPLITUDE:
                yield from self._push_valid(run)
            else:
                yield from self._push_invalid(run)

    def finish(self) -> Iterator[FloatArray | Invalid]:
        """Return what was kept: nothing follows, or not for a while."""
        if self._invalid:
            yield Invalid(self._invalid)
        if self._kept:
            yield np.concatenate(self._kept)
        self._in_stretch, self._invalid, self._kept = False, 0, []

    def _push_valid(self, run: FloatArray) -> Iterator[FloatArray | Invalid]:
        if not self._in_stretch:
            yield run
            return
        self._kept.append(run)
        if sum(map(len, self._kept)) >= self._recovery:
            yield from self.finish()

    def _push_invalid(self, run: FloatArray) -> Iterator[Invalid]:
        self._in_stretch = True
        self._invalid += sum(map(len, self._kept)) + len(run)
        self._kept = []
        while self._invalid >= self._longest:
            yield Invalid(self._longest)
            self._invalid -= self._longest
