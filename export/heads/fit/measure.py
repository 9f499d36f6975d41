"""What the finished model says of the recordings that were held out, and the thresholds for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.records import FloatArray

Mask = NDArray[np.bool_]

_LOWEST, _HIGHEST = 0.3, 0.9
"""Within these an onset threshold is chosen: few recordings say little of rare scores."""
_LAST = 0.98
"""The highest onset threshold that is chosen for the sake of what is none of the labels."""
_OFFSET = 0.6
"""Offset threshold over onset threshold."""
NONE = "none"
"""In a confusion: no label is heard."""


@dataclass(frozen=True, slots=True)
class ScoredWindows:
    """What is heard in windows that were held out, and what the model said of them."""

    target: Mask
    """(n, labels)."""
    known: Mask
    """(n, labels)."""
    clip: FloatArray
    """(n, labels) probabilities."""
    frame_target: Mask
    """(n, frames, labels); no frames if none are scored."""
    frame_known: Mask
    frames: FloatArray | None
    """(n, frames, labels) probabilities."""

    def first(self, count: int) -> "ScoredWindows":
        """The first windows alone."""
        return ScoredWindows(
            self.target[:count],
            self.known[:count],
            self.clip[:count],
            self.frame_target[:count],
            self.frame_known[:count],
            None if self.frames is None else self.frames[:count],
        )


def choose_thresholds(
    scored: ScoredWindows, least: FloatArray | None = None
) -> list[tuple[float, float]]:
    """Onset and offset threshold of each label.

    The onset threshold has the highest F1 on what was held out; of those, the one in the middle.
    It is of the frames' scores, if there are any, since it is they that make events.

    Args:
        scored: what was held out.
        least: (labels,) below which no onset threshold may lie, unless that is too high to reach.
    """
    scores, target, known = _flat(scored)
    least = np.zeros(scores.shape[1], np.float32) if least is None else least
    return [
        _threshold(*columns)
        for columns in zip(scores.T, target.T, known.T, least.tolist(), strict=True)
    ]


def measure(
    scored: ScoredWindows, labels: Sequence[str], thresholds: Sequence[float], *, exclusive: bool
) -> dict[str, Any]:
    """How many windows of each label are recognised, and what the others are taken for.

    A window is recognised if its label has the highest score and, unless labels exclude each
    other, that is above its threshold.
    """
    names = [*labels] if exclusive else [*labels, NONE]
    confusion = np.zeros((len(names), len(names)), int)
    for target, scores in zip(scored.target, scored.clip, strict=True):
        present = np.flatnonzero(target).tolist()
        best = int(scores.argmax())
        if not exclusive and scores[best] < thresholds[best]:
            best = len(labels)
        for label in present or [len(labels)]:
            # Of several labels at a time each is recognised by itself.
            right = len(present) > 1 and scores[label] >= thresholds[label]
            confusion[label, label if right else best] += 1
    counts = confusion.sum(axis=1)
    figures: dict[str, Any] = {
        "accuracy": _share(int(np.trace(confusion)), int(counts.sum())),
        "labels": {
            name: {
                "windows": int(counts[i]),
                "right": int(confusion[i, i]),
                "accuracy": _share(int(confusion[i, i]), int(counts[i])),
            }
            for i, name in enumerate(names)
        },
        "confusion": {
            name: {other: int(n) for other, n in zip(names, row, strict=True) if n}
            for name, row in zip(names, confusion, strict=True)
        },
    }
    if scored.frames is not None:
        figures["frames"] = _measure_frames(scored, labels, thresholds)
    return figures


def _measure_frames(
    scored: ScoredWindows, labels: Sequence[str], thresholds: Sequence[float]
) -> dict[str, Any]:
    scores, target, known = _flat(scored)
    figures = {}
    for name, threshold, s, t, k in zip(
        labels, thresholds, scores.T, target.T, known.T, strict=True
    ):
        said, true = s[k] >= threshold, t[k]
        hits = int((said & true).sum())
        figures[name] = {
            "frames": int(true.sum()),
            "precision": _share(hits, int(said.sum())),
            "recall": _share(hits, int(true.sum())),
        }
    return figures


def _flat(scored: ScoredWindows) -> tuple[FloatArray, Mask, Mask]:
    """Scores, truth and whether it is known: each (n, labels)."""
    width = scored.clip.shape[1]
    if scored.frames is None:
        return scored.clip, scored.target, scored.known
    return (
        scored.frames.reshape(-1, width),
        scored.frame_target.reshape(-1, width),
        scored.frame_known.reshape(-1, width),
    )


def _threshold(scores: FloatArray, target: Mask, known: Mask, least: float) -> tuple[float, float]:
    scores, target = scores[known].astype(np.float64), target[known]
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(target[order])
    said = np.arange(1, len(ranked) + 1)
    # A threshold lies between two scores; equal ones cannot be parted.
    following = np.append(ranked[1:], 0.0)
    f1 = np.where(ranked > following, 2 * hits / np.maximum(said + target.sum(), 1), -1)
    if not len(ranked) or not target.any():
        onset = 0.5
    else:
        best = int(f1.argmax())
        onset = float((ranked[best] + following[best]) / 2)
    onset = round(float(max(np.clip(onset, _LOWEST, _HIGHEST), min(least, _LAST))), 2)
    return onset, round(onset * _OFFSET, 2)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
