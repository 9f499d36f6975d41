"""Streams of events, made by hand, and what a pattern makes of them."""

from collections.abc import Iterable
from itertools import takewhile
from typing import Protocol

from detector.events.patterns.composite import CompositeLabel
from detector.events.patterns.streams import StreamUpdate
from detector.records import SAMPLE_RATE, Event
from tests.events.scores import Segment

Span = tuple[float, float]
"""Seconds: onset and offset."""


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def label(update_s: float = 1000) -> CompositeLabel:
    return CompositeLabel("pattern", "Pattern", at(update_s))


def event(
    kind: str, onset: int, offset: int | None = None, label: str = "beep", *, cut: bool = False
) -> Event:
    assert kind in ("start", "update", "end")
    return Event(
        type="end" if kind == "end" else "update" if kind == "update" else "start",
        model="model@1",
        label=label,
        name=label,
        onset_sample=onset,
        offset_sample=offset,
        peak=0.9,
        mean=0.8,
        level_dbfs=-20.0,
        truncated=cut,
    )


def updates(
    spans: Iterable[Span], until_s: float, hop_s: float = 0.2, label: str = "beep"
) -> list[StreamUpdate]:
    """A stream with the events of these sounds, hop by hop, up to a cut."""
    end = at(until_s)
    moments: list[tuple[int, int, Event]] = []
    for onset_s, offset_s in spans:
        onset, offset = at(onset_s), min(at(offset_s), end)
        moments.append((onset, 1, event("start", onset, label=label)))
        moments.append((offset, 0, event("end", onset, offset, label, cut=at(offset_s) > end)))
    moments.sort(key=lambda moment: moment[:2])
    found: list[StreamUpdate] = []
    for until in [*range(at(hop_s), end, at(hop_s)), end]:
        due = list(takewhile(lambda moment: moment[0] < until or until == end, moments))  # noqa: B023
        del moments[: len(due)]
        found.append(StreamUpdate(until, tuple(e for *_, e in due), cut=until == end))
    return found


class Pattern(Protocol):
    def push(self, update: StreamUpdate, known_until: int) -> list[Event]: ...

    def cut(self, end_sample: int) -> list[Event]: ...


def feed(machine: Pattern, stream: Iterable[StreamUpdate]) -> list[Event]:
    """The events of a pattern that listens to one stream."""
    events = []
    for item in stream:
        events += machine.push(item, item.known_until)
        if item.cut:
            events += machine.cut(item.known_until)
    return events


def seconds(segments: Iterable[Segment]) -> list[Span]:
    return [(s.onset / SAMPLE_RATE, s.offset / SAMPLE_RATE) for s in segments]
