"""What is heard that is not there: events of unexpected labels, an hour, at default thresholds.

    python benchmarks/false_alarms.py --data DIR [--bundle NAME|DIR] [--clips N]

The recordings trained nothing: every second utterance, one after the other with pauses of a quiet
room, and every second background. They go through the whole pipeline as the service runs it.
Speech is expected where people speak, and in each background what MAY_HOLD in export/train/data.py
says; an event of any other label is a false alarm, each event for itself.

That is minutes, not hours. So the same recordings are heard again 10 and 20 dB quieter and in two
synthetic rooms (conditions.py). With these, the figures are called extended: it is more time, but
no other sounds.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import conditions as made
import numpy as np
from report import report

from detector.loading import LoadedModel, load_model
from detector.records import SAMPLE_RATE, FloatArray
from detector.settings.models import ModelSettings
from export.train.data import SPEECH, backgrounds, read, speech
from export.train.evaluate import LEAD, heard

PAUSES_S = (0.5, 1.5)
"""Between two utterances, drawn at random."""


@dataclass(frozen=True)
class Stream:
    name: str
    samples: FloatArray
    expected: frozenset[str]
    """Labels whose events are no false alarms."""


def recorded(data: Path, clips: int | None) -> Iterator[Stream]:
    rng = np.random.default_rng(0)
    talk: list[FloatArray] = []
    for row in speech(data)[1::2][:clips]:
        pause = LEAD[: round(rng.uniform(*PAUSES_S) * SAMPLE_RATE)]
        talk += [read(row.path), pause]
    yield Stream("speech", np.concatenate(talk), frozenset({SPEECH}))
    for row in backgrounds(data)[1::2]:
        yield Stream(row.path.stem, read(row.path), frozenset(row.unknown))


def again(stream: Stream) -> Iterator[tuple[str, Stream]]:
    """The same recording, quieter and in rooms."""

    def in_room(rt60_s: float) -> FloatArray:
        return made.in_room(stream.samples, np.random.default_rng(round(100 * rt60_s)), rt60_s)

    ways: dict[str, Callable[[], FloatArray]] = {
        "10 dB quieter": lambda: made.quieter(stream.samples, 10),
        "20 dB quieter": lambda: made.quieter(stream.samples, 20),
        "RT60 0.3 s": lambda: in_room(0.3),
        "RT60 0.8 s": lambda: in_room(0.8),
    }
    for way, samples in ways.items():
        yield way, Stream(stream.name, samples(), stream.expected)


def false_alarms(model: LoadedModel, stream: Stream) -> Counter[str]:
    """How many events of each label that is not expected."""
    return Counter(
        event.label
        for event, _ in heard(model, stream.samples)
        if event.type == "start" and event.label not in stream.expected
    )


class Tally:
    """False alarms over some time."""

    def __init__(self) -> None:
        self.hours = 0.0
        self.alarms: Counter[str] = Counter()

    def add(self, stream: Stream, alarms: Counter[str]) -> None:
        self.hours += len(stream.samples) / SAMPLE_RATE / 3600
        self.alarms += alarms

    def rows(self, what: str, *, by_label: bool) -> Iterator[tuple[str, float, str, str]]:
        yield f"{what}: time", 60 * self.hours, "minutes", ""
        yield f"{what}: false alarms an hour", self.alarms.total() / self.hours, "/h", ""
        for label, count in self.alarms.most_common() if by_label else ():
            yield f"{what}: {label}", count, "events", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--clips", type=int, help="only so many utterances")
    options = parser.parse_args()
    model = load_model("sounds", ModelSettings(bundle=options.bundle, provider="cpu"), None)
    plain, extended, ways = Tally(), Tally(), defaultdict[str, Tally](Tally)
    streams = defaultdict[str, Tally](Tally)
    for stream in recorded(options.data, options.clips):
        alarms = false_alarms(model, stream)
        for tally in (plain, streams[stream.name], extended):
            tally.add(stream, alarms)
        for way, version in again(stream):
            alarms = false_alarms(model, version)
            for tally in (extended, ways[way]):
                tally.add(version, alarms)
    rows = [*plain.rows("as recorded", by_label=False)]
    for name, tally in streams.items():
        rows += tally.rows(name, by_label=True)
    rows += extended.rows("extended", by_label=True)
    for way, tally in ways.items():
        rows += tally.rows(f"extended, {way}", by_label=False)
    command = "python benchmarks/false_alarms.py --data DIR"
    command += f" --clips {options.clips}" if options.clips else ""
    report("false_alarms", command, rows)


if __name__ == "__main__":
    main()
