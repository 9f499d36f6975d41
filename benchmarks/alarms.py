"""Does the rhythm of an alarm tell it from all that beeps?

    python benchmarks/alarms.py --data DIR [--bundle NAME|DIR] [--alarms N]

Synthesised alarms, of other seeds than those that trained, in a room (RT60 0.5 s) 10 dB above
speech that did not train, go through the built-in model and the patterns `t3` and `t4` over its
label `beep`. So do things that beep half a second on, half a second off and never pause, as a lorry
that backs, in the same room and over the same speech; the clips of ESC-50's fold 5 labelled
clock_alarm; and the speech alone. Beside the patterns stand the labels `smoke_alarm` (T3) and
`co_alarm` (T4), which the model gives by itself.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import conditions as made
import numpy as np
from report import report

from detector.loading import LoadedModel, load_model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Scores, Window
from detector.settings.models import ModelSettings
from detector.settings.patterns import RepetitionSettings
from export.train.alarms import SHIFT, Alarm, carbon_monoxide, smoke, steady
from export.train.data import MONOXIDE, SMOKE, read, speech
from export.train.evaluate import held_out

T3, T4 = "t3", "t4"
LABELS = (T3, SMOKE, T4, MONOXIDE)
WITHIN_S = 5.0
SEED = 7_000_000
LENGTH_S = 12.0
STEADY_S = 20.0
BLOCK = SAMPLE_RATE // 10

Synthesise = Callable[[np.random.Generator, float], Alarm]


class Told(NamedTuple):
    label: str
    at_s: float
    """How much had been heard when it was told."""


def told(model: LoadedModel, samples: FloatArray) -> Iterator[Told]:
    """What begins, when two seconds of quiet follow the recording."""
    now = 0

    def score(_: str, window: Window) -> Scores:
        nonlocal now
        now = window.end_sample
        return model.session.score([window])[0]

    quiet = 1e-4 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    samples = np.concatenate((samples, quiet.astype(np.float32)))
    blocks = (AudioBlock(i, samples[i : i + BLOCK]) for i in range(0, len(samples), BLOCK))
    rules = {
        rhythm: RepetitionSettings.model_validate(
            {"kind": "repetition", "label": "beep", "rhythm": rhythm}
        )
        for rhythm in (T3, T4)
    }
    for event in replay(Pipeline([model.configured], patterns=rules), blocks, score):
        if event.type == "start":
            yield Told(event.label, now / SAMPLE_RATE)


def over_speech(
    make: Synthesise, seed: int, talk: FloatArray, seconds: float = LENGTH_S
) -> tuple[FloatArray, float]:
    """What beeps in a room, 10 dB above speech, and the second of its first beep."""
    rng = np.random.default_rng(seed)
    alarm = make(rng, seconds)
    heard = made.in_room(alarm.samples, rng, 0.5)
    first = int(np.argmax(alarm.on)) * SHIFT
    return made.with_background(heard, talk, rng, 10), first / SAMPLE_RATE


class Heard:
    """What was told of recordings of one kind."""

    def __init__(self) -> None:
        self.recordings = 0
        self.events: Counter[str] = Counter()
        self.delays: dict[str, list[float]] = {label: [] for label in LABELS}
        """Seconds from the first beep, of each recording in which the label was told."""

    def add(self, model: LoadedModel, samples: FloatArray, first_s: float = 0.0) -> None:
        self.recordings += 1
        found = [one for one in told(model, samples) if one.label in LABELS]
        self.events.update(one.label for one in found)
        for label, delays in self.delays.items():
            times = [one.at_s - first_s for one in found if one.label == label]
            delays.extend([time for time in times if time >= 0][:1])

    def figures(self, label: str) -> Iterator[tuple[str, float, str, str]]:
        delays = self.delays[label]
        soon = sum(delay <= WITHIN_S for delay in delays)
        yield f"{label}: found within 5 s", 100 * soon / self.recordings, "%", ""
        yield f"{label}: found", 100 * len(delays) / self.recordings, "%", ""
        if delays:
            yield f"{label}: median delay", float(np.median(delays)), "s", "<= 5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--alarms", type=int, default=50)
    options = parser.parse_args()
    model = load_model("sounds", ModelSettings(bundle=options.bundle, provider="cpu"), None)
    talk = np.concatenate([read(row.path) for row in speech(options.data)[1::2]])
    smokes, monoxides, steadies, clocks, talking = (Heard() for _ in range(5))
    for seed in range(SEED, SEED + options.alarms):
        smokes.add(model, *over_speech(smoke, seed, talk))
        monoxides.add(model, *over_speech(carbon_monoxide, seed, talk))
        steadies.add(model, *over_speech(steady, seed, talk, STEADY_S))
    for clip in held_out(options.data):
        if clip.labels == ("clock_alarm",):
            clocks.add(model, read(clip.path))
    talking.add(model, talk)
    rows: list[tuple[str, float, str, str]] = []
    minutes = len(talk) / SAMPLE_RATE / 60
    for label in LABELS:
        rhythm, other = (smokes, monoxides) if label in (T3, SMOKE) else (monoxides, smokes)
        rows += rhythm.figures(label)
        for where, heard in (
            (f"{other.recordings} alarms of the other kind", other),
            (f"{steadies.recordings} steady beepers", steadies),
            (f"{clocks.recordings} clock alarms", clocks),
            (f"{minutes:.1f} minutes of speech", talking),
        ):
            rows.append((f"{label}: in {where}", heard.events[label], "events", "0"))
    report("alarms", "python benchmarks/alarms.py --data DIR", rows)


if __name__ == "__main__":
    main()
