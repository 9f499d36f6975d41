"""The recordings: which of them may train, and their mel energies, computed once."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from detector.csv_table import read_csv
from detector.errors import AudioFileError
from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Fbank

FBANK = Fbank()
HELD_OUT = 5
"""The fold of ESC-50 that trains nothing, selects nothing and tunes nothing."""
FREE = "CC0/CC-BY"
CLIP_COLUMNS = ("filename", "category", "src_freesound", "licence_group", "fold")
"""Of ESC-50's table."""
SPEECH, MUSIC = "speech", "music"
SMOKE, MONOXIDE, BEEP = "smoke_alarm", "co_alarm", "beep"
SPEEDS = (0.84, 0.92, 1.0, 1.09, 1.19)
"""How fast each recording is heard in training; pitch follows, as of a smaller or larger thing."""

POSITIVES = "positives"
"""The kind of excerpts that hold one sound each."""

MAY_HOLD: dict[str, tuple[str, ...]] = {
    "boat": ("engine", "sea_waves", "wind", "helicopter", "airplane", "train", "water_drops"),
    "doing_the_dishes": ("water_drops", "pouring_water", "glass_breaking", "can_opening",
                         "drinking_sipping", "door_wood_knock"),
    "exercise_bike": ("washing_machine", "engine", "train", "hand_saw", "vacuum_cleaner"),
    "pink_noise": ("rain", "wind", "sea_waves", "airplane", "vacuum_cleaner"),
    "running_tap": ("pouring_water", "water_drops", "rain", "toilet_flush", "vacuum_cleaner"),
    "summer_night": ("crickets", "insects", "frog", "chirping_birds"),
    "city": ("engine", "car_horn", "siren", "train", "footsteps", SPEECH),
    "wind": ("wind", "sea_waves", "airplane"),
}  # fmt: skip
"""Labels that a background may well hold: it is a negative for all the others alone."""


@dataclass(frozen=True)
class Row:
    """One recording and what is known of it."""

    path: Path
    labels: tuple[str, ...]
    """Empty for a background."""
    source: str
    """What it is attributed to: a Freesound sound, or the collection's name."""
    licence: str
    fold: int = 0
    """0 outside ESC-50."""
    unknown: tuple[str, ...] = ()
    """Labels of which it is not known whether they are heard."""
    kind: str = ""
    """Of an excerpt of `rooms`: music, voices, ambience or positives."""


def esc50(data: Path) -> list[Row]:
    """All 2000 clips."""
    return [
        Row(
            data / "esc50" / "audio" / row["filename"],
            (row["category"],),
            row["src_freesound"],
            row["licence_group"],
            int(row["fold"]),
        )
        for row in read_csv(data / "esc50" / "esc50.csv", CLIP_COLUMNS)
    ]


def speech(data: Path) -> list[Row]:
    """All utterances, in the order of their names."""
    table = read_csv(data / "speech" / "speech.csv", ("filename", "source", "licence"))
    rows = sorted(table, key=lambda row: row["filename"])
    return [
        Row(data / "speech" / "audio" / row["filename"], (SPEECH,), row["source"], row["licence"])
        for row in rows
    ]


def backgrounds(data: Path) -> list[Row]:
    """All backgrounds, in the order of their names."""
    table = read_csv(data / "background" / "background.csv", ("filename", "licence"))
    rows = sorted(table, key=lambda row: row["filename"])
    return [
        Row(
            data / "background" / "audio" / row["filename"],
            (),
            "background",
            row["licence"],
            unknown=MAY_HOLD.get(Path(row["filename"]).stem, ()),
        )
        for row in rows
    ]


def rooms(data: Path) -> list[Row]:
    """All excerpts of music, voices and rooms, and single sounds, in the order of the table.

    Music carries its label. What else an excerpt may hold is unknown: nobody listened.
    """
    columns = ("filename", "kind", "may_hold", "source", "licence")
    return [
        Row(
            data / "rooms" / row["filename"],
            (MUSIC,) if row["kind"] == MUSIC else (),
            row["source"],
            row["licence"],
            unknown=(*row["may_hold"].split(), *((MUSIC,) if row["kind"] == "voices" else ())),
            kind=row["kind"],
        )
        for row in read_csv(data / "rooms" / "recordings.csv", columns)
    ]


def permissive(licence: str) -> bool:
    """Whether what was made under it may train a model that ships under another licence."""
    return not any(part in licence for part in ("GPL", "-SA", "-NC"))


def free_rooms(data: Path) -> list[Row]:
    """The excerpts of rooms that may train; single sounds never do."""
    return [row for row in rooms(data) if row.kind != POSITIVES and permissive(row.licence)]


def counted_rooms(data: Path) -> list[Row]:
    """The excerpts that train nothing: single sounds, and all that is not permissive."""
    return [row for row in rooms(data) if row.kind == POSITIVES or not permissive(row.licence)]


def label_slugs(data: Path) -> tuple[str, ...]:
    """The categories of ESC-50 in the order of their targets, then speech, alarms and beeps."""
    table = read_csv(data / "esc50" / "esc50.csv", ("target", "category"))
    categories = {int(row["target"]): row["category"] for row in table}
    return (*(categories[target] for target in sorted(categories)), SPEECH, SMOKE, MONOXIDE, BEEP)


def training_rows(data: Path, held_out: int = HELD_OUT, *, ships: bool = True) -> list[Row]:
    """What trains: clips of all folds but one, none of whose sources occurs in that one.

    Besides, every second utterance and background; the others measure false alarms.

    Args:
        data: folder of the recordings.
        held_out: the fold that trains nothing.
        ships: only free clips, as a model that is given to others needs.
    """
    clips = esc50(data)
    elsewhere = {clip.source for clip in clips if clip.fold == held_out}
    kept = [
        clip
        for clip in clips
        if clip.fold != held_out
        and clip.source not in elsewhere
        and (clip.licence == FREE or not ships)
    ]
    return kept + speech(data)[::2] + backgrounds(data)[::2]


def read(path: Path) -> FloatArray:
    """The samples of a recording: (n,) float32, mono, 16 kHz.

    Raises:
        AudioFileError: it cannot be read, or has another rate or more channels.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (OSError, RuntimeError) as error:
        raise AudioFileError(f"{path}: {error}") from error
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise AudioFileError(f"{path}: must be mono at {SAMPLE_RATE} Hz")
    heard: FloatArray = samples
    return heard


def power_mel(samples: FloatArray) -> FloatArray:
    """Mel energies before the logarithm, (t, mel_bins) float32, as the detector computes them.

    Digital silence is zero, not the floor of the logarithm.
    """
    log_mel = LogMel(FBANK, SAMPLE_RATE).push(samples).astype(np.float64)
    power = np.exp(log_mel * (2 * FBANK.std) + FBANK.mean) - FBANK.log_floor
    return np.maximum(power, 0).astype(np.float32)


def cached_power(rows: Iterable[Row], cache: Path) -> Iterator[tuple[FloatArray, ...]]:
    """The mel energies of each row at each of SPEEDS, from the folder `cache` if they are there."""
    cache.mkdir(parents=True, exist_ok=True)
    for row in rows:
        key = f"{FBANK.model_dump_json()} {SPEEDS} {row.path.name}"
        file = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
        if not file.exists():
            samples = read(row.path)
            part = file.with_suffix(".part.npz")
            np.savez(part, *(power_mel(at_speed(samples, speed)) for speed in SPEEDS))
            part.rename(file)
        with np.load(file) as powers:
            yield tuple(powers[f"arr_{i}"] for i in range(len(SPEEDS)))


def at_speed(samples: FloatArray, speed: float) -> FloatArray:
    """The recording played `speed` times as fast."""
    if speed == 1:
        return samples
    played: FloatArray = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE)
    return played
