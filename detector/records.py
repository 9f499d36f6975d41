"""The values that travel between stages. All are immutable.

Time is always an absolute sample index of the source, at the analysis rate, counted from the
first sample that the source ever delivered: a wall clock plays no part before an event is
published. Intervals are half open: `first_sample <= i < end_sample`.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hertz. The rate at which every front end and every bundle works."""


def to_seconds(samples: float) -> float:
    """How long so many samples last."""
    return samples / SAMPLE_RATE


def to_samples(seconds: float) -> int:
    """How many samples last so long, to the nearest."""
    return round(seconds * SAMPLE_RATE)


FloatArray = NDArray[np.float32]

GapReason = Literal[
    "overflow", "restart", "stall", "overrun", "unscored", "not_finite", "undecodable", "down"
]
"""Why something was not heard.

overflow: the sound system or the capture program's buffer lost samples;
restart: the capture program was started again;
stall: the device delivered nothing for a while without saying so;
overrun: a reader of the ring buffer was too slow and samples were overwritten;
unscored: no window of a model that was scored holds the samples;
not_finite: samples were NaN or infinite, or far beyond full scale;
undecodable: a part of a recording or stream could not be decoded;
down: the service was not running.
"""


SourceStatus = Literal["listening", "stalled", "offline", "silent", "clipping"]
"""What a source does. In all but stalled and offline, sound comes in."""


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """Consecutive mono samples of one source."""

    first_sample: int
    samples: FloatArray
    """(n,) float32, full scale is ±1."""

    @property
    def end_sample(self) -> int:
        return self.first_sample + len(self.samples)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return to_seconds(len(self.samples))


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples that were not heard. Nothing is put in their place."""

    first_sample: int
    length: int
    """Samples."""
    reason: GapReason
    model: str | None = None
    """name@version of the only model that did not hear them; None if no model did."""

    @property
    def end_sample(self) -> int:
        return self.first_sample + self.length

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return to_seconds(self.length)


@dataclass(frozen=True, slots=True)
class Window:
    """One model input."""

    first_sample: int
    end_sample: int
    """The audio that is in the window; shorter than the model's window at a beginning."""
    new_samples: int
    """How many of the last samples were in no earlier window: the hop, or less at an end."""
    data: FloatArray
    """(rows, n_mels) log-mel frames or (samples,) waveform, padded to the model's input."""
    power: float
    """Mean square of the new samples (full scale is 1)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The sound is interrupted at `end_sample`; nobody knows yet for how long.

    All that is open ends here. A `Gap` follows once it is known how much was lost; if nothing was,
    the sound goes on at that sample.
    """

    end_sample: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model said of one window: probabilities in 0..1, labels in the bundle's order."""

    first_sample: int
    end_sample: int
    new_samples: int
    power: float
    clip: FloatArray | None
    """(n_labels,) float32, or None if the model has no such output."""
    frames: FloatArray | None
    """(n_frames, n_labels) float32, or None if the model has no such output."""


@dataclass(frozen=True, slots=True)
class Unscored:
    """A window of which a model could say nothing."""

    first_sample: int
    end_sample: int
    reason: GapReason


EventType = Literal["start", "update", "end"]


class SegmentKey(NamedTuple):
    """What tells a segment of a source from every other: all its events have it in common."""

    model: str
    """name@version of the bundle."""
    label: str
    """The label's slug."""
    onset_sample: int


@dataclass(frozen=True, slots=True)
class Event:
    """A moment in the life of a segment: a stretch of time in which a label is heard."""

    type: EventType
    model: str
    """name@version of the bundle."""
    label: str
    """The label's slug."""
    name: str
    """The label as people read it."""
    onset_sample: int
    offset_sample: int | None
    """None while the sound goes on."""
    peak: float
    """Highest score so far."""
    mean: float
    """Mean score so far."""
    level_dbfs: float
    """Mean level of the segment so far, in decibels relative to full scale."""
    truncated: bool = False
    """A gap or a stop cut the segment: the sound may have gone on."""

    @property
    def segment(self) -> SegmentKey:
        return SegmentKey(self.model, self.label, self.onset_sample)

    @property
    def duration_s(self) -> float | None:
        """From onset to offset; None while the sound goes on."""
        if self.offset_sample is None:
            return None
        return to_seconds(self.offset_sample - self.onset_sample)
