"""Recordings through the detector: what it told of them, and the scores that it told it by."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.capture.recording import open_audio
from detector.configured_model import Listener
from detector.errors import AudioFileError
from detector.evaluation.scoring import Detection, TimedScores
from detector.events.scores.steps import Step
from detector.loading import Model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, Event, Gap, Scores, SegmentKey, Window
from detector.settings.patterns import PatternSettings


@dataclass(frozen=True, slots=True)
class Heard:
    """What the models made of one recording."""

    duration_samples: int
    detections: tuple[Detection, ...]
    """Every segment of every model and every pattern."""
    steps: tuple[tuple[Step, ...], ...]
    """Of each model, what its segmenter saw; nothing of a model that spells words."""

    @property
    def duration_s(self) -> float:
        return self.duration_samples / SAMPLE_RATE


def hear(
    models: Sequence[Model], path: Path, patterns: Mapping[str, PatternSettings] | None = None
) -> Heard:
    """Replay one recording, with the models and patterns that one configuration has.

    Raises:
        AudioFileError: it cannot be read, or is empty.
    """
    heard_until = 0
    duration = 0

    def blocks() -> Iterator[AudioBlock | Gap]:
        nonlocal duration
        with open_audio(path) as opened:
            for block in opened:
                duration = block.end_sample
                yield block

    sessions = {model.listener.name: model.session for model in models}

    def score(name: str, window: Window) -> Scores:
        nonlocal heard_until
        heard_until = max(heard_until, window.end_sample)
        return sessions[name].score([window])[0]

    steps: dict[str, list[Step]] = {name: [] for name in sessions}
    pipeline = Pipeline(
        [model.listener for model in models],
        watch=lambda name, step: steps[name].append(step),
        patterns=patterns,
    )
    told = [(event, heard_until) for event in replay(pipeline, blocks(), score)]
    if not duration:
        raise AudioFileError(f"{path}: holds no sound")
    return Heard(duration, tuple(_segments(told, duration)), tuple(map(tuple, steps.values())))


def _segments(told: Sequence[tuple[Event, int]], duration_samples: int) -> Iterator[Detection]:
    """Each segment once, from its events with the sample until which was heard when they came."""
    started: dict[SegmentKey, int] = {}
    for event, heard_until in told:
        if event.type == "start":
            started[event.segment] = heard_until
        elif event.type == "end" and event.offset_sample is not None:
            yield Detection(
                event.onset_sample / SAMPLE_RATE,
                min(event.offset_sample, duration_samples) / SAMPLE_RATE,
                event.label,
                started.pop(event.segment) / SAMPLE_RATE,
            )


def timed_scores(
    heard: Heard, listeners: Sequence[Listener], labels: Collection[str]
) -> TimedScores:
    """The scores over a whole recording; of several models' the highest.

    Where nothing was scored they are 0. A tagger's step lasts for the hop in which its window
    ended: after a sound its scores stay high until the window has left it, which the segmenter
    sets right and thresholds alone do not.
    """
    scoring = [
        (listener, _track(steps, len(listener.spec.labels), heard.duration_samples))
        for steps, listener in zip(heard.steps, listeners, strict=True)
        if not listener.spec.ctc
    ]
    ends = np.array([0, heard.duration_samples])
    edges = np.unique(np.concatenate([ends, *(times for _, (times, _) in scoring)]))
    scores: dict[str, NDArray[np.float32]] = {}
    for listener, (times, values) in scoring:
        places = np.searchsorted(times, edges[:-1], side="right") - 1
        told = set(labels).intersection(listener.labels)
        for index, label in enumerate(listener.spec.labels):
            if label.slug in told:
                own = values[places, index]
                scores[label.slug] = np.maximum(own, scores.get(label.slug, own))
    return TimedScores(edges / SAMPLE_RATE, scores)


def _track(
    steps: Sequence[Step], n_labels: int, duration_samples: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Steps as (n + 1,) samples without holes and (n, labels) scores."""
    nothing = np.zeros(n_labels, np.float32)
    times, values = [0], []
    for step in steps:
        begin, end = max(step.onset_sample, times[-1]), min(step.end_sample, duration_samples)
        if end <= begin:  # nothing new was heard
            continue
        if begin > times[-1]:
            times.append(begin)
            values.append(nothing)
        times.append(end)
        values.append(step.scores)
    if times[-1] < duration_samples:
        times.append(duration_samples)
        values.append(nothing)
    return np.array(times), np.array(values, np.float32)
