"""What is loud and no model has a name for."""

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from detector.decibels import dbfs, mean_square
from detector.events.patterns.composite import CompositeLabel, CompositeSegment, WeightedScore
from detector.events.patterns.streams import StreamUpdate
from detector.events.segments.loudness import Loudness
from detector.explanations import MEMORY_S
from detector.records import SAMPLE_RATE, Event, SegmentKey


@dataclass(frozen=True, slots=True)
class LoudnessLimits:
    """All but the threshold in samples."""

    threshold_dbfs: float
    """The mean level of a stretch is at least this."""
    stretch_samples: int
    margin_samples: int
    """A label accounts for what is as near as this before it begins and after it ends."""
    min_samples: int
    """What is shorter is no event."""
    merge_samples: int
    """What has a shorter pause between is one."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """How loud it was for a while."""

    begin_sample: int
    end_sample: int
    level_dbfs: float
    labelled: bool
    """Whether a label accounts for it."""


class LoudUnlabelled:
    """Judges the level of one stretch after the other, once every model knows what is around it."""

    _KEEP: Final = 120 * SAMPLE_RATE
    """How far back a stretch may lie that is judged."""

    def __init__(self, label: CompositeLabel, limits: LoudnessLimits) -> None:
        """Set up for one source."""
        self._label = label
        self._limits = limits
        self._loudness = Loudness(self._KEEP + limits.stretch_samples + limits.margin_samples)
        self._next: int | None = None
        """Where the stretch begins that is judged next."""
        self._open: dict[SegmentKey, Event] = {}
        self._ended: list[tuple[int, int]] = []
        """Onset and offset of what was heard."""
        self._segment: CompositeSegment | None = None
        self._started = False
        self._judged: deque[Stretch] = deque()

    def loudest(self, first_sample: int, end_sample: int) -> Stretch | None:
        """Of what was judged last: the loudest that no label accounts for, or else of all."""
        return max(
            (
                s
                for s in self._judged
                if s.begin_sample < end_sample and s.end_sample > first_sample
            ),
            key=lambda s: (
                s.level_dbfs >= self._limits.threshold_dbfs and not s.labelled,
                s.level_dbfs,
            ),
            default=None,
        )

    def push(self, update: StreamUpdate, known_until: int) -> list[Event]:
        """Take the update of one stream; all are known as far as `known_until`."""
        hop = update.hop
        if hop and hop.samples:
            self._loudness.push(hop.end_sample, hop.samples, hop.power)
            if self._next is None:
                self._next = hop.end_sample - hop.samples
        for event in update.events:
            self._note(event)
        return self._judge_until(known_until - self._limits.margin_samples)

    def cut(self, end_sample: int) -> list[Event]:
        """The sound stops: a stretch that is not whole is not judged."""
        events = self._judge_until(end_sample)
        segment = self._segment
        if segment and self._started:
            whole = self._next is not None and self._next == segment.offset_sample
            events.append(segment.event("end", truncated=whole))
        self._next = self._segment = None
        self._open.clear()
        self._ended.clear()
        return events

    def _note(self, event: Event) -> None:
        if event.offset_sample is None:
            self._open[event.segment] = event
        else:
            self._open.pop(event.segment, None)
            self._ended.append((event.onset_sample, event.offset_sample))

    def _judge_until(self, sample: int) -> list[Event]:
        """Judge the stretches that end at or before `sample`."""
        events = []
        while self._next is not None and self._next + self._limits.stretch_samples <= sample:
            begin, self._next = self._next, self._next + self._limits.stretch_samples
            level = dbfs(self._loudness.energy(begin, self._next) / self._limits.stretch_samples)
            labelled = self._labelled(begin, self._next)
            self._judged.append(Stretch(begin, self._next, level, labelled))
            while self._judged[0].end_sample < begin - MEMORY_S * SAMPLE_RATE:
                self._judged.popleft()
            if level >= self._limits.threshold_dbfs and not labelled:
                events += self._extend(begin, self._next, level)
            else:
                events += self._pause(self._next)
        return events

    def _labelled(self, begin: int, end: int) -> bool:
        begin, end = begin - self._limits.margin_samples, end + self._limits.margin_samples
        self._ended = [(onset, offset) for onset, offset in self._ended if offset > begin]
        return any(event.onset_sample < end for event in self._open.values()) or any(
            onset < end for onset, _ in self._ended
        )

    def _extend(self, begin: int, end: int, level_dbfs: float) -> list[Event]:
        # That it is loud is no guess: the score is 1.
        samples = end - begin
        score = WeightedScore(samples, float(samples), samples * mean_square(level_dbfs), peak=1.0)
        if self._segment is None:
            self._segment = CompositeSegment(self._label, begin, end, reported_until=end)
            self._started = False
        self._segment = self._segment.extended(end, score)
        if not self._started:
            if end - self._segment.onset_sample < self._limits.min_samples:
                return []
            self._started = True
            self._segment = replace(self._segment, reported_until=end)
            return [self._segment.event("start")]
        if updated := self._segment.if_update_is_due(end):
            self._segment = updated
            return [updated.event("update")]
        return []

    def _pause(self, until: int) -> list[Event]:
        segment = self._segment
        if segment is None or until - segment.offset_sample < self._limits.merge_samples:
            return []
        self._segment = None
        return [segment.event("end")] if self._started else []
