"""Several streams of events as one, in the order of the sound, whoever tells first.

Two models that hear the same source answer in any order, and what is made of both must not depend
on it. So what they tell is taken in the order of the sound, as soon as it is certain that nothing
comes before it.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from detector.records import Event


@dataclass(frozen=True, slots=True)
class Hop:
    """Sound of which the loudness is known."""

    end_sample: int
    samples: int
    power: float
    """Mean square (full scale is 1)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a stream tells at once."""

    until: int
    """How far it knows the sound; never less than before."""
    events: tuple[Event, ...] = ()
    cut: bool = False
    """Whether the sound stops at `until`."""
    hop: Hop | None = None
    """The new sound in it, in the one stream that tells of loudness."""


class InOrder:
    """Gives out what several streams tell, the least `until` first, and of equals the first stream.

    A stream that tells nothing holds the others back, but not without end.
    """

    _MOST: Final = 4096
    """How much of one stream may wait; if there is more, the silent ones are taken to hang."""

    def __init__(self, streams: int, cut_at: Mapping[int, int] | None = None) -> None:
        """Set up.

        Args:
            streams: how many there are.
            cut_at: of each whose sound has stopped already, where; it may tell nothing more.
        """
        self._waiting: list[deque[tuple[int, Heard]]] = [deque() for _ in range(streams)]
        self._least = [0] * streams
        """Whatever a stream tells next is not before this."""
        self._until = [0] * streams
        """How far what was given out knows the sound."""
        for stream, end in (cut_at or {}).items():
            self._least[stream], self._until[stream] = end + 2, end

    @property
    def until(self) -> int:
        """How far all streams know the sound."""
        return min(self._until)

    def push(self, stream: int, heard: Heard) -> Iterator[tuple[Heard, int]]:
        """Take what a stream tells; yield whatever comes next, and how far all of them know."""
        # A cut comes after all that the others have to tell of the sound before it.
        moment = max(heard.until + heard.cut, self._least[stream])
        self._least[stream] = moment + 1 if heard.cut else moment
        self._waiting[stream].append((moment, heard))
        while (first := self._first()) is not None:
            _, heard = self._waiting[first].popleft()
            self._until[first] = max(self._until[first], heard.until)
            yield heard, self.until

    def _first(self) -> int | None:
        """The stream whose turn it is; None if it has to be waited for."""
        places = range(len(self._waiting))
        first = min(places, key=lambda place: (self._next(place), place))
        if self._waiting[first]:
            return first
        full = max(places, key=lambda place: len(self._waiting[place]))
        if len(self._waiting[full]) <= self._MOST:
            return None
        for place in places:
            if not self._waiting[place]:
                self._least[place] = self._until[place] = self._next(full)
        return full

    def _next(self, place: int) -> int:
        waiting = self._waiting[place]
        return waiting[0][0] if waiting else self._least[place]
