"""Thresholds for a trained bundle, from recordings that trained nothing.

What counts is what is heard where none of the labels is: excerpts of music, voices and rooms, as
recorded and quieter. All labels have a common threshold, the lowest that keeps the false starts of
all labels together rare; a label that is falsely heard above it more than once has one of its own.
The common threshold is judged by sources that had no part in the labels' own, or it would come out
too low.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.loading import Model, load_model
from detector.records import SAMPLE_RATE, FloatArray
from detector.settings.models import ModelSettings
from detector.spec import Label
from export.train.data.recordings import POSITIVES, Row, read
from export.train.release.excerpts import counted, group, known, listen

FALSE_STARTS_PER_HOUR: Final = 4.0
"""Of all labels together."""
QUIETER_DB: Final = (0.0, 15.0)
"""The excerpts are heard at each of these levels: thresholds are to hold at any."""
FORGIVEN: Final = 3
"""Excerpts in which a label may be falsely heard before it has a threshold of its own."""
GRID: Final = np.arange(-2.0, 5.01, 0.1)
"""Common thresholds that are tried, as logits."""
HIGHEST: Final = 0.97
"""A label that needs more ships disabled."""
OFFSET_PART: Final = 0.5
"""An offset threshold, as a part of the onset threshold."""
PARTS: Final = 5

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Calibration:
    onset: float
    offset: float
    enabled: bool


@dataclass(frozen=True, slots=True)
class Peaks:
    """The highest score of each label in recordings that hold none of those that are known."""

    scores: FloatArray
    """(recordings, labels), 0..1."""
    known: Bools
    """(recordings, labels): whether the label, if it is heard, is falsely heard."""
    hours: FloatArray
    """(recordings,)."""
    groups: NDArray[np.str_]
    """(recordings,): what each recording belongs to."""

    def where(self, chosen: Bools) -> "Peaks":
        return Peaks(
            self.scores[chosen], self.known[chosen], self.hours[chosen], self.groups[chosen]
        )


def parts(groups: Sequence[str] | NDArray[np.str_], count: int = PARTS) -> list[Bools]:
    """(recordings,) each: which are of this part; none has a group that another has."""
    every = np.asarray(groups)
    names = np.random.default_rng(0).permutation(sorted(set(every.tolist())))
    return [np.isin(every, names[i::count]) for i in range(count)]


def thresholds(peaks: Peaks, per_hour: float = FALSE_STARTS_PER_HOUR) -> FloatArray:
    """(labels,) 0..1: from which score on each label is to be believed."""
    held_out = [(peaks.where(~part), peaks.where(part)) for part in parts(peaks.groups)]
    allowed = per_hour * peaks.hours.sum()
    for common in GRID:
        false = sum(
            int(((tried.scores >= _each(rest, common)) & tried.known).sum())
            for rest, tried in held_out
        )
        if false <= allowed:
            break
    return _each(peaks, float(common))


def _each(peaks: Peaks, common: float) -> FloatArray:
    """(labels,): the common threshold, or what a label needs to be falsely heard but once."""
    least = 1 / (1 + np.exp(-common))
    false = np.sort(np.where(peaks.known, peaks.scores, 0), axis=0)[::-1]
    needed = np.nextafter(false[min(FORGIVEN, len(false) - 1)], np.float32(2))
    return np.asarray(np.maximum(least, needed), np.float32)


def calibrate(bundle: Path, data: Path) -> dict[str, Calibration]:
    """What each label of the bundle is to have, by slug."""
    model = load_model(bundle.name, ModelSettings(bundle=str(bundle), provider="cpu"), None)
    rows = [row for row in counted(data) if row.kind != POSITIVES]
    needed = thresholds(heard(model, rows))
    slugs = [label.slug for label in model.listener.spec.labels]
    return {
        slug: Calibration(
            onset=round(min(onset, HIGHEST), 2),
            offset=round(min(onset, HIGHEST) * OFFSET_PART, 2),
            enabled=onset <= HIGHEST,
        )
        for slug, onset in zip(slugs, needed.tolist(), strict=True)
    }


def heard(model: Model, rows: Sequence[Row], quieter_db: Sequence[float] = QUIETER_DB) -> Peaks:
    """The highest scores in each of the recordings, at any of the levels."""
    slugs = [label.slug for label in model.listener.spec.labels]
    scores, hours = [], []
    for row in rows:
        samples = read(row.path)
        hours.append(len(samples) / SAMPLE_RATE / 3600)
        levels = [samples * np.float32(10 ** (-quieter / 20)) for quieter in quieter_db]
        scores.append(np.max([listen(model, level).peaks for level in levels], axis=0))
    return Peaks(
        np.stack(scores),
        np.stack([known(row, slugs) for row in rows]),
        np.array(hours),
        np.array([group(row) for row in rows]),
    )


def starting(label: Label, threshold: float = 0.5) -> Label:
    """A label with the thresholds from which it is tuned."""
    return label.model_copy(
        update={"onset_threshold": threshold, "offset_threshold": threshold * OFFSET_PART}
    )
