"""Suppresses events of whole segments, so that a subscriber sees a segment or nothing of it."""

from dataclasses import dataclass, replace

from detector.explanations import Suppression
from detector.records import Event, SegmentKey


@dataclass(slots=True)
class _Segment:
    last: Event
    suppressed_by: Suppression | None
    """None if its start was published, and not its end."""
    onset_sample: int
    """Where it begins as it is published."""
    closed: bool = False
    """Whether an end was published before it came."""

    def published(self, event: Event) -> Event:
        """The event as it is published: of a part of the segment, if the rest was suppressed."""
        if event.onset_sample == self.onset_sample:
            return event
        offset = event.offset_sample
        later = None if offset is None else max(offset, self.onset_sample)
        return replace(event, onset_sample=self.onset_sample, offset_sample=later)


class SuppressionGate:
    """The events of one source, of all its models.

    A start that was published is followed by an end. A segment that was suppressed when it began
    stays so until an update finds it allowed: that is published as its start. If its first part
    was published and closed, the rest is a segment of its own, which begins there.
    """

    def __init__(self) -> None:
        self._open: dict[SegmentKey, _Segment] = {}

    def admit(
        self, event: Event, suppressed_by: Suppression | None, now_sample: int
    ) -> Event | None:
        """What to publish of an event, if anything.

        Args:
            event: the source's next event.
            suppressed_by: why nothing may begin now.
            now_sample: how far the source was heard.
        """
        key = event.segment
        segment = self._open.get(key)
        if segment is None:
            if event.type != "start":
                return None
            self._open[key] = _Segment(event, suppressed_by, event.onset_sample)
            return None if suppressed_by else event
        if event.type == "end":
            del self._open[key]
            return None if segment.suppressed_by else segment.published(event)
        segment.last = event
        if not segment.suppressed_by:
            return segment.published(event)
        segment.suppressed_by = suppressed_by
        if suppressed_by:
            return None
        if segment.closed:
            segment.onset_sample, segment.closed = now_sample, False
        return segment.published(replace(event, type="start"))

    def close(self, end_sample: int) -> list[Event]:
        """End what was published, cut off at `end_sample`; what follows is suppressed."""
        ends = []
        for segment in self._open.values():
            if segment.suppressed_by:
                continue
            offset = max(end_sample, segment.onset_sample)
            ended = replace(segment.last, type="end", offset_sample=offset, truncated=True)
            ends.append(segment.published(ended))
            segment.suppressed_by, segment.closed = "muted", True
        return ends
