"""An event that lasts while any of several labels is heard."""

from collections.abc import Collection

from detector.events.patterns.composite import (
    NO_SCORE,
    CompositeLabel,
    CompositeSegment,
    WeightedScore,
)
from detector.events.patterns.streams import StreamUpdate
from detector.records import Event, SegmentKey


class Group:
    """Events of any of its labels that overlap, adjoin or follow closely are one."""

    def __init__(
        self,
        label: CompositeLabel,
        members: Collection[str],
        merge_samples: int,
        not_before: int = 0,
    ) -> None:
        """Set up for one source.

        Args:
            label: what its events are called.
            members: the slugs of its labels.
            merge_samples: a pause of at most this ends nothing.
            not_before: nothing begins before this.
        """
        self._label = label
        self._members = frozenset(members)
        self._merge = merge_samples
        self._active: dict[SegmentKey, Event] = {}
        self._segment: CompositeSegment | None = None
        self._not_before = not_before
        """Where the last one ended: labels that come late begin none before that."""
        self._truncated = False

    def push(self, update: StreamUpdate, known_until: int) -> list[Event]:
        """Take the update of one stream; all are known as far as `known_until`."""
        events = [
            found
            for event in update.events
            if event.label in self._members
            for found in self._take(event, update.known_until)
        ]
        if self._segment is None:
            return events
        if not self._active:
            return events + self._end_before(known_until)
        if updated := self._segment.if_update_is_due(known_until):
            self._segment = updated
            events.append(updated.event("update", self._score_of_active(known_until)))
        return events

    def cut(self, end_sample: int) -> list[Event]:
        """The sound stops: what goes on ends there."""
        segment, truncated = self._segment, self._truncated
        if segment and self._active:
            segment = segment.extended(end_sample, self._score_of_active(end_sample))
            truncated = True
        self._active.clear()
        self._segment = None
        if segment is None:
            return []
        self._not_before = segment.offset_sample
        return [segment.event("end", truncated=truncated)]

    def _take(self, event: Event, known_until: int) -> list[Event]:
        key = event.segment
        found = []
        if event.type == "start":
            found = [] if self._active else self._end_before(event.onset_sample)
            self._active[key] = event
            if self._segment is None:
                onset = max(event.onset_sample, self._not_before)
                self._segment = CompositeSegment(
                    self._label, onset, onset + 1, reported_until=known_until
                )
                found.append(self._segment.event("start", self._score_of_active(known_until)))
        elif key in self._active and event.offset_sample is None:
            self._active[key] = event
        elif key in self._active and self._segment and event.offset_sample is not None:
            del self._active[key]
            score = WeightedScore.of(event, event.offset_sample)
            self._segment = self._segment.extended(event.offset_sample, score)
            self._truncated = event.truncated
        return found

    def _end_before(self, sample: int) -> list[Event]:
        """End it if it cannot be joined with what begins at `sample`."""
        segment = self._segment
        if segment is None or sample - segment.offset_sample <= self._merge:
            return []
        self._segment = None
        self._not_before = segment.offset_sample
        return [segment.event("end")]

    def _score_of_active(self, known_until: int) -> WeightedScore:
        scores = (WeightedScore.of(event, known_until) for event in self._active.values())
        return sum(scores, NO_SCORE)
