"""What a model makes of a spectrogram whose content is moved to other frequencies.

A spectrogram is a tensor of frequency and time, and no image: moved content is another sound. How
far each score then moves says how well a model knows that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detector.inference.session import Session
from detector.records import FloatArray, Window
from export.parity.scores import stacked

SHIFTS = (-4, -2, -1, 1, 2, 4)
"""Mel bins, upwards."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the scores moved."""

    bins: int
    mean: float
    """Of |Δp|, over all labels and windows."""
    max: float
    labels: tuple[float, ...]
    """Mean |Δp| of each label, in the bundle's order."""


def shifted(frames: FloatArray, bins: int) -> FloatArray:
    """Move (rows, mel_bins) by `bins` bins upwards; what comes in at an edge is that edge again."""
    last = frames.shape[1] - 1
    return np.ascontiguousarray(frames[:, np.clip(np.arange(last + 1) - bins, 0, last)])


def sensitivity(
    session: Session, windows: Sequence[Window], shifts: Sequence[int] = SHIFTS
) -> list[Shift]:
    """Score the windows of log-mel frames, as they are and moved."""

    def scored(bins: int) -> FloatArray:
        moved = [replace(window, data=shifted(window.data, bins)) for window in windows]
        return np.concatenate([stacked(session.score([window])) for window in moved])

    still = scored(0)
    found = []
    for bins in shifts:
        apart = np.abs(scored(bins) - still)
        labels = apart.mean(axis=tuple(range(apart.ndim - 1)))
        found.append(Shift(bins, float(apart.mean()), float(apart.max()), tuple(labels.tolist())))
    return found


def most_moved(shifts: Sequence[Shift], count: int) -> list[int]:
    """Indices of the labels whose scores move most, over all shifts, the most moved first."""
    means = np.mean([shift.labels for shift in shifts], axis=0)
    return [int(index) for index in np.argsort(-means, kind="stable")[:count]]
