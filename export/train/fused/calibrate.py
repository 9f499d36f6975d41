"""Thresholds for a bundle, from recordings that trained nothing.

What counts is what is heard where none of the labels is: excerpts of music, voices and rooms, as
recorded and quieter. All labels have a common threshold, the lowest that keeps the false starts of
all labels together rare; a label that is falsely heard above it in more than a few excerpts has one
of its own. The common threshold is judged by sources that had no part in the labels' own, or it
would come out too low.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.events.scores.steps import Step
from detector.loading import LoadedModel, load_model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Scores, Window
from detector.settings.models import ModelSettings
from export.train.data import POSITIVES, Row, counted_rooms, read

FALSE_STARTS_PER_HOUR: Final = 3.0
"""Of all labels together."""
QUIETER_DB: Final = (0.0, 15.0)
"""The excerpts are heard at each of these levels: thresholds are to hold at any."""
FORGIVEN: Final = 3
"""Excerpts in which a label may be falsely heard before it has a threshold of its own."""
GRID: Final = np.arange(-2.0, 5.01, 0.1)
"""Common thresholds that are tried, as logits."""
HIGHEST: Final = 0.97
"""A label that needs more ships disabled."""
OFFSET_PART: Final = 0.25
"""An offset threshold, as a part of the onset threshold: where a sound ends is judged by frames."""
PARTS: Final = 5
LEAD: Final = 3 * SAMPLE_RATE
"""A quiet room before each excerpt: a detector runs long before something is heard."""
LEAD_LEVEL: Final = 1e-3
"""Its noise: -60 dBFS."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Peaks:
    """The highest score of each label in recordings."""

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


def calibrate(bundle: Path, data: Path) -> dict[str, dict[str, Any]]:
    """What each label of the bundle is to have, by slug."""
    model = load_model(bundle.name, ModelSettings(bundle=str(bundle), provider="cpu"), None)
    rows = [row for row in counted_rooms(data) if row.kind != POSITIVES]
    levels = [heard(model, rows, quieter) for quieter in QUIETER_DB]
    needed = thresholds(loudest(levels))
    slugs = [label.slug for label in model.configured.spec.labels]
    return {
        slug: {
            "onset_threshold": round(min(onset, HIGHEST), 2),
            "offset_threshold": round(min(onset, HIGHEST) * OFFSET_PART, 2),
            "enabled": onset <= HIGHEST,
        }
        for slug, onset in zip(slugs, needed.tolist(), strict=True)
    }


def heard(model: LoadedModel, rows: Sequence[Row], quieter_db: float = 0.0) -> Peaks:
    """The highest scores in each of the recordings, so much quieter than they were recorded."""
    slugs = [label.slug for label in model.configured.spec.labels]
    scores, hours = [], []
    for row in rows:
        samples = read(row.path)
        hours.append(len(samples) / SAMPLE_RATE / 3600)
        scores.append(listen(model, samples * np.float32(10 ** (-quieter_db / 20)))[1])
    return Peaks(
        np.stack(scores),
        np.array([[s not in (*row.labels, *row.unknown) for s in slugs] for row in rows]),
        np.array(hours, np.float32),
        np.array([group(row) for row in rows]),
    )


def loudest(levels: Sequence[Peaks]) -> Peaks:
    """The highest scores at any of the levels."""
    first = levels[0]
    scores = np.max([each.scores for each in levels], axis=0)
    return Peaks(scores, first.known, first.hours, first.groups)


def group(row: Row) -> str:
    """What a recording belongs to: a package or a repository. Its others may resemble it."""
    return ":".join(row.source.split(":")[:2]).split(" (")[0]


def listen(model: LoadedModel, samples: FloatArray) -> tuple[list[str], FloatArray]:
    """One excerpt after a quiet room, through the whole pipeline.

    Returns:
        The label of each start, and (labels,) the highest scores by which events are decided.
    """
    rng = np.random.default_rng(5)
    lead = (LEAD_LEVEL * rng.standard_normal(LEAD)).astype(np.float32)
    peaks = np.zeros(len(model.configured.spec.labels), np.float32)

    def watch(_: str, step: Step) -> None:
        if step.end_sample > LEAD:
            np.maximum(peaks, step.scores, out=peaks)

    def score(_: str, window: Window) -> Scores:
        return model.session.score([window])[0]

    stream = np.concatenate((lead, samples, lead[: SAMPLE_RATE // 2]))
    events = replay(Pipeline([model.configured], watch), [AudioBlock(0, stream)], score)
    return [event.label for event in events if event.type == "start"], peaks


def parts(groups: Sequence[str] | NDArray[np.str_], count: int = PARTS) -> list[Bools]:
    """(recordings,) each: which are of this part; none has a group that another has."""
    every = np.asarray(groups)
    names = np.random.default_rng(0).permutation(sorted(set(every.tolist())))
    return [np.isin(every, names[i::count]) for i in range(count)]


def thresholds(peaks: Peaks, per_hour: float = FALSE_STARTS_PER_HOUR) -> FloatArray:
    """(labels,) 0..1: from which score on each label is to be believed."""
    held_out = [(peaks.where(~part), peaks.where(part)) for part in parts(peaks.groups)]
    allowed = per_hour * float(peaks.hours.sum())
    for common in GRID:
        false = sum(
            int(((tried.scores >= _each(rest, common)) & tried.known).sum())
            for rest, tried in held_out
        )
        if false <= allowed:
            break
    return _each(peaks, float(common))


def _each(peaks: Peaks, common: float) -> FloatArray:
    """(labels,): the common threshold, or what a label needs to be falsely heard but seldom."""
    least = 1 / (1 + np.exp(-common))
    false = np.sort(np.where(peaks.known, peaks.scores, 0), axis=0)[::-1]
    needed = np.nextafter(false[min(FORGIVEN, len(false) - 1)], np.float32(2))
    return np.asarray(np.maximum(least, needed), np.float32)
