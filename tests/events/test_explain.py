"""What is remembered of the last minutes, and what it says of why there was no event."""

import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest

from detector.events.explain.explanation import explain_labels
from detector.events.explain.label_occurrences import LabelOccurrences
from detector.events.explain.score_memory import ScoreMemory
from detector.events.explain.segment_log import SegmentLog
from detector.events.scores.steps import ClipSteps, Step
from detector.events.segments.label_rules import LabelRule, label_rules
from detector.explanations import MEMORY_S
from detector.records import SAMPLE_RATE, Event
from detector.settings.models import ModelSettings
from detector.spec import BundleSpec
from tests.events.scores import clip, frames, plain_frames

HOP = SAMPLE_RATE // 2
SPEC = BundleSpec.model_validate(
    {
        "name": "three",
        "version": "1",
        "created": "2026-11-22",
        "licence": "none",
        "attribution": "none",
        "source": {"checkpoint": "none", "architecture": "none"},
        "onnx": {"sha256": "0" * 64, "opset": 17, "precision": "fp32"},
        "frontend": {"kind": "waveform", "normalise": "none"},
        "window": {"samples": HOP, "hop_samples": HOP},
        "input": {"name": "input", "shape": ["batch", HOP]},
        "outputs": {"clip": {"name": "clip", "activation": "sigmoid"}},
        "decoding": "multilabel",
        "labels": [{"slug": slug, "name": slug} for slug in ("dog", "cat", "siren")],
    }
)


def rules(**settings: object) -> list[LabelRule]:
    return label_rules(SPEC, ModelSettings.model_validate({"bundle": "x", **settings}))


def heard(*scores: tuple[float, float, float]) -> ScoreMemory:
    """A memory of windows of half a second."""
    memory = ScoreMemory(3)
    steps = ClipSteps(HOP)
    for index, values in enumerate(scores, 1):
        add(memory, steps.push(clip(index * HOP, *values, new=HOP)))
    return memory


def add(memory: ScoreMemory, steps: Iterable[Step]) -> None:
    for step in steps:
        memory.add(step)


def why(
    memory: ScoreMemory, rules: list[LabelRule], segments: SegmentLog | None = None
) -> dict[str, str]:
    segments = segments or SegmentLog()
    said = explain_labels(
        SPEC, rules, list(memory.between(0, 10**9)), list(segments.between(0, 10**9)), HOP
    )
    return {one.facts.label: one.facts.why for one in said}


def event(kind: str, label: str, onset: int, offset: int | None = None) -> Event:
    return Event(kind, SPEC.id, label, label, onset, offset, 0.9, 0.9, -20.0)  # type: ignore[arg-type]


def test_the_highest_scores_of_a_stretch_come_back_with_their_labels() -> None:
    memory = heard((0.1, 0.2, 0.3), (0.9, 0.2, 0.3), (0.1, 0.2, 0.3))
    [moment] = memory.between(HOP + 1, 2 * HOP)
    assert (moment.first_sample, moment.end_sample) == (HOP, 2 * HOP)
    assert moment.labels.tolist() == [0, 2, 1]
    assert np.allclose(moment.scores, [0.9, 0.3, 0.2])


def test_frames_are_kept_by_the_quarter_second() -> None:
    memory = ScoreMemory(1)
    steps = plain_frames(hop=SAMPLE_RATE, frame=320)
    add(memory, steps.push(frames(0, SAMPLE_RATE, [0.1] * 49 + [0.8])))
    add(memory, steps.flush())
    kept = list(memory.between(0, SAMPLE_RATE))
    assert len(kept) <= 4
    assert max(moment.scores.max() for moment in kept) == pytest.approx(0.8)


def test_what_is_remembered_does_not_grow_without_end() -> None:
    memory, segments = ScoreMemory(1), SegmentLog()
    steps = ClipSteps(HOP)
    for index in range(1, 3 * 2 * MEMORY_S):
        add(memory, steps.push(clip(index * HOP, 0.5, new=HOP)))
        segments.add(event("start", "dog", index * HOP), None, 0)
    assert len(list(memory.between(0, 10**12))) <= 2 * MEMORY_S + 2
    assert len(list(segments.between(0, 10**12))) <= 500


@pytest.mark.parametrize(("n_labels", "kilobytes"), [(3, 75), (40, 158), (527, 182)])
def test_ten_minutes_of_scores_take_less_than_200_kb(n_labels: int, kilobytes: int) -> None:
    """As its docstring says; in the process, not as it says itself."""
    rng = np.random.default_rng(0)
    tracemalloc.start()
    try:
        memory = ScoreMemory(n_labels)
        for i in range(8 * MEMORY_S):
            scores = rng.random((8, n_labels), np.float32)  # a window's frames, of which one is
            step = Step(i * 2000, (i + 1) * 2000, (i + 1) * 2000, new=True, scores=scores[3])
            memory.add(step)
        del scores, step
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert memory.nbytes < 1000 * (kilobytes + 1)
    assert memory.nbytes <= taken < memory.nbytes + 10_000
    buckets = list(memory.between(0, 10**12))
    assert buckets[-1].end_sample - buckets[0].first_sample >= MEMORY_S * SAMPLE_RATE


def test_why_there_was_no_event() -> None:
    memory = heard((0.4, 0.9, 0.6), (0.3, 0.8, 0.6))
    said = why(memory, rules(only=("dog", "siren"), labels={"siren": {"min_duration_s": 3}}))
    assert said == {
        "dog": "below_onset_threshold",
        "cat": "disabled",
        "siren": "shorter_than_min_duration",
    }


def test_a_score_that_says_nothing_is_not_explained() -> None:
    assert why(heard((0.01, 0.02, 0.9)), rules(only=())) == {"siren": "disabled"}


def test_what_was_suppressed_and_what_was_published() -> None:
    segments = SegmentLog()
    segments.add(event("start", "dog", HOP), "muted", 0)
    segments.add(event("start", "cat", HOP), "quiet_hours", 0)
    segments.add(event("start", "siren", HOP), None, 0)
    said = why(heard((0.9, 0.9, 0.9)), rules(), segments)
    assert said == {"dog": "muted", "cat": "quiet_hours", "siren": "event"}


def test_a_part_of_an_event_that_had_begun_before_is_merged() -> None:
    segments = SegmentLog()
    segments.add(event("start", "dog", -10 * HOP), None, 0)
    assert why(heard((0.1, 0, 0)), rules(), segments) == {"dog": "merged"}


def test_an_event_is_explained_even_if_other_labels_were_louder() -> None:
    segments = SegmentLog()
    segments.add(event("start", "cat", HOP), None, 0)
    segments.add(event("end", "cat", HOP, 2 * HOP), None, 0)
    [said] = explain_labels(SPEC, rules(), [], list(segments.between(0, 10 * HOP)), HOP)
    assert (said.facts.label, said.facts.why, said.onset_sample, said.offset_sample) == (
        "cat", "event", HOP, 2 * HOP,
    )  # fmt: skip


def test_a_segment_that_is_muted_half_way_was_published_in_part() -> None:
    segments = SegmentLog()
    segments.add(event("start", "dog", 0), None, 0)
    segments.mute(100)
    segments.add(event("update", "dog", 0), "muted", 150)
    segments.add(event("update", "dog", 0), None, 200)
    segments.add(event("end", "dog", 0, 300), None, 350)
    parts = [(o.onset_sample, o.offset_sample, o.suppressed_by) for o in segments.between(0, 1000)]
    assert parts == [(0, 100, None), (100, 200, "muted"), (200, 300, None)]


def test_a_pattern_remembers_what_it_heard_of_its_labels_and_since_when() -> None:
    labels = LabelOccurrences(["dog"], since=100)
    for onset in range(0, 5000 * 10, 10):
        labels.add(event("start", "dog", onset))
        labels.add(event("start", "cat", onset))
        labels.add(event("end", "dog", onset, onset + 5))
    labels.add(event("start", "dog", 60_000))
    assert labels.between(49_000, 60_000) == {"dog": 100}
    assert labels.between(60_500, 60_600) == {"dog": 1}
    assert labels.between(55_000, 56_000) == {}
    assert labels.since == (5000 - 4096 - 1) * 10 + 5
    assert labels.between(0, labels.since) == {}
