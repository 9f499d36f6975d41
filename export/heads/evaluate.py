"""What the detector says of recordings that were held out."""

import os
from collections.abc import Iterator
from itertools import islice

import numpy as np

from detector.inference.bundle import Bundle
from detector.inference.session import Session
from detector.records import Scores
from export.features.window import window_of
from export.heads.data.scenes import Example
from export.heads.fit.measure import Mask, ScoredWindows

_SCORED_AT_ONCE = 8
_TARGETS = ("target", "known", "frame_target", "frame_known")


def score_windows(bundle: Bundle, examples: Iterator[Example]) -> ScoredWindows:
    """Score the examples as the detector would. Of their sound nothing is kept."""
    session = Session(bundle, "cpu", os.cpu_count() or 1)
    targets: dict[str, list[Mask]] = {name: [] for name in _TARGETS}
    scores: list[Scores] = []
    while part := list(islice(examples, _SCORED_AT_ONCE)):
        scores += session.score([window_of(e.samples, bundle.spec) for e in part])
        for name in _TARGETS:
            targets[name] += [getattr(example, name) > 0 for example in part]
    frames = [s.frames for s in scores if s.frames is not None]
    return ScoredWindows(
        clip=np.stack([s.clip for s in scores if s.clip is not None]),
        frames=np.stack(frames) if frames else None,
        **{name: np.stack(of) for name, of in targets.items()},
    )
