"""Trains of beeps, made by hand, and what finds a rhythm in them."""

from collections.abc import Iterable, Sequence

from detector.events.patterns.repetition import Repetition, Rhythm
from detector.events.patterns.streams import StreamUpdate
from detector.records import SAMPLE_RATE, Event
from detector.settings.patterns import RHYTHMS
from tests.events.streams import Span, at, label

LATENCY_S = 0.6
"""What a model with 40 ms frames and a hop of 0.2 s knows late, and some to spare."""


def repetition(name: str = "t3", update_s: float = 1000, **changes: float | Span) -> Repetition:
    ranges = {**RHYTHMS[name], **changes}

    def span(key: str) -> tuple[int, int]:
        least, most = ranges[key]
        return at(least), at(most)

    rhythm = Rhythm(ranges["count"], span("on_s"), span("off_s"), span("pause_s"))
    return Repetition(label(update_s), "beep", rhythm)


def train(count: int, on: float, off: float, begin: float = 0.0) -> list[Span]:
    return [(begin + i * (on + off), begin + i * (on + off) + on) for i in range(count)]


def cycles(cycle: Sequence[Span], period: float, number: int, begin: float = 1.0) -> list[Span]:
    return [
        (begin + i * period + a, begin + i * period + b) for i in range(number) for a, b in cycle
    ]


T3 = train(3, 0.5, 0.5)
T4 = train(4, 0.1, 0.1)


def t3(number: int, begin: float = 1.0) -> list[Span]:
    return cycles(T3, 4.0, number, begin)


def t4(number: int, begin: float = 1.0) -> list[Span]:
    return cycles(T4, 5.7, number, begin)


def first_event(machine: Repetition, stream: Iterable[StreamUpdate]) -> tuple[Event, float] | None:
    for item in stream:
        for found in machine.push(item, item.known_until):
            return found, item.known_until / SAMPLE_RATE
    return None
