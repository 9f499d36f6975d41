"""Scores made by hand, rules, and what must be true of any events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from detector.events.scores.steps import ClipSteps, FrameSteps, Steps
from detector.events.segments.label_rules import LabelRule
from detector.events.segments.segmenter import Segmenter
from detector.events.segments.tracker import SegmentTracker
from detector.records import Cut, Event, Scores
from detector.spec import FramesOutput


def rule(
    index: int = 0,
    *,
    onset_threshold: float = 0.5,
    offset_threshold: float = 0.3,
    min_samples: int = 0,
    merge_samples: int = 0,
) -> LabelRule:
    return LabelRule(
        index=index,
        slug=f"label_{index}",
        name=f"Label {index}",
        onset_threshold=onset_threshold,
        offset_threshold=offset_threshold,
        min_samples=min_samples,
        merge_samples=merge_samples,
    )


class Tracked:
    """What makes events of scores, with the steps that it is given."""

    def __init__(self, tracker: SegmentTracker, steps: Steps) -> None:
        self.tracker, self.steps = tracker, steps

    def push(self, scores: Scores) -> list[Event]:
        return self.tracker.push(scores, self.steps.push(scores))

    def cut(self, end_sample: int) -> list[Event]:
        return self.tracker.cut(end_sample, self.steps.flush())


def segmenter(steps: Steps, *rules: LabelRule, update_samples: int = 10**9) -> Tracked:
    return Tracked(Segmenter("model@1", rules or (rule(),), update_samples), steps)


def retune(machine: Tracked, *rules: LabelRule) -> list[Event]:
    assert isinstance(machine.tracker, Segmenter)
    return machine.tracker.retune(rules, 10**9)


def clip(
    end: int, *scores: float, new: int = 100, first: int | None = None, power: float = 1.0
) -> Scores:
    """What a tagger says of a window; one as long as its hop if nothing else is said."""
    values = np.array(scores, np.float32)
    return Scores(end - new if first is None else first, end, new, power, values, None)


def frames(first: int, end: int, scores: Sequence[float], new: int | None = None) -> Scores:
    """What a frame classifier of one label says of a window."""
    values = np.array(scores, np.float32)[:, None]
    return Scores(first, end, end - first if new is None else new, 1.0, None, values)


def plain_frames(hop: int = 100, frame: int = 100) -> FrameSteps:
    """Frames of windows that do not overlap: each has one vote."""
    output = FramesOutput(name="frames", activation="none", hop_samples=frame, offset_samples=0)
    return FrameSteps(output, hop)


def tagger(hop: int = 100) -> ClipSteps:
    return ClipSteps(hop)


def run(machine: Tracked, answers: Iterable[Scores | Cut]) -> list[Event]:
    return [
        event
        for answer in answers
        for event in (
            machine.cut(answer.end_sample) if isinstance(answer, Cut) else machine.push(answer)
        )
    ]


@dataclass(frozen=True)
class Segment:
    label: str
    onset: int
    offset: int
    truncated: bool


def lives(events: Iterable[Event]) -> list[Segment]:
    """The segments that ended, after a check of what must be true of any events.

    Every end has one start before it and updates come only between; one segment of a label is open
    at a time; a segment ends after it began and before the next begins; starts are in order.
    """
    open_: dict[str, Event] = {}
    done: list[Segment] = []
    last: dict[str, int] = {}
    for event in events:
        assert 0 <= event.mean <= event.peak <= 1
        assert not event.truncated or event.type == "end"
        if event.type == "start":
            assert event.label not in open_
            assert event.onset_sample >= last.get(event.label, 0)
            open_[event.label] = event
        else:
            assert event.onset_sample == open_[event.label].onset_sample
            assert event.peak >= open_[event.label].peak
        if event.type != "end":
            assert event.offset_sample is None
            continue
        del open_[event.label]
        assert event.offset_sample is not None
        assert event.offset_sample > event.onset_sample
        last[event.label] = event.offset_sample
        done.append(Segment(event.label, event.onset_sample, event.offset_sample, event.truncated))
    assert not open_
    return done


def times(events: Iterable[Event]) -> list[tuple[int, int]]:
    return [(segment.onset, segment.offset) for segment in lives(events)]
