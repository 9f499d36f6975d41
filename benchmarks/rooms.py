"""What it says in rooms, beside YAMNet: false starts an hour, and how many sounds are heard.

    python benchmarks/rooms.py --data DIR --yamnet FILE [--bundle NAME|DIR]

Recordings of DIR/rooms that trained nothing: music, voices and rooms, in which a start of a label
that they cannot hold is a false one; and single sounds, each of which is heard if one of its labels
starts. Each comes after three seconds of a quiet room, through the whole pipeline.

At the defaults, every start counts. The bundle's thresholds were chosen on these same recordings,
so they are also chosen anew, in the same way, by the sources that are not counted ("thresholds
chosen by other sources"). The curves compare the two at the same rate of false starts,
with one threshold for all labels, by each label's highest score in a recording (half a minute at
most), as Frigate reports a label once in that time: of the bundle the score that decides events,
of YAMNet that of its best patch, every 0.48 s. The threshold is chosen for one fifth of the sources
on the other four, so that no recording is counted at a threshold that it chose; a package or a
repository is one source.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from report import report
from yamnet import HALF, Yamnet

from detector.loading import load_model
from detector.records import FloatArray
from detector.settings.models import ModelSettings
from export.train.data import POSITIVES, Row, counted_rooms, read
from export.train.fused.calibrate import (
    QUIETER_DB,
    Peaks,
    group,
    heard,
    listen,
    parts,
    thresholds,
)
from export.train.fused.classes import audioset_classes

RATES = (1, 5, 10, 20, 50)
"""False starts an hour."""
THRESHOLDS = (0.3, 0.5, 0.8)
"""Of YAMNet; the last is what Frigate sets."""
RESAMPLED = 2000
"""How often the sources are drawn again for a confidence interval."""

Bools = NDArray[np.bool_]
Figures = Iterator[tuple[str, float, str, str]]


@dataclass(frozen=True)
class Excerpts:
    """The recordings, row for row."""

    rows: Sequence[Row]
    hours: FloatArray
    slugs: Sequence[str]
    """The labels that count: those that the bundle has enabled."""
    known: Bools
    """(recordings, labels): whether a start would be a false one."""

    @property
    def negative(self) -> Bools:
        return np.array([row.kind != POSITIVES for row in self.rows])

    @property
    def positive(self) -> Bools:
        """Single sounds that have one of the labels."""
        return ~self.negative & ~self.known.all(axis=1)

    def false(self, started: Bools | NDArray[np.int64]) -> NDArray[np.int64]:
        """(recordings,): starts of labels that a recording cannot hold."""
        return np.asarray(np.where(self.known, started, 0).sum(axis=1) * self.negative, np.int64)

    def heard(self, started: Bools | NDArray[np.int64]) -> Bools:
        """(recordings,): whether one of its labels starts."""
        return (np.where(self.known, 0, started) > 0).any(axis=1) & self.positive

    def threshold(self, peaks: FloatArray, among: Bools, rate: float) -> float:
        """The lowest that makes at most `rate` false starts an hour of the recordings `among`."""
        scores = peaks[self.known & (self.negative & among)[:, None]]
        allowed = int(rate * self.hours[self.negative & among].sum())
        return float(np.sort(scores)[::-1][allowed])

    def cross_validated(self, peaks: FloatArray, rate: float) -> Bools:
        """(recordings, labels): what starts at thresholds that other sources chose."""
        started = np.zeros(peaks.shape, bool)
        for part in parts([group(row) for row in self.rows]):
            started[part] = peaks[part] > self.threshold(peaks, ~part, rate)
        return started

    def calibrated(self, peaks: FloatArray, tuning: Peaks) -> Bools:
        """(recordings, labels): what starts if other sources choose each label's threshold.

        Args:
            peaks: (recordings, labels).
            tuning: of the negative recordings, in their order, and the same labels.
        """
        started = np.zeros(peaks.shape, bool)
        for part in parts([group(row) for row in self.rows]):
            started[part] = peaks[part] >= thresholds(tuning.where(~part[self.negative]))
        return started


def intervals(excerpts: Excerpts, started: Bools | NDArray[np.int64]) -> dict[str, FloatArray]:
    """95 % of what other draws of the sources give: false starts an hour, and sounds heard."""
    groups = np.array([group(row) for row in excerpts.rows])
    names = sorted(set(groups))
    false, heard = excerpts.false(started), excerpts.heard(started)
    hours = np.where(excerpts.negative, excerpts.hours, 0)
    table = np.array(
        [
            [x[groups == name].sum() for x in (false, hours, heard, excerpts.positive)]
            for name in names
        ]
    )
    rng = np.random.default_rng(1)
    drawn = table[rng.integers(len(names), size=(RESAMPLED, len(names)))].sum(axis=1)
    edges = (2.5, 97.5)
    return {
        "false": np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1e-3), edges),
        "heard": np.percentile(100 * drawn[:, 2] / np.maximum(drawn[:, 3], 1), edges),
    }


def figures(what: str, excerpts: Excerpts, started: Bools | NDArray[np.int64]) -> Figures:
    """False starts an hour and the share of the single sounds that are heard."""
    hours = excerpts.hours[excerpts.negative].sum()
    false, heard = excerpts.false(started).sum(), int(excerpts.heard(started).sum())
    between = intervals(excerpts, started)
    yield (
        f"{what}: false starts",
        false / hours,
        "/h",
        "({:.1f} to {:.1f})".format(*between["false"]),
    )
    total = int(excerpts.positive.sum())
    note = "({:.0f} to {:.0f} %)".format(*between["heard"])
    yield f"{what}: sounds heard of {total}", heard, "sounds", note


def by_kind(excerpts: Excerpts, starts: NDArray[np.int64]) -> Figures:
    """The false starts of the defaults, by kind of recording and by label."""
    false = excerpts.false(starts)
    for kind in ("music", "voices", "ambience"):
        these = np.array([row.kind == kind for row in excerpts.rows])
        yield f"defaults, {kind}", false[these].sum() / excerpts.hours[these].sum(), "/h", ""
    counts: Counter[str] = Counter()
    each = (starts * excerpts.known)[excerpts.negative].sum(axis=0)
    for slug, count in zip(excerpts.slugs, each, strict=True):
        counts[slug] += int(count)
    for slug, count in counts.most_common(8):
        if count:
            yield f"defaults, {slug}", count, "starts", ""


def yamnet_peaks(yamnet: Yamnet, samples: FloatArray, slugs: Sequence[str]) -> FloatArray:
    """(labels,): YAMNet's highest score of each label; 0 of those that it does not have."""
    best, classes = yamnet.scores(samples, HALF).max(axis=0), audioset_classes()
    return np.array([best[list(classes[s])].max() if s in classes else 0.0 for s in slugs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    options = parser.parse_args()
    model = load_model("sounds", ModelSettings(bundle=options.bundle, provider="cpu"), None)
    labels = model.configured.spec.labels
    enabled = np.array([label.enabled for label in labels])
    slugs = [label.slug for label in labels if label.enabled]
    yamnet, rows = Yamnet(options.yamnet), counted_rooms(options.data)
    starts, ours, theirs = [], [], []
    for row in rows:
        samples = read(row.path)
        started, peaks = listen(model, samples)
        starts.append([started.count(slug) for slug in slugs])
        ours.append(peaks[enabled])
        theirs.append(yamnet_peaks(yamnet, samples, slugs))
    known = np.array([[s not in (*row.labels, *row.unknown) for s in slugs] for row in rows])
    hours = np.array([soundfile.info(row.path).duration / 3600 for row in rows])
    excerpts = Excerpts(rows, hours, slugs, known)
    negative = excerpts.negative
    quieter = heard(model, [row for row in rows if row.kind != POSITIVES], QUIETER_DB[-1])
    tuning = Peaks(
        np.maximum(np.stack(ours)[negative], quieter.scores[:, enabled]),
        quieter.known[:, enabled],
        quieter.hours,
        quieter.groups,
    )
    print_figures(excerpts, np.array(starts), np.stack(ours), np.stack(theirs), tuning)


def print_figures(
    excerpts: Excerpts,
    starts: NDArray[np.int64],
    ours: FloatArray,
    theirs: FloatArray,
    tuning: Peaks,
) -> None:
    found = [*figures("defaults", excerpts, starts), *by_kind(excerpts, starts)]
    found += figures(
        "thresholds chosen by other sources", excerpts, excerpts.calibrated(ours, tuning)
    )
    for threshold in THRESHOLDS:
        found += figures(f"YAMNet at {threshold}", excerpts, theirs >= threshold)
    for rate in RATES:
        for name, scores in (("ours", ours), ("YAMNet", theirs)):
            started = excerpts.cross_validated(scores, rate)
            found += figures(f"{name} at {rate} an hour", excerpts, started)
    report("rooms", "python benchmarks/rooms.py --data DIR --yamnet FILE", found)


if __name__ == "__main__":
    main()
