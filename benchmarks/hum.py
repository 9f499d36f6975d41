"""What taking out the hum of the mains is good for, and what it costs.

    python benchmarks/hum.py --data DIR [--bundle NAME|DIR] [--clips N]

Clips of ESC-50's fold 5, which trains nothing, are heard clean and with a square wave of 50.1 Hz
that is fainter than they are, as loud, or louder: as they come, with `mains_hz = 50`, and with
`highpass_hz = 100` instead. Of the 50 categories the one with the highest score counts.
"""

import argparse
import zlib
from pathlib import Path
from typing import Any

import conditions as made
import numpy as np
from report import report

from detector.capture.sound.conditioning import Conditioning
from detector.inference.bundle import load_bundle
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray
from export.train.data import read
from export.train.evaluate import Listener, best, categories, held_out

MAINS_HZ = 50.1
SOUNDS = {"clean": None, "hum 10 dB fainter": -10.0, "hum as loud": 0.0, "hum 10 dB louder": 10.0}
TREATMENTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "mains_hz = 50": {"mains_hz": 50},
    "highpass_hz = 100": {"highpass_hz": 100.0},
}


def with_hum(samples: FloatArray, decibels: float, rng: np.random.Generator) -> FloatArray:
    """Over hum that is so much louder than the clip is while it sounds."""
    times = np.arange(len(samples)) / SAMPLE_RATE + rng.random()
    hum = np.sign(np.sin(2 * np.pi * MAINS_HZ * times))
    amplitude = 10 ** (decibels / 20) * np.sqrt(made.loudness(samples))
    return np.asarray(samples + amplitude * hum, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--clips", type=int, default=200, help="so many, evenly spread")
    options = parser.parse_args()
    rows, among = held_out(options.data), categories(options.data)
    rows = rows[:: max(1, len(rows) // options.clips)]
    bundle = load_bundle(options.bundle)
    listener, slugs = Listener(bundle.model_file), [label.slug for label in bundle.spec.labels]
    right = {(sound, treatment): 0 for sound in SOUNDS for treatment in TREATMENTS}
    for row in rows:
        rng = np.random.default_rng(zlib.crc32(row.path.name.encode()))
        samples = read(row.path)
        for sound, decibels in SOUNDS.items():
            heard = samples if decibels is None else with_hum(samples, decibels, rng)
            for treatment, settings in TREATMENTS.items():
                treated = Conditioning(**settings).apply(AudioBlock(0, heard)).samples
                named = best(listener.clip(treated), slugs, among)
                right[sound, treatment] += named == row.labels[0]
    figures = [("clips", float(len(rows)), "", "")] + [
        (f"{sound}, {treatment}", 100 * count / len(rows), "%", "")
        for (sound, treatment), count in right.items()
    ]
    report("hum", f"python benchmarks/hum.py --data DIR --clips {options.clips}", figures)


if __name__ == "__main__":
    main()
