"""Thresholds for a trained bundle, from recordings that trained nothing and test nothing.

Each label gets the thresholds that `detector tune` would give it on soundscapes, within bounds: a
handful of recordings of a label say where it fails, not where it would fail with others. A label
that the soundscapes do not have gets what the others get in the middle. Then people talk, near and
far: that is what most microphones hear most of the day, so there nothing else may be heard at all.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from detector.evaluation.recording_result import run_recording
from detector.evaluation.thresholds import Threshold, TuningRecording, recorder, tune
from detector.events.scores.steps import Step
from detector.loading import LoadedModel, load_model
from detector.settings.models import ModelSettings
from detector.spec import Label
from export.train.data import SPEECH
from export.train.soundscapes import Soundscape, make, talk, tuning, write

COUNT: Final = 180
"""Soundscapes, of a minute each."""
SEED: Final = 20_000
QUIETER_DB: Final = 25.0
"""A soundscape is up to so much quieter: thresholds are to hold at any level."""
TALKS: Final = 10
"""How often all the utterances are heard, each time at other levels."""
FALSE_ALARMS_PER_HOUR: Final = 1.0
"""Of each label, among sounds that are often taken for it; while people talk, there are none."""
LOWEST: Final = 0.75
HIGHEST: Final = 0.9
HIGHEST_IN_TALK: Final = 0.97
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
    rows, under = tuning(data)
    scenes = [_quieter(make(rows, under, seed), seed) for seed in range(SEED, SEED + COUNT)]
    utterances = [row for row in rows if SPEECH in row.labels]
    talks = [talk(utterances, seed) for seed in range(SEED, SEED + TALKS)]
    model = load_model(bundle.name, ModelSettings(bundle=str(bundle), provider="cpu"), None)
    found = _tuned(model, scenes, work / "tuning", FALSE_ALARMS_PER_HOUR)
    in_talk = _tuned(model, talks, work / "talks", 0.0)
    recordings = Counter(row.labels[0] for row in rows)
    calibrations = bounded(found, in_talk, recordings)
    return dict(zip((one.slug for one in found), calibrations, strict=True))


def _tuned(
    model: LoadedModel, scenes: Sequence[Soundscape], folder: Path, false_alarms_per_hour: float
) -> list[Threshold]:
    """What `tune` chooses on these soundscapes, which are kept in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, scenes)
    recordings: dict[str, TuningRecording] = {}
    reference = {}
    for path, scene in zip(sorted(folder.glob("*.flac")), scenes, strict=True):
        recordings[path.name] = _recorded(model, path, scene.unknown)
        reference[path.name] = scene.truth
    return tune(model.configured, recordings, reference, false_alarms_per_hour)


def _quieter(scene: Soundscape, seed: int) -> Soundscape:
    gain = 10 ** (-np.random.default_rng((seed, 1)).uniform(0, QUIETER_DB) / 20)
    return replace(scene, samples=scene.samples * np.float32(gain))


def _recorded(model: LoadedModel, path: Path, unknown: Sequence[str]) -> TuningRecording:
    """Without the labels that the background may hold: to detect them there is not wrong."""
    places = [i for i, label in enumerate(model.configured.spec.labels) if label.slug in unknown]
    steps = recorder(model.configured)

    def add(step: Step) -> None:
        scores = step.scores.copy()
        scores[places] = 0
        steps.add(replace(step, scores=scores))

    result = run_recording([model], path, on_step={model.configured.name: add})
    return TuningRecording(result.duration_samples, steps)


def starting(label: Label, threshold: float = 0.5) -> Label:
    """A label with the thresholds from which it is tuned."""
    return label.model_copy(
        update={"onset_threshold": threshold, "offset_threshold": threshold * OFFSET_PART}
    )


def bounded(
    found: Sequence[Threshold], in_talk: Sequence[Threshold], recordings: Mapping[str, int]
) -> list[Calibration]:
    """What each label is to have, by what was found of it on soundscapes and while people talk."""

    def within(onset: float) -> float:
        return min(HIGHEST, max(LOWEST, onset))

    usual = median(within(one.onset) for one in found if one.reference_events)
    calibrations = []
    for one, talking in zip(found, in_talk, strict=True):
        onset = within(one.onset) if one.reference_events else max(usual, within(one.onset))
        least = talking.onset if one.slug != SPEECH else LOWEST
        onset = max(onset, min(HIGHEST_IN_TALK, least))
        tried = recordings.get(one.slug, 0) >= ENOUGH
        useless = tried and one.heard_events < WORTH * one.reference_events
        calibrations.append(
            Calibration(
                onset=round(onset, 2),
                offset=round(onset * OFFSET_PART, 2),
                enabled=one.reached and least <= HIGHEST_IN_TALK and not useless,
            )
        )
    return calibrations
