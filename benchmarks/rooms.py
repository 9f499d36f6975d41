"""What it says in rooms, beside YAMNet: false starts an hour, and how many single sounds are heard.

    python benchmarks/rooms.py --data DIR --yamnet FILE [--bundle NAME|DIR]

The recordings of DIR/rooms trained and tuned nothing of `sounds`: music, voices and rooms, in which
a start of a label that they cannot hold is a false one; and single sounds, each of which is heard
if a label that it holds starts. Each comes after three seconds of a quiet room, through the whole
pipeline at the bundle's defaults. YAMNet is counted as Frigate would: a label whose score reaches
the threshold, once in an excerpt of at most half a minute, in windows that overlap by half.

The curves have one threshold for all labels, the lowest that keeps the false starts: for both
chosen on what is counted, so both are flattered alike.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import report
from yamnet import HALF, LABELS, Yamnet, label_scores

from detector.csv_table import read_csv
from detector.events.scores.steps import Step
from detector.loading import LoadedModel, load_model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Scores, Window, to_seconds
from detector.settings.models import ModelSettings
from export.train.data import read

COLUMNS = ("filename", "kind", "may_hold")
POSITIVES = "positives"
THRESHOLDS = (0.3, 0.5, 0.8)
"""Of YAMNet; the last is what Frigate sets."""
RATES = (1, 5, 10, 20, 50)
"""False starts an hour."""
LEAD = 3 * SAMPLE_RATE
LEAD_LEVEL = 1e-3
"""The quiet room's noise: -60 dBFS."""

Figures = Iterator[tuple[str, float, str, str]]


@dataclass(frozen=True)
class Excerpt:
    kind: str
    may_hold: frozenset[str]
    seconds: float
    starts: Sequence[str]
    """Labels of ours that started at the defaults, once for each start."""
    ours: dict[str, float]
    """By label, the highest score that decides events."""
    theirs: dict[str, float]
    """Of YAMNet's best window."""


def listen(model: LoadedModel, samples: FloatArray) -> tuple[list[str], dict[str, float]]:
    """What starts in an excerpt, and the highest scores."""
    rng = np.random.default_rng(5)
    lead = (LEAD_LEVEL * rng.standard_normal(LEAD)).astype(np.float32)
    spec = model.configured.spec
    peaks = np.zeros(len(spec.labels), np.float32)

    def watch(_: str, step: Step) -> None:
        if step.end_sample > LEAD:
            np.maximum(peaks, step.scores, out=peaks)

    def score(_: str, window: Window) -> Scores:
        return model.session.score([window])[0]

    sound = np.concatenate((lead, samples, lead[: SAMPLE_RATE // 2]))
    events = replay(Pipeline([model.configured], watch), [AudioBlock(0, sound)], score)
    starts = [event.label for event in events if event.type == "start"]
    enabled = set(model.configured.labels)
    named = zip(spec.labels, peaks.tolist(), strict=True)
    return starts, {label.slug: peak for label, peak in named if label.slug in enabled}


def excerpts(data: Path, model: LoadedModel, yamnet: Yamnet) -> Iterator[Excerpt]:
    for row in read_csv(data / "rooms" / "recordings.csv", COLUMNS):
        samples = read(data / "rooms" / row["filename"])
        starts, ours = listen(model, samples)
        scores = label_scores(yamnet.scores(samples, HALF)).max(axis=0)
        theirs = dict(zip(LABELS, scores.tolist(), strict=True))
        may_hold = frozenset(row["may_hold"].split())
        length = to_seconds(len(samples))
        yield Excerpt(row["kind"], may_hold, length, starts, ours, theirs)


def reached(peaks: dict[str, float], threshold: float) -> list[str]:
    return [label for label, peak in peaks.items() if peak >= threshold]


def false_starts(found: Sequence[Excerpt], started: Sequence[Sequence[str]]) -> int:
    """How many starts of labels that the negatives among the excerpts cannot hold."""
    return sum(
        label not in excerpt.may_hold
        for excerpt, labels in zip(found, started, strict=True)
        for label in labels
        if excerpt.kind != POSITIVES
    )


def heard(found: Sequence[Excerpt], started: Sequence[Sequence[str]]) -> int:
    """How many single sounds have a start of a label that they hold."""
    return sum(
        any(label in excerpt.may_hold for label in labels)
        for excerpt, labels in zip(found, started, strict=True)
        if excerpt.kind == POSITIVES
    )


def figures(found: Sequence[Excerpt]) -> Figures:
    hours = sum(e.seconds for e in found if e.kind != POSITIVES) / 3600
    known = set(LABELS)
    singles = sum(bool(e.may_hold & known) for e in found if e.kind == POSITIVES)
    yield "negatives", 60 * hours, "minutes", ""
    yield "single sounds with a label", singles, "excerpts", ""
    defaults = [e.starts for e in found]
    ways: dict[str, Sequence[Sequence[str]]] = {"ours at the defaults": defaults}
    ways |= {f"YAMNet at {t}": [reached(e.theirs, t) for e in found] for t in THRESHOLDS}
    for what, started in ways.items():
        target = "<= 5" if started is defaults else ""
        yield f"{what}: false starts an hour", false_starts(found, started) / hours, "/h", target
        yield f"{what}: heard", heard(found, started), "excerpts", ""
    for kind in sorted({e.kind for e in found} - {POSITIVES}):
        own = [e for e in found if e.kind == kind]
        rate = false_starts(own, [e.starts for e in own]) / sum(e.seconds for e in own) * 3600
        yield f"ours at the defaults, {kind}: false starts an hour", rate, "/h", ""
    for who in ("ours", "theirs"):
        for rate in RATES:
            started = least(found, who, rate * hours)
            name = "ours" if who == "ours" else "YAMNet"
            yield f"{name} at {rate} false starts an hour: heard", heard(found, started), "", ""


def least(found: Sequence[Excerpt], who: str, most: float) -> list[list[str]]:
    """What starts at the lowest threshold with at most so many false starts."""
    peaks: list[dict[str, float]] = [getattr(e, who) for e in found]
    wrong = sorted(
        (
            peak
            for excerpt, own in zip(found, peaks, strict=True)
            for label, peak in own.items()
            if excerpt.kind != POSITIVES and label not in excerpt.may_hold
        ),
        reverse=True,
    )
    first_too_many = wrong[int(most)]
    return [reached(own, np.nextafter(first_too_many, 2)) for own in peaks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    options = parser.parse_args()
    model = load_model("sounds", ModelSettings(bundle=options.bundle, provider="cpu"), None)
    found = list(excerpts(options.data, model, Yamnet(options.yamnet)))
    command = "python benchmarks/rooms.py --data DIR --yamnet FILE"
    report("rooms", command, list(figures(found)))


if __name__ == "__main__":
    main()
