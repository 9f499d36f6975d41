"""What the bundle `audioset` says of recordings that chose none of its thresholds, and its cost.

    python benchmarks/audioset.py --data DIR --yamnet FILE

False starts an hour of its enabled labels in the rows of `rooms` under permissive licences (those
under GPL and CC BY-SA chose the thresholds), where a label counts only where it cannot be heard;
how many clips of ESC-50's fold 5 it hears of the categories that are among its labels, beside
YAMNet's own file at the thresholds that Frigate's users set; and the processor time of a second of
sound, features, model and segments, in turns with YAMNet's own, which Frigate runs without overlap.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from built_in import cpu_s
from report import report

from detector.loading import LoadedModel, load_model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray
from detector.settings.models import ModelSettings
from export.audioset.calibrate import MAY_BE_HEARD
from export.train.data import HELD_OUT, esc50, read
from export.train.teacher import Yamnet

BLOCK = SAMPLE_RATE // 10
HEARD_IN = {
    "dog": "bark",
    "cat": "cat",
    "coughing": "cough",
    "crying_baby": "baby_cry_infant_cry",
    "door_wood_knock": "knock",
    "glass_breaking": "glass",
    "siren": "siren",
    "snoring": "snoring",
}
"""Categories of ESC-50 and the enabled labels that they are."""
FRIGATES = (0.3, 0.5, 0.8)


def starts(model: LoadedModel, samples: FloatArray) -> Counter[str]:
    blocks = (AudioBlock(i, samples[i : i + BLOCK]) for i in range(0, len(samples), BLOCK))
    events = replay(Pipeline([model.configured]), blocks, lambda _, w: model.session.score([w])[0])
    return Counter(event.label for event in events if event.type == "start")


def rooms(data: Path) -> Iterator[tuple[FloatArray, frozenset[str]]]:
    """Recordings that chose nothing, and what may be heard in each."""
    with (data / "rooms" / "recordings.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if "GPL" not in row["licence"] and "-SA-" not in row["licence"]:
                holds = frozenset({row["kind"], *row["may_hold"].split()})
                yield read(data / "rooms" / row["filename"]), holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    options = parser.parse_args()
    model = load_model("audioset", ModelSettings(bundle="audioset", provider="cpu"), None)
    yamnet = Yamnet(options.yamnet)

    hours, false = 0.0, Counter[str]()
    for samples, holds in rooms(options.data):
        hours += len(samples) / SAMPLE_RATE / 3600
        for label, count in starts(model, samples).items():
            if not holds & MAY_BE_HEARD[label]:
                false[label] += count
    rows = [
        ("rooms", 60 * hours, "minutes", ""),
        ("false starts an hour", false.total() / hours, "/h", ""),
        *((f"  {label}", float(count), "starts", "") for label, count in false.most_common()),
    ]

    places = {label.slug: place for place, label in enumerate(model.configured.spec.labels)}
    clips = [row for row in esc50(options.data) if row.fold == HELD_OUT]
    clips = [clip for clip in clips if clip.labels[0] in HEARD_IN]
    ours, theirs = 0, Counter[float]()
    for clip in clips:
        label, samples = HEARD_IN[clip.labels[0]], read(clip.path)
        ours += starts(model, samples)[label] > 0
        peak = yamnet.scores(samples)[:, places[label]].max()
        theirs.update(threshold for threshold in FRIGATES if peak >= threshold)
    rows.append((f"heard of {len(clips)} clips", 100 * ours / len(clips), "%", ""))
    rows += [
        (f"  by YAMNet's file at {threshold}", 100 * theirs[threshold] / len(clips), "%", "")
        for threshold in FRIGATES
    ]

    samples = read(clips[0].path)
    seconds = len(samples) / SAMPLE_RATE
    spent = cpu_s(
        {"audioset": partial(starts, model, samples), "YAMNet": partial(yamnet.scores, samples)},
        rounds=30,
    )
    rows += [
        (f"{name}: a second of sound", 1e3 * cost / seconds, "CPU ms", "")
        for name, cost in spent.items()
    ]
    report("audioset", "python benchmarks/audioset.py --data DIR --yamnet FILE", rows)


if __name__ == "__main__":
    main()
