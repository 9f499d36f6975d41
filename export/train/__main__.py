"""Makes the bundle `sounds` from the recordings: `python -m export.train --data DIR --out DIR`."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from detector.records import FloatArray
from export.train.augment import Composer, Sound
from export.train.data import (
    SPEECH,
    cached_power,
    label_slugs,
    power_mel,
    training_rows,
)
from export.train.fit import Plan, Trainer
from export.train.model import Shape, Sounds
from export.train.release import release
from export.train.teacher import CLASSES, teacher_scores

HEARS_SPEECH = 0.2
"""From this score of the teacher's class Speech on, a clip may hold speech."""


def sounds(data: Path, work: Path, teacher: Path | None) -> list[Sound]:
    """Everything that trains, in memory."""
    slugs = label_slugs(data)
    rows = training_rows(data)
    lessons: Iterable[FloatArray] = (
        teacher_scores(rows, teacher, work / "teacher")
        if teacher
        else (np.zeros((0, CLASSES), np.float32) for _ in rows)
    )
    made = []
    for row, power, taught in zip(
        rows,
        cached_power(rows, work / "mel"),
        lessons,
        strict=True,
    ):
        target = slugs.index(row.labels[0]) if row.labels else None
        unknown = [slugs.index(slug) for slug in row.unknown]
        if SPEECH not in row.labels and (taught[:, 0] > HEARS_SPEECH).any():
            unknown.append(slugs.index(SPEECH))
        made.append(Sound(power, target, tuple(unknown), taught))
    return made


def train(data: Path, work: Path, teacher: Path | None, plan: Plan) -> Sounds:
    """The trained network; goes on from the checkpoint in `work` if there is one."""
    torch.set_num_threads(2)
    slugs = label_slugs(data)
    noise = np.random.default_rng(plan.seed).normal(0, 0.1, 30 * 16_000).astype(np.float32)
    composer = Composer(
        sounds(data, work, teacher), power_mel(noise), len(slugs), slugs.index(SPEECH)
    )
    trainer = Trainer(Shape(len(slugs)), plan, work / "checkpoint.pt")
    return trainer.fit(composer)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--teacher", type=Path, help="yamnet.tflite; without it, none teaches")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument(
        "--work", type=Path, default=Path("build/train"), help="caches and checkpoint"
    )
    parser.add_argument("--steps", type=int, default=Plan.steps)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model = train(options.data, options.work, options.teacher, Plan(steps=options.steps))
    spec = release(
        model, options.data, options.out, options.work, taught=options.teacher is not None
    )
    print(json.dumps({"metrics": spec.metrics, "parity": spec.parity}, indent=2))


if __name__ == "__main__":
    main()
