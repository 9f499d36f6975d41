"""Events of recordings, true and detected: which of them belong together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

COLLAR_S: Final = 0.2
"""How far a detected onset or offset may lie from the true one, in event-based scoring."""


class Detection(NamedTuple):
    """An event as a detector reports it. A bare (onset, offset, label) will do as well."""

    onset_s: float
    offset_s: float
    label: str
    reported_s: float | None = None
    """How much of the recording must have been heard to report its start; None: not known."""


TrueEvent = tuple[float, float, str]
"""(onset_s, offset_s, label)."""
Reference = Mapping[str, Sequence[TrueEvent]]
"""File name -> its true events."""
Detections = Mapping[str, Sequence[TrueEvent | Detection]]
"""File name -> Detection, or (onset_s, offset_s, label)."""


def merge_overlapping(events: Iterable[Sequence[Any]], labels: Collection[str]) -> list[Detection]:
    """The events of the given labels in order of onset, those that overlap or touch made one."""
    last: dict[str, Detection] = {}
    done = []
    for event in sorted(Detection(*event) for event in events if event[2] in labels):
        before = last.get(event.label)
        if before is None or event.onset_s > before.offset_s:
            if before is not None:
                done.append(before)
            last[event.label] = event
            continue
        reported = [time for time in (before.reported_s, event.reported_s) if time is not None]
        last[event.label] = before._replace(
            offset_s=max(before.offset_s, event.offset_s), reported_s=min(reported, default=None)
        )
    return sorted([*done, *last.values()], key=lambda event: event[:3])


def false_alarms(truth: Sequence[Detection], found: Sequence[Detection]) -> int:
    """How many of the events found have no true one near; all of one label in one file."""
    return sum(not any(is_near(true, event) for true in truth) for event in found)


def matched_pairs(
    truth: Sequence[Detection], found: Sequence[Detection]
) -> list[tuple[Detection, Detection]]:
    """True events, each with the first detected one that is meant for it.

    A detected event is meant for the near true one of which it shares most.
    """
    first: dict[Detection, Detection] = {}
    for event in found:
        near = [true for true in truth if is_near(true, event)]
        if near:
            first.setdefault(max(near, key=lambda true: _shared_s(true, event)), event)
    return list(first.items())


def is_near(true: Detection, event: Detection) -> bool:
    """Whether they overlap, or nearly do."""
    return _shared_s(true, event) > -COLLAR_S


def _shared_s(one: Detection, other: Detection) -> float:
    """How long two events last together; less than 0 is the pause between them."""
    return min(one.offset_s, other.offset_s) - max(one.onset_s, other.onset_s)
