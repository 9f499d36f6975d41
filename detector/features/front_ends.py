"""What a model sees of a stretch of sound: one front end for each kind that a bundle can name."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, Protocol

import numpy as np

from detector.features.fbank import LogMel, Workspace
from detector.features.row_buffer import RowBuffer
from detector.features.waveform import prepare
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Fbank, Frontend, LogMelSpec, Waveform


class FrontEnd(Protocol):
    """The features of one stretch of sound, from whose beginning samples are counted."""

    def push(self, samples: FloatArray) -> None:
        """Take more samples, (n,) float32."""
        ...

    def cut(self, first: int, end: int, rows: int) -> FloatArray | None:
        """What a model of `rows` rows sees of the samples `first <= i < end`, padded at the end.

        `first` is a multiple of the front end's `hop_multiple`.

        Returns:
            A copy, (rows, …) float32; None if the samples are too few to show anything.
        """
        ...


_SLACK: Final = 2
"""Pushes between two moves of the frames that are kept: a trade of memory for time."""


@cache
def _workspace(spec: Fbank | LogMelSpec) -> Workspace:
    """One for all streams: a process computes them in one thread."""
    return Workspace(spec)


class _LogMelFrames:
    """Frames of log-mel, one after the other."""

    def __init__(self, spec: Fbank | LogMelSpec, samples: "Samples") -> None:
        self._spec = spec
        self._stream = LogMel(spec, SAMPLE_RATE, _workspace(spec))
        shift = spec.shift_samples
        self._frames = RowBuffer(
            samples.kept // shift + 1, _SLACK * (samples.slack // shift + 1), spec.mel_bins
        )

    def push(self, samples: FloatArray) -> None:
        self._frames.append(self._stream.push(samples))

    def cut(self, first: int, end: int, rows: int) -> FloatArray | None:
        begin, stop = first // self._spec.shift_samples, self._spec.frames_in(end)
        if stop <= begin:
            return None
        frames = self._frames.rows(begin, stop)
        window = np.empty((rows, self._spec.mel_bins), np.float32)
        window[: len(frames)] = frames
        window[len(frames) :] = self._spec.padding
        return window


class _Waveform:
    """The samples themselves, normalised within each window."""

    def __init__(self, spec: Waveform, samples: "Samples") -> None:
        self._spec, self._samples = spec, samples

    def push(self, samples: FloatArray) -> None:
        pass  # they are in the buffer that all front ends share

    def cut(self, first: int, end: int, rows: int) -> FloatArray | None:
        return prepare(self._samples.rows(first, end), self._spec, rows) if end > first else None


class Samples(RowBuffer):
    """The samples that the windows of a stretch of sound can be about."""

    def __init__(self, kept: int, slack: int, remembered: int) -> None:
        """Set up.

        Args:
            kept: for how many samples before the newest there are features.
            slack: at most so many are pushed at once.
            remembered: how many samples are kept themselves.
        """
        super().__init__(remembered, slack)
        self.kept, self.slack = kept, slack


_KINDS: Final[Mapping[str, Callable[[Any, Samples], FrontEnd]]] = {
    "fbank": _LogMelFrames,
    "log_mel": _LogMelFrames,
    "waveform": _Waveform,
}


def front_end(spec: Frontend, samples: Samples) -> FrontEnd:
    """The front end that a bundle asks for, over a stretch of sound whose samples are kept."""
    return _KINDS[spec.kind](spec, samples)
