"""Makes the bundle `sounds` from the recordings: `python -m export.train --data DIR --out DIR`."""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from detector.records import FloatArray
from export.train.alarms import beeps, carbon_monoxide, smoke
from export.train.augment import PAUSE, VISIBLE, Composer, Sound, active_frames, without_pauses
from export.train.data import (
    BEEP,
    MONOXIDE,
    SMOKE,
    SPEECH,
    SPEEDS,
    Row,
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
ALARMS = 80
"""How many of each kind are synthesised."""
HARD = 260
"""Frames of a smoke alarm's rhythm from which on it is one: three beeps."""
CHIRPS = 50
"""The same of a carbon monoxide alarm: four quick beeps."""
SPEECH_SHARE = 3
"""Speech varies more than any category: it is drawn this many times as often."""


def recorded(
    rows: Sequence[Row], slugs: tuple[str, ...], work: Path, teacher: Path | None
) -> tuple[list[list[Sound]], list[Sound], torch.Tensor]:
    """What was recorded: sounds by label, backgrounds, and what the teacher says of them."""
    lessons: Iterable[FloatArray] = (
        teacher_scores(rows, teacher, work / "teacher")
        if teacher
        else (np.zeros((0, CLASSES), np.float32) for _ in rows)
    )
    by_label: list[list[Sound]] = [[] for _ in slugs]
    backgrounds: list[Sound] = []
    answers, answered = [], 0
    for row, powers, taught in zip(rows, cached_power(rows, work / "mel"), lessons, strict=True):
        unknown = [slugs.index(slug) for slug in row.unknown]
        if SPEECH not in row.labels and (taught[:, 0] > HEARS_SPEECH).any():
            unknown.append(slugs.index(SPEECH))
        if "clock_alarm" in row.labels:
            unknown.append(slugs.index(BEEP))
        active = active_frames(powers[SPEEDS.index(1.0)])
        mask = without_pauses(active, PAUSE)
        labels = {slugs.index(slug): mask for slug in row.labels}
        sound = Sound(powers, labels, active, tuple(unknown), answered, len(taught))
        answers.append(taught)
        answered += len(taught)
        for label in labels:
            by_label[label].append(sound)
        if not labels:
            backgrounds.append(sound)
    return by_label, backgrounds, torch.from_numpy(np.concatenate(answers))


def synthesised(slugs: tuple[str, ...], seed: int) -> Iterator[list[Sound]]:
    """Smoke alarms, carbon monoxide alarms, and beeps that are neither."""
    beep, clock = slugs.index(BEEP), slugs.index("clock_alarm")
    rng = np.random.default_rng(seed)
    for make, slug in ((smoke, SMOKE), (carbon_monoxide, MONOXIDE), (beeps, None)):
        group = []
        for _ in range(ALARMS):
            alarm = make(rng)
            labels = {beep: without_pauses(alarm.on, 3)}
            active, visible, unknown = alarm.on, VISIBLE // 2, [clock]
            if slug == SMOKE:
                active, visible, unknown = without_pauses(alarm.on, 170), HARD, []
            elif slug == MONOXIDE:
                active, visible, unknown = without_pauses(alarm.on, 20), CHIRPS, []
            if slug:
                labels[slugs.index(slug)] = active
            power = (power_mel(alarm.samples),)
            group.append(
                Sound(power, labels, active, tuple(unknown), visible=visible, speeds=(1.0,))
            )
        yield group


def train(
    rows: Sequence[Row], slugs: tuple[str, ...], work: Path, teacher: Path | None, plan: Plan
) -> Sounds:
    """The trained network; goes on from the checkpoint in `work` if there is one.

    Args:
        rows: the recordings that train.
        slugs: the labels.
        work: for the checkpoint and what is computed once.
        teacher: yamnet.tflite, if it shall teach.
        plan: how long, and how.
    """
    torch.set_num_threads(2)
    by_label, backgrounds, answers = recorded(rows, slugs, work, teacher)
    groups = [group for group in by_label if group]
    groups += [by_label[slugs.index(SPEECH)]] * (SPEECH_SHARE - 1)
    groups += synthesised(slugs, plan.seed)
    noise = np.random.default_rng(plan.seed).normal(0, 0.1, 30 * 16_000).astype(np.float32)
    composer = Composer(groups, backgrounds, power_mel(noise), len(slugs))
    trainer = Trainer(Shape(len(slugs)), plan, work / "checkpoint.pt")
    return trainer.fit(composer, answers)


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
    slugs, rows = label_slugs(options.data), training_rows(options.data)
    model = train(rows, slugs, options.work, options.teacher, Plan(steps=options.steps))
    spec = release(
        model, options.data, options.out, options.work, taught=options.teacher is not None
    )
    print(json.dumps({"metrics": spec.metrics, "parity": spec.parity}, indent=2))


if __name__ == "__main__":
    main()
