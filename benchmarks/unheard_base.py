"""A base for `heads.py` that has never heard five of the fifty sounds.

    python benchmarks/unheard_base.py --data DIR --out BUNDLE [--steps N] [--work DIR]

The recipe of the built-in model, shorter, without a teacher (which knows the five), and without any
recording of them. The bundle says in its metrics what was left out. 900 steps take half an hour on
two cores.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from heads import labels_for

from detector.spec import BundleSpec, Input, Label, Origin
from export.bundle import describe_graph, write_bundle
from export.graphs.graph import export_graph
from export.train.augment import FRAMES, Composer, Sound, active_frames
from export.train.data import (
    BEEP,
    FBANK,
    MONOXIDE,
    SMOKE,
    SPEEDS,
    Row,
    cached_power,
    label_slugs,
    power_mel,
    training_rows,
)
from export.train.fit import Plan, Trainer
from export.train.model import Shape, Sounds
from export.train.release import OUTPUTS, WINDOW
from export.train.teacher import CLASSES


def train(rows: list[Row], slugs: list[str], work: Path, plan: Plan) -> Sounds:
    """Goes on from the checkpoint in `work` if there is one."""
    groups: list[list[Sound]] = [[] for _ in slugs]
    backgrounds: list[Sound] = []
    for row, powers in zip(rows, cached_power(rows, work / "mel"), strict=True):
        active = active_frames(powers[SPEEDS.index(1.0)])
        labels = {slugs.index(slug): active for slug in row.labels}
        unknown = tuple(slugs.index(slug) for slug in row.unknown if slug in slugs)
        sound = Sound(powers, labels, active, unknown)
        for group in [groups[label] for label in labels] or [backgrounds]:
            group.append(sound)
    noise = np.random.default_rng(plan.seed).normal(0, 0.1, 30 * 16_000).astype(np.float32)
    composer = Composer(groups, backgrounds, power_mel(noise), len(slugs))
    trainer = Trainer(Shape(len(slugs)), plan, work / "checkpoint.pt")
    return trainer.fit(composer, torch.zeros(1, CLASSES))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--steps", type=int, default=900)
    options = parser.parse_args()
    left_out = labels_for(options.data, ())
    absent = (*left_out, SMOKE, MONOXIDE, BEEP)
    slugs = [slug for slug in label_slugs(options.data) if slug not in absent]
    rows = [row for row in training_rows(options.data) if not {*row.labels} & {*left_out}]
    options.work.mkdir(parents=True, exist_ok=True)
    model = train(rows, slugs, options.work, Plan(steps=options.steps, warm_up=100))
    graph = options.work / "model.onnx"
    example = torch.zeros(2, FRAMES, FBANK.mel_bins)
    export_graph(model, example, graph, outputs=("clip", "frames"))
    clips = sum(bool(row.fold) for row in rows)
    spec = BundleSpec(
        name=options.out.name,
        version="1",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        licence="Apache-2.0",
        attribution="trained for a benchmark on clips of ESC-50",
        source=Origin(
            checkpoint=f"trained from scratch in {options.steps} steps",
            architecture="convolutional stem and audio spectrogram transformer",
        ),
        onnx=describe_graph(graph),
        frontend=FBANK,
        window=WINDOW,
        input=Input(name="input", shape=("batch", FRAMES, FBANK.mel_bins)),
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
