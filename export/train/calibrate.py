"""Thresholds for a trained bundle, from soundscapes whose sounds trained nothing and test nothing.

Each label gets the thresholds that `detector tune` would give it, within bounds: a handful of
recordings of a label say where it fails, not where it would fail with others. A label that the
soundscapes do not have gets what the others get in the middle.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from detector.config import ModelSettings
from detector.evaluation.hearing import Heard, hear
from detector.evaluation.thresholds import Threshold, tune
from detector.loading import Model, load_model
from detector.spec import Label
from export.train.soundscapes import make, tuning, write

COUNT: Final = 180
"""Soundscapes, of a minute each."""
SEED: Final = 20_000
FALSE_ALARMS_PER_HOUR: Final = 1.0
"""Of each label, among sounds that are often taken for it."""
LOWEST: Final = 0.75
HIGHEST: Final = 0.9
OFFSET_PART: Final = 0.5
"""An offset threshold, as a part of the onset threshold."""
ENOUGH: Final = 4
"""Recordings of a label that there must be before it is found to be of no use."""
WORTH: Final = 0.2
"""A label of which a smaller part is heard ships disabled."""


@dataclass(frozen=True, slots=True)
class Calibration:
    onset: float
    offset: float
    enabled: bool


def calibrate(bundle: Path, data: Path, work: Path) -> dict[str, Calibration]:
    """What each label of the bundle is to have, by slug.

    Args:
        bundle: as released, its thresholds being those to start from.
        data: the recordings.
        work: where the soundscapes are kept.
    """
    folder = work / "tuning"
    rows, under = tuning(data)
    scenes = [make(rows, under, seed) for seed in range(SEED, SEED + COUNT)]
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, scenes)
    model = load_model(bundle.name, ModelSettings(bundle=str(bundle), provider="cpu"), None)
    heard: dict[str, Heard] = {}
    reference = {}
    for path, scene in zip(sorted(folder.glob("*.flac")), scenes, strict=True):
        heard[path.name] = _silenced(hear([model], path), model, scene.unknown)
        reference[path.name] = scene.truth
    found = tune(model.listener, 0, heard, reference, FALSE_ALARMS_PER_HOUR)
    recordings = Counter(row.labels[0] for row in rows)
    return dict(zip((one.slug for one in found), _bounded(found, recordings), strict=True))


def _silenced(heard: Heard, model: Model, unknown: Sequence[str]) -> Heard:
    """Without the labels that the background may hold: whoever hears them there is not wrong."""
    places = [i for i, label in enumerate(model.listener.spec.labels) if label.slug in unknown]
    steps = []
    for step in heard.steps[0]:
        scores = step.scores.copy()
        scores[places] = 0
        steps.append(replace(step, scores=scores))
    return replace(heard, steps=(tuple(steps),))


def starting(label: Label, threshold: float = 0.5) -> Label:
    """A label with the thresholds from which it is tuned."""
    return label.model_copy(
        update={"onset_threshold": threshold, "offset_threshold": threshold * OFFSET_PART}
    )


def _bounded(found: Sequence[Threshold], recordings: Mapping[str, int]) -> list[Calibration]:
    def within(onset: float) -> float:
        return min(HIGHEST, max(LOWEST, onset))

    usual = median(within(one.onset) for one in found if one.reference_events)
    calibrations = []
    for one in found:
        onset = within(one.onset) if one.reference_events else max(usual, within(one.onset))
        tried = recordings.get(one.slug, 0) >= ENOUGH
        useless = tried and one.heard_events < WORTH * one.reference_events
        calibrations.append(
            Calibration(
                onset=round(onset, 2),
                offset=round(onset * OFFSET_PART, 2),
                enabled=one.reached and not useless,
            )
        )
    return calibrations
