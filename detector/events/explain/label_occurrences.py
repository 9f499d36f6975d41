"""When each of some labels was heard, however shortly."""

from collections import Counter, deque
from collections.abc import Collection
from typing import Final

from detector.explanations import MEMORY_S
from detector.records import SAMPLE_RATE, Event, SegmentKey


class LabelOccurrences:
    """Each stretch in which one of a pattern's labels was heard."""

    _MOST: Final = 4096

    def __init__(self, labels: Collection[str], since: int) -> None:
        """Set up for these slugs."""
        self.since = since
        """Nothing is known of what was before this."""
        self._labels = frozenset(labels)
        self._open: dict[SegmentKey, Event] = {}
        self._ended: deque[tuple[str, int, int]] = deque()
        """Label, onset and offset."""

    def add(self, event: Event) -> None:
        """Take the next event of any label."""
        if event.label not in self._labels:
            return
        if event.offset_sample is None:
            self._open[event.segment] = event
            return
        self._open.pop(event.segment, None)
        self._ended.append((event.label, event.onset_sample, event.offset_sample))
        while (
            len(self._ended) > self._MOST
            or self._ended[0][2] < event.offset_sample - MEMORY_S * SAMPLE_RATE
        ):
            self.since = max(self.since, self._ended.popleft()[2])

    def between(self, first_sample: int, end_sample: int) -> dict[str, int]:
        """How often each label was heard in a stretch of sound, if it was."""
        still_open = ((e.label, e.onset_sample, end_sample) for e in self._open.values())
        return dict(
            Counter(
                label
                for label, onset, offset in (*self._ended, *still_open)
                if onset < end_sample and offset > first_sample
            )
        )
