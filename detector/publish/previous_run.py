"""What a run of the service that was killed, or stopped, left unfinished."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from detector.publish.messages import EventMessage, GapMessage


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """How the run of the service before this one ended. Nothing is in it if nothing is known."""

    open_events: Sequence[EventMessage] = ()
    """Of each segment that began and did not end, the last message."""
    heard_until: Mapping[str, datetime] = field(default_factory=dict)
    """UTC, by source: until when sound is known to have been heard."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where one source goes on from."""

    last_sequence: Callable[[], int] = lambda: 0
    """Tells the number of its last event; 0 if there was none."""
    heard_until: datetime | None = None
    """UTC; None if nothing is known."""


def end_messages(
    previous: PreviousRun, last_sequence: Callable[[str], int]
) -> Iterator[EventMessage]:
    """The end of each event that was open: cut off where sound is last known to have been heard.

    Args:
        previous: what was open.
        last_sequence: tells the number of a source's last event. It must know of each message
            before the next one is asked for.
    """
    for event in previous.open_events:
        offset = max(event.onset, previous.heard_until.get(event.source, event.onset))
        yield event.model_copy(
            update={
                "type": "end",
                "offset": offset,
                "duration_s": round((offset - event.onset).total_seconds(), 3),
                "sequence": last_sequence(event.source) + 1,
                "truncated": True,
            }
        )


def down_gap(
    node: str, source: str, heard_until: datetime | None, heard_again: datetime
) -> GapMessage | None:
    """The time in which the service was not running; None if there is none, or none is known."""
    if heard_until is None or heard_again <= heard_until:
        return None
    return GapMessage(
        node=node,
        source=source,
        begin=heard_until,
        end=heard_again,
        duration_s=round((heard_again - heard_until).total_seconds(), 3),
        reason="down",
    )
