"""Excerpts of `rooms` through the detector: the highest score of each label, and what starts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.events.scores.steps import Step
from detector.loading import Model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Scores, Window
from export.train.data.recordings import POSITIVES, Row, permissive, read, rooms

LEAD_S = 3.0
"""A quiet room before each excerpt: a detector runs long before something is heard."""
LEAD_LEVEL = 1e-3
"""Its noise: -60 dBFS."""


@dataclass(frozen=True)
class Heard:
    """What the detector made of one excerpt."""

    peaks: FloatArray
    """(labels,): the highest score of each by which events are decided, 0..1."""
    starts: Counter[str]
    """Events at the bundle's thresholds, by label."""


def counted(data: Path) -> list[Row]:
    """The excerpts that trained nothing: single sounds, and all that is not permissive."""
    return [row for row in rooms(data) if row.kind == POSITIVES or not permissive(row.licence)]


def group(row: Row) -> str:
    """What a recording belongs to: a package or a repository. Its others may resemble it."""
    return ":".join(row.source.split(":")[:2]).split(" (")[0]


def listen(model: Model, samples: FloatArray) -> Heard:
    """One excerpt after a quiet room, through the whole pipeline."""
    rng = np.random.default_rng(5)
    lead = (LEAD_LEVEL * rng.standard_normal(round(LEAD_S * SAMPLE_RATE))).astype(np.float32)
    peaks = np.zeros(len(model.listener.spec.labels), np.float32)
    began = len(lead)

    def watch(_: int, step: Step) -> None:
        if step.end_sample > began:
            np.maximum(peaks, step.scores, out=peaks)

    def score(_: int, window: Window) -> Scores:
        return model.session.score([window])[0]

    pipeline = Pipeline([model.listener], watch)
    stream = np.concatenate((lead, samples, lead[: SAMPLE_RATE // 2]))
    events = list(replay(pipeline, [AudioBlock(0, stream)], score))
    return Heard(peaks, Counter(event.label for event in events if event.type == "start"))


def seconds(row: Row) -> float:
    return len(read(row.path)) / SAMPLE_RATE


def known(row: Row, slugs: Sequence[str]) -> np.ndarray:
    """(labels,) bool: whether an event of the label would be a false one."""
    may_hold = {*row.labels, *row.unknown}
    return np.array([slug not in may_hold for slug in slugs])
