"""An event that lasts while any of several labels is heard."""

from collections.abc import Collection

from detector.events.patterns.composite import NOTHING, Life, Subject, Tally
from detector.events.patterns.streams import Heard
from detector.records import Event, SegmentKey


class Group:
    """Events of any of its labels that overlap, adjoin or follow closely are one."""

    def __init__(
        self, subject: Subject, labels: Collection[str], merge_samples: int, free_from: int = 0
    ) -> None:
        """Set up for one source.

        Args:
            subject: what it is called.
            labels: slugs.
            merge_samples: a pause of at most this ends nothing.
            free_from: nothing begins before this.
        """
        self._subject = subject
        self._labels = frozenset(labels)
        self._merge = merge_samples
        self._sounding: dict[SegmentKey, Event] = {}
        self._life: Life | None = None
        self._free_from = free_from
        """Where the last one ended: labels told of late begin no event before that."""
        self._truncated = False

    def take(self, heard: Heard, until: int) -> list[Event]:
        """Take what one stream tells; all are known as far as `until`."""
        events = [
            told
            for event in heard.events
            if event.label in self._labels
            for told in self._take(event, heard.until)
        ]
        if self._life is None:
            return events
        if not self._sounding:
            return events + self._end_before(until)
        if updated := self._life.updated(until):
            self._life = updated
            events.append(updated.tell("update", self._going_on(until)))
        return events

    def cut(self, end_sample: int) -> list[Event]:
        """The sound stops: what goes on ends there."""
        life, truncated = self._life, self._truncated
        if life and self._sounding:
            life, truncated = life.extended(end_sample, self._going_on(end_sample)), True
        self._sounding.clear()
        self._life = None
        if life is None:
            return []
        self._free_from = life.offset_sample
        return [life.tell("end", truncated=truncated)]

    def _take(self, event: Event, until: int) -> list[Event]:
        key = event.segment
        told = []
        if event.type == "start":
            told = [] if self._sounding else self._end_before(event.onset_sample)
            self._sounding[key] = event
            if self._life is None:
                onset = max(event.onset_sample, self._free_from)
                self._life = Life(self._subject, onset, onset + 1, told_until=until)
                told.append(self._life.tell("start", self._going_on(until)))
        elif key in self._sounding and event.offset_sample is None:
            self._sounding[key] = event
        elif key in self._sounding and self._life and event.offset_sample is not None:
            del self._sounding[key]
            tally = Tally.of(event, event.offset_sample)
            self._life = self._life.extended(event.offset_sample, tally)
            self._truncated = event.truncated
        return told

    def _end_before(self, sample: int) -> list[Event]:
        """End it if it cannot be joined with what begins at `sample`."""
        life = self._life
        if life is None or sample - life.offset_sample <= self._merge:
            return []
        self._life = None
        self._free_from = life.offset_sample
        return [life.tell("end")]

    def _going_on(self, until: int) -> Tally:
        return sum((Tally.of(event, until) for event in self._sounding.values()), NOTHING)
