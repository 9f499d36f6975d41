"""Makes the bundle `sounds` from the recordings: `python -m export.train --data DIR --out DIR`."""

import argparse
import json
from pathlib import Path

from export.train.data.recordings import label_slugs, rendered_music, training_rows
from export.train.fit.recipe import train
from export.train.fit.trainer import Plan
from export.train.network.yamnet import read_weights
from export.train.release.bundle import fuse, release


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    parser.add_argument("--music", type=Path, help="what export.train.data.music rendered")
    parser.add_argument("--out", type=Path, help="the bundle's folder; without it, train alone")
    parser.add_argument(
        "--work", type=Path, default=Path("build/train"), help="caches and checkpoint"
    )
    parser.add_argument("--steps", type=int, default=Plan.steps)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    slugs = label_slugs(options.data)
    rows = training_rows(options.data) + rendered_music(options.music)
    sounds, view = train(rows, slugs, options.work, options.yamnet, Plan(steps=options.steps))
    if options.out:
        model = fuse(sounds, view, read_weights(options.yamnet), options.data)
        spec = release(model, options.data, options.music, options.out, options.work)
        print(json.dumps({"metrics": spec.metrics, "parity": spec.parity}, indent=2))


if __name__ == "__main__":
    main()
