"""A base for `heads.py` whose training left out five of the fifty sounds.

    python benchmarks/unheard_base.py --data DIR --yamnet FILE --out BUNDLE [--steps N] [--work DIR]

The recipe of the built-in model, shorter, without any recording of them. YAMNet, whose convolutions
it begins with, has heard their like in AudioSet. The bundle says in its metrics what was left out.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import torch
from heads import labels_for

from detector.spec import BundleSpec, Input, Label, Origin
from export.bundle import describe, write_bundle
from export.graphs.graph import export_graph
from export.train.data.augment import FRAMES
from export.train.data.log_mel import BINS
from export.train.data.recordings import label_slugs, training_rows
from export.train.fit.recipe import train
from export.train.fit.trainer import Plan
from export.train.network.sounds import Whole
from export.train.network.yamnet import read_weights
from export.train.release.bundle import FRONTEND, OUTPUTS, WINDOW


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--steps", type=int, default=900)
    options = parser.parse_args()
    left_out = labels_for(options.data, ())
    slugs = tuple(slug for slug in label_slugs(options.data) if slug not in left_out)
    rows = [row for row in training_rows(options.data) if not {*row.labels} & {*left_out}]
    options.work.mkdir(parents=True, exist_ok=True)
    sounds, _ = train(rows, slugs, options.work, options.yamnet, Plan(steps=options.steps))
    model = Whole(read_weights(options.yamnet), sounds)
    graph = options.work / "model.onnx"
    example = torch.zeros(2, FRAMES, BINS)
    export_graph(model, example, graph, outputs=("clip", "frames"))
    clips = sum(bool(row.fold) for row in rows)
    spec = BundleSpec(
        name=options.out.name,
        version="1",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        licence="Apache-2.0",
        attribution="trained for a benchmark on clips of ESC-50",
        source=Origin(
            checkpoint=f"YAMNet, fine-tuned in {options.steps} steps",
            architecture="MobileNet v1 with heads for the window and its frames",
        ),
        onnx=describe(graph),
        frontend=FRONTEND,
        window=WINDOW,
        input=Input(name="input", shape=("batch", FRAMES, BINS)),
        outputs=OUTPUTS,
        decoding="multilabel",
        labels=tuple(Label(slug=slug, name=slug.replace("_", " ")) for slug in slugs),
        metrics={
            "trained_on": f"{clips} clips of ESC-50 folds 1-4, {len(rows)} recordings in all, "
            f"in {options.steps} steps",
            "left_out": list(left_out),
        },
    )
    write_bundle(options.out, graph, spec)


if __name__ == "__main__":
    main()
