"""How a source is, in one record that every observer reads: MQTT, the log, people."""

from dataclasses import dataclass
from typing import Literal

from detector.records import SourceStatus, StreamInfo

ProblemKind = Literal[
    "offline", "stalled", "silent", "clipping",
    "dc_offset", "wrong_rate", "narrow_band", "out_of_phase",
]  # fmt: skip
"""What is wrong.

offline, stalled, silent, clipping: as the status of the same name;
dc_offset: the signal does not swing about zero;
wrong_rate: the device delivers more or fewer samples a second than it says;
narrow_band: the sound holds no high frequencies, as that of a telephone;
out_of_phase: the channels cancel each other where they are mixed.
"""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a source from hearing well."""

    kind: ProblemKind
    advice: str
    """What it is and what to do about it, a sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """A source at one moment. What is not known is None."""

    status: SourceStatus
    problems: tuple[Problem, ...] = ()
    level_dbfs: float | None = None
    """Mean of the last minute, as the models hear it: after gain and filters."""
    level_a_dbfs: float | None = None
    """The same, A-weighted (IEC 61672-1)."""
    dc_offset: float | None = None
    """Mean of the samples in the last ten seconds, full scale is 1; before gain and filters."""
    clipped: float | None = None
    """Share of the samples that were at full scale in the last seconds, 0 to 1; before the gain."""
    stream: StreamInfo | None = None
