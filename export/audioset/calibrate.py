"""Thresholds for the labels that are enabled, from recordings in which they are not heard.

Those recordings train nothing that ships: the rows of `rooms` under GPL and CC BY-SA, as recorded
and quieter, and the clips of folds 1 to 4 of ESC-50. A label's onset threshold is the lowest at
which it starts no more often than ALLOWED an hour in either where it is not heard; the offset
threshold is half of it. All other labels get the middle of what these got.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from detector.records import FloatArray
from detector.spec import Label
from export.train.data import HELD_OUT, esc50, read

ALLOWED: Final[Mapping[str, float]] = {"rooms": 0.3, "esc50": 3.0}
"""False starts an hour of one label, in each collection: ESC-50 is one near miss after another."""
QUIETER_DB: Final = (0.0, 12.0, 24.0)
GRID: Final = tuple(step / 20 for step in range(6, 20))
"""Onset thresholds: below the lowest, recordings of other rooms than these would decide."""
OFFSET_PART: Final = 0.5
PAUSE: Final = 3
"""Windows below the offset threshold that end an event."""

MAY_BE_HEARD: Final[Mapping[str, frozenset[str]]] = {
    "baby_cry_infant_cry": frozenset({"crying_baby"}),
    "bark": frozenset({"dog"}),
    "car_alarm": frozenset({"siren", "car_horn", "clock_alarm"}),
    "cat": frozenset({"cat"}),
    "cough": frozenset({"coughing", "sneezing", "voices"}),
    "doorbell": frozenset({"music"}),
    "fire_alarm": frozenset({"siren", "clock_alarm"}),
    "glass": frozenset({"glass_breaking", "drinking_sipping", "water_drops", "music"}),
    "gunshot_gunfire": frozenset({"fireworks", "thunderstorm"}),
    "knock": frozenset({"door_wood_knock"}),
    "music": frozenset({"music", "voices", "church_bells", "clock_alarm"}),
    "screaming": frozenset({"voices", "crying_baby"}),
    "siren": frozenset({"siren"}),
    "snoring": frozenset({"snoring"}),
    "speech": frozenset(
        {
            *("speech", "laughing", "voices", "crying_baby", "clapping"),
            *("coughing", "sneezing", "cow", "pig"),  # people talk there
        }
    ),
    "yell": frozenset({"voices", "crying_baby", "laughing"}),
}
"""Kinds of recordings, and what they may hold, in which a label may truly be heard."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, and what may be heard in it."""

    path: Path
    collection: str
    """One of ALLOWED."""
    holds: frozenset[str]


def recordings(data: Path) -> Iterator[Recording]:
    """The recordings that choose thresholds."""
    for row in _table(data / "rooms" / "recordings.csv"):
        if "GPL" in row["licence"] or "-SA-" in row["licence"]:
            holds = frozenset({row["kind"], *row["may_hold"].split()})
            yield Recording(data / "rooms" / row["filename"], "rooms", holds)
    for clip in esc50(data):
        if clip.fold != HELD_OUT:
            yield Recording(clip.path, "esc50", frozenset(clip.labels))


def hear(recording: Recording) -> Iterator[FloatArray]:
    """The recording at each loudness, (n,) float32."""
    samples = read(recording.path)
    for quieter in QUIETER_DB if recording.collection == "rooms" else QUIETER_DB[:1]:
        yield np.asarray(samples * 10 ** (-quieter / 20), np.float32)


def calibrated(
    labels: Sequence[Label],
    heard: Iterable[tuple[Recording, FloatArray]],
    hop_s: float,
) -> tuple[Label, ...]:
    """The labels with thresholds.

    Args:
        labels: in the order of the scores.
        heard: recordings with (windows, labels) float32, as `LabelTree` leaves the scores.
        hop_s: seconds from a window to the next.
    """
    known = list(heard)
    chosen = {}
    for place, label in enumerate(labels):
        if label.enabled:
            free = {
                collection: [
                    scores[:, place]
                    for recording, scores in known
                    if recording.collection == collection
                    and not recording.holds & MAY_BE_HEARD[label.slug]
                ]
                for collection in ALLOWED
            }
            chosen[label.slug] = max(
                _lowest(scores, ALLOWED[collection], hop_s) for collection, scores in free.items()
            )
    middle = median(chosen.values())
    return tuple(
        label.model_copy(
            update={
                "onset_threshold": (onset := round(chosen.get(label.slug, middle), 2)),
                "offset_threshold": round(onset * OFFSET_PART, 3),
            }
        )
        for label in labels
    )


def _lowest(free: Sequence[FloatArray], allowed: float, hop_s: float) -> float:
    """The lowest threshold with few enough starts an hour in recordings without the label."""
    hours = sum(len(scores) for scores in free) * hop_s / 3600
    for onset in GRID:
        if sum(starts(scores, onset) for scores in free) <= allowed * hours:
            return onset
    return GRID[-1]


def starts(scores: FloatArray, onset: float) -> int:
    """How many events begin in the scores, (windows,), of a label with this onset threshold."""
    count, below = 0, PAUSE
    for score in scores:
        if score >= onset and below >= PAUSE:
            count, below = count + 1, 0
        elif score < onset * OFFSET_PART:
            below += 1
        elif below < PAUSE:
            below = 0
    return count


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
