"""What the built-in model costs for a second of sound, beside YAMNet, and what int8 would lose.

    python benchmarks/built_in.py --data DIR --yamnet FILE [--bundle NAME|DIR] [--int8]

Recordings that did not train, one after the other, go in blocks of 0.1 s through the whole
pipeline (features, model, segments) at a hop of 1 s; the same samples go through YAMNet in windows
of 0.975 s without overlap, as Frigate runs it. Both have one thread, and take turns. What counts is
the processor time of the whole process.

With --int8, the model is converted on the fly: matrix products at scales found as they run, and
convolutions too at scales that training recordings gave. Beside its time stands how many clips of
ESC-50's fold 5 each precision names right.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from report import report
from yamnet import WINDOW, Yamnet

from detector.configured_model import ConfiguredModel
from detector.features.fbank import LogMel
from detector.inference.bundle import Bundle, load_bundle
from detector.inference.session import Session
from detector.loading import LoadedModel
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Window
from detector.settings.models import ModelSettings
from export.train.data import FBANK, read, training_rows
from export.train.evaluate import best, categories, held_out, window

BLOCK = SAMPLE_RATE // 10
"""Samples: what a microphone delivers at once."""
ALONE = 60
"""How often one window is timed."""
CALIBRATION = 200
"""Training recordings that give the scales of int8."""


def sound(data: Path, seconds: float) -> FloatArray:
    """(n,): clips of the held-out fold, of all categories."""
    clips = held_out(data)
    count = min(len(clips), int(seconds / 5) or 1)
    return np.concatenate([read(clips[i * len(clips) // count].path) for i in range(count)])


def first_window(path: Path) -> FloatArray:
    return window(LogMel(FBANK, SAMPLE_RATE).push(read(path)))


def precisions(bundle: Bundle, data: Path, folder: Path) -> dict[str, Bundle]:
    """The bundle, and copies of it in int8."""
    from export.graphs.int8 import to_static_int8
    from export.graphs.precision import to_precision

    rows = training_rows(data)
    chosen = rows[:: max(1, len(rows) // CALIBRATION)]
    windows = np.stack([first_window(row.path) for row in chosen])
    found = {"fp32": bundle}
    for name in ("int8 dynamic", "int8 static"):
        file = folder / f"{name}.onnx"
        shutil.copyfile(bundle.model_file, file)
        if name == "int8 static":
            to_static_int8(file, windows)
        else:
            to_precision(file, "int8", layers=0)
        onnx = bundle.spec.onnx.model_copy(update={"file": file.name})
        found[name] = Bundle(folder, bundle.spec.model_copy(update={"onnx": onnx}))
    return found


def listening(bundle: Bundle, hop_s: float) -> LoadedModel:
    settings = ModelSettings(bundle="sounds", provider="cpu", threads=1, hop_s=hop_s)
    return LoadedModel(
        ConfiguredModel("sounds", bundle.spec, settings), Session(bundle, "cpu", threads=1)
    )


def run(model: LoadedModel, samples: FloatArray) -> int:
    """Hear it all; how many events there are."""
    blocks = (AudioBlock(i, samples[i : i + BLOCK]) for i in range(0, len(samples), BLOCK))
    pipeline = Pipeline([model.configured])
    return sum(1 for _ in replay(pipeline, blocks, lambda _, w: model.session.score([w])[0]))


def cpu_s(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor time of each way, in turns, after one turn to warm up."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            before = time.process_time()
            way()
            if turn:
                spent[name].append(time.process_time() - before)
    return {name: statistics.median(all_) for name, all_ in spent.items()}


def top_one(model: LoadedModel, data: Path, clips: int | None) -> float:
    """Percent of the held-out clips that are named right, one window each."""
    slugs = [label.slug for label in model.configured.spec.labels]
    rows, among = held_out(data), categories(data)
    rows = rows[:: max(1, len(rows) // clips)] if clips else rows
    right = 0
    for row in rows:
        heard = Window(0, 0, 0, first_window(row.path), 0.0)
        clip = model.session.score([heard])[0].clip
        right += clip is not None and best(clip, slugs, among) == row.labels[0]
    return 100 * right / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--int8", action="store_true", help="also int8, which --bundle is not")
    parser.add_argument("--hop", type=float, default=1.0, help="seconds between windows")
    parser.add_argument("--seconds", type=float, default=300.0, help="of sound")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, help="only so many for the top-1")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    if options.int8 and bundle.spec.onnx.precision != "fp32":
        parser.error(f"--int8: {options.bundle} is {bundle.spec.onnx.precision} already")
    with tempfile.TemporaryDirectory() as folder:
        made = (
            precisions(bundle, options.data, Path(folder))
            if options.int8
            else {bundle.spec.onnx.precision: bundle}
        )
        models = {name: listening(one, options.hop) for name, one in made.items()}
    measure(models, Yamnet(options.yamnet), options)


def measure(models: Mapping[str, LoadedModel], yamnet: Yamnet, options: argparse.Namespace) -> None:
    samples = sound(options.data, options.seconds)
    seconds = len(samples) / SAMPLE_RATE
    heard = Window(0, 0, 0, first_window(held_out(options.data)[0].path), 0.0)
    spent = cpu_s(
        {name: partial(run, model, samples) for name, model in models.items()}
        | {"YAMNet": partial(yamnet.scores, samples)},
        options.rounds,
    )
    each = cpu_s(
        {name: partial(model.session.score, [heard]) for name, model in models.items()}
        | {"YAMNet": partial(yamnet.window, samples[:WINDOW])},
        ALONE,
    )
    theirs = 1e3 * spent["YAMNet"] / seconds
    right = {name: top_one(model, options.data, options.clips) for name, model in models.items()}
    rows = [
        ("sound", seconds, "s", ""),
        ("YAMNet: a window", 1e3 * each["YAMNet"], "CPU ms", ""),
        ("YAMNet: a second of sound", theirs, "CPU ms", ""),
    ]
    first = next(iter(right.values()))
    for name in models:
        ours = 1e3 * spent[name] / seconds
        rows += [
            (f"{name}: a window", 1e3 * each[name], "CPU ms", ""),
            (f"{name}: a second of sound", ours, "CPU ms", "<= 6"),
            (f"{name}: as much as YAMNet's", ours / theirs, "x", "<= 4"),
            (f"{name}: top-1 on fold 5", right[name], "%", ""),
        ]
        if len(models) > 1:
            lost = first - right[name]
            rows.append((f"{name}: loses", lost, "points", "<= 0.5"))
    command = "python benchmarks/built_in.py --data DIR --yamnet FILE"
    command += " --int8" if options.int8 else ""
    report("built_in", command, rows)


if __name__ == "__main__":
    main()
