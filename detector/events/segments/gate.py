"""Lets events pass or holds them back, so that a subscriber sees whole segments or none."""

from dataclasses import dataclass, replace
from typing import Literal

from detector.records import Event, SegmentKey

Held = Literal["muted", "quiet_hours"]
"""Why an event is held back."""


@dataclass(slots=True)
class _Segment:
    last: Event
    held: Held | None
    """None if its start was told, and not its end."""
    onset_sample: int
    """Where it is told to begin."""
    closed: bool = False
    """Whether its end was told before it came."""

    def told(self, event: Event) -> Event:
        """The event as it is told: of a part of the segment, if the rest was held back."""
        if event.onset_sample == self.onset_sample:
            return event
        offset = event.offset_sample
        later = None if offset is None else max(offset, self.onset_sample)
        return replace(event, onset_sample=self.onset_sample, offset_sample=later)


class Gate:
    """The events of one source, of all its models.

    What was told to begin is told to end. A segment that was held back when it began stays
    unheard of until an update finds it allowed: that is told as its start. If its first part was
    told and closed, the rest is a segment of its own, which begins there.
    """

    def __init__(self) -> None:
        self._open: dict[SegmentKey, _Segment] = {}

    def admit(self, event: Event, held: Held | None, now_sample: int) -> Event | None:
        """What to tell of an event, if anything.

        Args:
            event: of the source's next event.
            held: why nothing may begin now.
            now_sample: how far the source was heard.
        """
        key = event.segment
        segment = self._open.get(key)
        if segment is None:
            if event.type != "start":
                return None
            self._open[key] = _Segment(event, held, event.onset_sample)
            return None if held else event
        if event.type == "end":
            del self._open[key]
            return None if segment.held else segment.told(event)
        segment.last = event
        if not segment.held:
            return segment.told(event)
        segment.held = held
        if held:
            return None
        if segment.closed:
            segment.onset_sample, segment.closed = now_sample, False
        return segment.told(replace(event, type="start"))

    def close(self, end_sample: int) -> list[Event]:
        """End what was told to begin, cut off at `end_sample`; what follows is held back."""
        ends = []
        for segment in self._open.values():
            if segment.held:
                continue
            offset = max(end_sample, segment.onset_sample)
            ended = replace(segment.last, type="end", offset_sample=offset, truncated=True)
            ends.append(segment.told(ended))
            segment.held, segment.closed = "muted", True
        return ends
