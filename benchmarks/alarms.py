"""Does the rhythm of a smoke alarm tell it from all that beeps?

    python benchmarks/alarms.py --data DIR [--bundle NAME|DIR] [--alarms N]

Synthesised T3 alarms, of other seeds than those that trained, in a room (RT60 0.5 s) 10 dB above
speech that did not train, go through the built-in model and the pattern `t3` over its label `beep`;
so do the clips of ESC-50's fold 5 labelled clock_alarm, and the speech alone. Beside the pattern
stands the label `smoke_alarm`, which the model gives by itself.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import conditions as made
import numpy as np
from report import report

from detector.config import ModelSettings, RepetitionSettings
from detector.loading import Model, load_model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Scores, Window
from export.train.alarms import SHIFT, smoke
from export.train.data import SMOKE, read, speech
from export.train.evaluate import held_out

RULE = "t3"
WITHIN_S = 5.0
SEED = 7_000_000
BLOCK = SAMPLE_RATE // 10


class Told(NamedTuple):
    label: str
    at_s: float
    """How much had been heard when it was told."""


def told(model: Model, samples: FloatArray) -> Iterator[Told]:
    """What begins, when one second of quiet follows the recording."""
    now = 0

    def score(_: int, window: Window) -> Scores:
        nonlocal now
        now = window.end_sample
        return model.session.score([window])[0]

    quiet = 1e-4 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    samples = np.concatenate((samples, quiet.astype(np.float32)))
    blocks = (AudioBlock(i, samples[i : i + BLOCK]) for i in range(0, len(samples), BLOCK))
    rule = RepetitionSettings.model_validate(
        {"kind": "repetition", "label": "beep", "rhythm": "t3"}
    )
    for event in replay(Pipeline([model.listener], patterns={RULE: rule}), blocks, score):
        if event.type == "start":
            yield Told(event.label, now / SAMPLE_RATE)


def alarm_over_speech(seed: int, talk: FloatArray) -> tuple[FloatArray, float]:
    """An alarm in a room, 10 dB above speech, and the second of its first beep."""
    rng = np.random.default_rng(seed)
    alarm = smoke(rng, 12.0)
    heard = made.in_room(alarm.samples, rng, 0.5)
    return made.with_background(heard, talk, rng, 10), int(
        np.argmax(alarm.on)
    ) * SHIFT / SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--alarms", type=int, default=50)
    options = parser.parse_args()
    model = load_model("sounds", ModelSettings(bundle=options.bundle, provider="cpu"), None)
    talk = np.concatenate([read(row.path) for row in speech(options.data)[1::2]])
    delays: dict[str, list[float]] = {RULE: [], SMOKE: []}
    for number in range(options.alarms):
        samples, first_s = alarm_over_speech(SEED + number, talk)
        for label in delays:
            times = [one.at_s - first_s for one in told(model, samples) if one.label == label]
            delays[label] += [time for time in times if time >= 0][:1]
    clocks = [clip for clip in held_out(options.data) if clip.labels == ("clock_alarm",)]
    mistaken = [one.label for clip in clocks for one in told(model, read(clip.path))]
    talking = [one.label for one in told(model, talk)]
    rows: list[tuple[str, float, str, str]] = []
    for label, found in delays.items():
        soon = sum(delay <= WITHIN_S for delay in found)
        rows += [
            (f"{label}: found within 5 s", 100 * soon / options.alarms, "%", ""),
            (f"{label}: found", 100 * len(found) / options.alarms, "%", ""),
            (f"{label}: median delay", float(np.median(found or [np.inf])), "s", "<= 5"),
            (f"{label}: in {len(clocks)} clock alarms", mistaken.count(label), "events", "0"),
            (f"{label}: in {len(talk) / SAMPLE_RATE / 60:.1f} minutes of speech",
             talking.count(label), "events", "0"),
        ]  # fmt: skip
    report("alarms", "python benchmarks/alarms.py --data DIR", rows)


if __name__ == "__main__":
    main()
