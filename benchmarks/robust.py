"""How many sounds are still named right when they are heard in less than ideal conditions.

    python benchmarks/robust.py --data DIR --yamnet FILE [--bundle NAME|DIR] [--clips N]

Every clip of ESC-50's fold 5, which trains nothing, is heard clean and in each of the conditions of
conditions.py: one window of five seconds, and of the 50 categories the one with the highest score.
YAMNet hears the same samples in windows of 0.975 s that overlap by half; its best window counts,
and its classes become labels by the map that yamnet.py has. The backgrounds did not train either.
"""

import argparse
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import conditions as made
import numpy as np
from report import report
from yamnet import HALF, LABELS, Yamnet, label_scores

from detector.inference.bundle import load_bundle
from detector.records import FloatArray
from export.train.data import Row, backgrounds, read
from export.train.evaluate import Listener, best, categories, held_out

LIMIT = 10.0
"""Points that no condition may cost."""

Condition = Callable[[FloatArray, np.random.Generator], FloatArray]


def conditions(data: Path) -> dict[str, Condition]:
    under = [read(row.path) for row in backgrounds(data)[1::2]]
    return {
        "clean": lambda samples, _: samples,
        "low-passed at 3.4 kHz": lambda samples, _: made.low_passed(samples),
        "in a room, RT60 0.5 s": made.in_room,
        "background at 10 dB SNR": lambda samples, rng: made.with_background(
            samples, under[rng.integers(len(under))], rng
        ),
        "20 dB quieter": lambda samples, _: made.quieter(samples),
        "close and dry": lambda samples, _: made.close_and_dry(samples),
        "Opus at 16 kb/s": lambda samples, _: made.encoded(samples),
    }


def named_right(
    rows: Sequence[Row],
    conditions: Mapping[str, Condition],
    listeners: Sequence[Callable[[FloatArray], str]],
) -> dict[str, FloatArray]:
    """By condition (listeners,): the share of the recordings that each names right, in percent."""
    right = {name: np.zeros(len(listeners), np.float32) for name in conditions}
    for row in rows:
        samples = read(row.path)
        for name, condition in conditions.items():
            rng = np.random.default_rng(zlib.crc32(row.path.name.encode()))
            sound = condition(samples, rng)
            right[name] += [listener(sound) == row.labels[0] for listener in listeners]
    return {name: count * np.float32(100 / len(rows)) for name, count in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--clips", type=int, help="so many, evenly spread, instead of all")
    options = parser.parse_args()
    rows, among = held_out(options.data), categories(options.data)
    if options.clips:
        rows = rows[:: max(1, len(rows) // options.clips)]
    bundle, yamnet = load_bundle(options.bundle), Yamnet(options.yamnet)
    listener, slugs = Listener(bundle.model_file), [label.slug for label in bundle.spec.labels]

    def ours(samples: FloatArray) -> str:
        return best(listener.clip(samples), slugs, among)

    def theirs(samples: FloatArray) -> str:
        return best(label_scores(yamnet.scores(samples, HALF)).max(axis=0), LABELS, among)

    share = named_right(rows, conditions(options.data), (ours, theirs))
    clean = share["clean"]
    figures = [("clips", float(len(rows)), "", "")]
    for name, (here, there) in share.items():
        figures.append((f"{name}: {bundle.spec.id}", float(here), "%", ""))
        figures.append((f"{name}: YAMNet", float(there), "%", ""))
        if name != "clean":
            drops = clean - share[name]
            target = f"<= {LIMIT:.0f}"
            figures.append((f"{name}: {bundle.spec.id} loses", float(drops[0]), "points", target))
            figures.append((f"{name}: YAMNet loses", float(drops[1]), "points", ""))
    command = "python benchmarks/robust.py --data DIR --yamnet FILE"
    report("robust", command + (f" --clips {options.clips}" if options.clips else ""), figures)


if __name__ == "__main__":
    main()
