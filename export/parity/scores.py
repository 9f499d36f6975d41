"""Scores of a model as one array, whoever computed them."""

from collections.abc import Sequence

import numpy as np

from detector.inference.decoding import activate
from detector.records import FloatArray, Scores

__all__ = ["activate", "stacked"]


def stacked(scores: Sequence[Scores]) -> FloatArray:
    """(windows, labels) of a tagger, (windows, frames, labels) of a model that scores frames."""
    values = [s.frames if s.clip is None else s.clip for s in scores]
    return np.asarray(values, np.float32)
