"""Several streams of events as one, in the order of the sound, whichever is updated first.

Two models that listen to the same source answer in any order, and what is made of both must not
depend on it. So their updates are taken in the order of the sound, as soon as it is certain that
nothing comes before them.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from detector.events.patterns.streams import StreamUpdate


class StreamMerger:
    """Gives out the updates of several streams, the least `known_until` first.

    Of equals the first stream comes first. A stream without updates holds the others back, but not
    without end.
    """

    _MOST_WAITING: Final = 4096
    """Updates of one stream that may wait; beyond it, streams without any are taken to hang."""

    def __init__(self, streams: int, cut_at: Mapping[int, int] | None = None) -> None:
        """Set up.

        Args:
            streams: how many there are.
            cut_at: of each whose sound has stopped already, where; nothing more may come.
        """
        self._waiting: list[deque[tuple[int, StreamUpdate]]] = [deque() for _ in range(streams)]
        self._earliest = [0] * streams
        """A stream's next update is not before this."""
        self._known_until = [0] * streams
        """How far the sound is known in what was given out."""
        for stream, end in (cut_at or {}).items():
            self._earliest[stream], self._known_until[stream] = end + 2, end

    @property
    def known_until(self) -> int:
        """How far the sound is known in all streams."""
        return min(self._known_until)

    def push(self, stream: int, update: StreamUpdate) -> Iterator[tuple[StreamUpdate, int]]:
        """Take a stream's update; yield those that come next, and how far all are known then."""
        # A cut comes after all that the others have of the sound before it.
        moment = max(update.known_until + update.cut, self._earliest[stream])
        self._earliest[stream] = moment + 1 if update.cut else moment
        self._waiting[stream].append((moment, update))
        while (first := self._first()) is not None:
            _, update = self._waiting[first].popleft()
            self._known_until[first] = max(self._known_until[first], update.known_until)
            yield update, self.known_until

    def _first(self) -> int | None:
        """The stream whose turn it is; None if it has to be waited for."""
        places = range(len(self._waiting))
        first = min(places, key=lambda place: (self._next(place), place))
        if self._waiting[first]:
            return first
        full = max(places, key=lambda place: len(self._waiting[place]))
        if len(self._waiting[full]) <= self._MOST_WAITING:
            return None
        for place in places:
            if not self._waiting[place]:
                self._earliest[place] = self._known_until[place] = self._next(full)
        return full

    def _next(self, place: int) -> int:
        waiting = self._waiting[place]
        return waiting[0][0] if waiting else self._earliest[place]
