"""What became of a source's last segments: published or suppressed, and from where to where."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from detector.explanations import Suppression
from detector.records import Event, SegmentKey


@dataclass(slots=True)
class SegmentRecord:
    """What became of a segment, or of the part of it that was published or suppressed."""

    segment: SegmentKey
    onset_sample: int
    offset_sample: int | None
    """None while it goes on."""
    suppressed_by: Suppression | None
    """None if it was published."""


class SegmentLog:
    """The last few hundred segments of a source."""

    _MOST: Final = 500

    def __init__(self) -> None:
        self._records: deque[SegmentRecord] = deque(maxlen=self._MOST)

    def add(self, event: Event, suppressed_by: Suppression | None, now_sample: int) -> None:
        """Take note of an event.

        Args:
            event: the source's next event.
            suppressed_by: why nothing may begin now.
            now_sample: how far the source was heard.
        """
        if event.type == "start":
            self._records.append(
                SegmentRecord(event.segment, event.onset_sample, None, suppressed_by)
            )
            return
        for record in reversed(self._records):
            if record.segment == event.segment:
                if event.type == "end":
                    record.offset_sample = event.offset_sample
                elif record.suppressed_by and record.suppressed_by != suppressed_by:
                    self._split(record, suppressed_by, now_sample)
                return

    def mute(self, now_sample: int) -> None:
        """What goes on and was published is muted from now on."""
        for record in list(self._records):
            if record.offset_sample is None and not record.suppressed_by:
                self._split(record, "muted", now_sample)

    def _split(self, record: SegmentRecord, suppressed_by: Suppression | None, sample: int) -> None:
        record.offset_sample = sample
        self._records.append(
            replace(record, onset_sample=sample, offset_sample=None, suppressed_by=suppressed_by)
        )

    def between(self, first_sample: int, end_sample: int) -> Iterator[SegmentRecord]:
        """The segments in a stretch of sound."""
        return (
            record
            for record in self._records
            if record.onset_sample < end_sample
            and (record.offset_sample is None or record.offset_sample > first_sample)
        )
