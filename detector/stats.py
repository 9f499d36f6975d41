"""What the service counts, in one record that every observer reads: MQTT, metrics, pages, people.

All counters begin at 0 with the process, but for those that say otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from detector.records import SourceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStats:
    """One source of sound."""

    status: SourceStatus
    samples_heard: int = 0
    samples_overrun: int = 0
    """Heard, but overwritten before they were read."""
    samples_not_finite: int = 0
    """NaN, infinite, or far beyond full scale: they were not heard."""
    windows_skipped: int = 0
    """The models could not keep up."""
    windows_failed: int = 0
    """Inference failed, or gave what is no score."""
    windows_withheld: int = 0
    """Not worth an expensive model: a cheaper one heard nothing in them."""
    events: int = 0
    """Published: starts, updates and ends."""
    events_held: int = 0
    """Segments not published: muted, or quiet hours."""
    gaps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStats:
    """Events and gaps on their way to the broker.

    Dropped, rejected and lost ones are counted since the outbox on the disk was begun.
    """

    connected: bool = False
    """To the broker."""
    queued_events: int = 0
    """Not confirmed by the broker yet."""
    dropped_events: int = 0
    """Lost because too many were waiting."""
    rejected_events: int = 0
    """Refused by the broker: they became dead letters."""
    dead_letters: int = 0
    """Of those, the ones that can still be looked at."""
    lost_events: int = 0
    """Lost by the disk, or by a killed process that could not store them."""
    unstored_events: int = 0
    """Waiting in memory alone: a killed process would lose them."""
    storage: str = "ok"
    """Or why events cannot be stored at present."""
    rejected_values: int = 0
    """How often the broker refused a retained value, or hung up on one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The whole service at one moment."""

    uptime_s: int
    sources: Mapping[str, SourceStats]
    """By name."""
    delivery: DeliveryStats | None = None
    """None if nothing is published by MQTT."""
