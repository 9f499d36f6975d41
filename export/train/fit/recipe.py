"""The recipe: which sounds are drawn how often, and the network that is trained on them."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from export.train.data import negatives
from export.train.data.alarms import Alarm, beeps, carbon_monoxide, low_battery, pips, smoke
from export.train.data.augment import PAUSE, VISIBLE, Composer, Sound, active_frames, without_pauses
from export.train.data.recordings import (
    BEEP,
    CHIRP,
    MONOXIDE,
    MUSIC,
    SMOKE,
    SPEECH,
    SPEEDS,
    Row,
    cached_power,
    power_mel,
)
from export.train.fit.trainer import Plan, Trainer
from export.train.fit.view import fit_view, pieces, views
from export.train.network.sounds import Shape, Sounds, View
from export.train.network.yamnet import read_weights

ALARMS = 80
"""How many of each kind are synthesised."""
HARD = 260
"""Frames of a smoke alarm's rhythm from which on it is one: three beeps."""
CHIRPS = 50
"""The same of a carbon monoxide alarm: four quick beeps."""
SPEECH_SHARE = 3
"""Speech varies more than any category: it is drawn this many times as often."""
MUSIC_SHARE = 2
VIEW = 1024
"""Values of YAMNet's view of a patch."""
NEGATIVES = 40
"""How many of each kind are synthesised."""


def recorded(
    rows: Sequence[Row], slugs: tuple[str, ...], work: Path
) -> tuple[list[list[Sound]], list[list[Sound]]]:
    """What was recorded: sounds by label, and backgrounds by kind."""
    by_label: list[list[Sound]] = [[] for _ in slugs]
    backgrounds: dict[str, list[Sound]] = {}
    for row, powers in zip(rows, cached_power(rows, work / "mel"), strict=True):
        unknown = [slugs.index(slug) for slug in row.unknown]
        if "clock_alarm" in row.labels:
            unknown.append(slugs.index(BEEP))
        active = active_frames(powers[SPEEDS.index(1.0)])
        mask = without_pauses(active, PAUSE)
        labels = {slugs.index(slug): mask for slug in row.labels}
        sound = Sound(powers, labels, active, tuple(unknown))
        for label in labels:
            by_label[label].append(sound)
        if not labels or MUSIC in row.labels:
            backgrounds.setdefault(f"{row.kind} {row.source == 'rendered'}", []).append(sound)
    return by_label, list(backgrounds.values())


def synthesised(slugs: tuple[str, ...], seed: int) -> Iterator[list[Sound]]:
    """Alarms of either kind, chirps of low batteries, beeps and bells that are none of these."""
    rng = np.random.default_rng(seed)
    for make, slug in (
        (smoke, SMOKE),
        (carbon_monoxide, MONOXIDE),
        (low_battery, CHIRP),
        (beeps, None),
        (pips, None),
    ):
        yield [_beeping(make(rng), slug, slugs) for _ in range(ALARMS)]
    unknown = tuple(slugs.index(slug) for slug in ("clock_alarm", BEEP, MUSIC, "church_bells"))
    group = []
    for make_sound in negatives.SOUNDS:
        for _ in range(NEGATIVES):
            power = power_mel(make_sound(rng))
            group.append(Sound((power,), {}, active_frames(power), unknown, speeds=(1.0,)))
    yield group


def _beeping(alarm: Alarm, slug: str | None, slugs: tuple[str, ...]) -> Sound:
    labels = {slugs.index(BEEP): without_pauses(alarm.on, 3)}
    active, visible, unknown = alarm.on, VISIBLE // 2, [slugs.index("clock_alarm")]
    if slug == SMOKE:
        active, visible, unknown = without_pauses(alarm.on, 170), HARD, []
    elif slug == MONOXIDE:
        active, visible, unknown = without_pauses(alarm.on, 20), CHIRPS, []
    elif slug == CHIRP:
        visible, unknown = int(alarm.on.sum()), []
    if slug:
        labels[slugs.index(slug)] = active
    power = (power_mel(alarm.samples),)
    return Sound(power, labels, active, tuple(unknown), visible=visible, speeds=(1.0,))


def electrical(seed: int) -> list[Sound]:
    """Hum, tones and radio buzz: backgrounds that are no event."""
    rng = np.random.default_rng((seed, 1))
    group = []
    for make in negatives.STEADY:
        for _ in range(NEGATIVES):
            power = power_mel(make(rng))
            group.append(Sound((power,), {}, np.ones(len(power), bool), speeds=(1.0,)))
    return group


def train(
    rows: Sequence[Row], slugs: tuple[str, ...], work: Path, yamnet: Path, plan: Plan
) -> tuple[Sounds, View]:
    """What is trained; goes on from the checkpoint in `work` if there is one.

    Args:
        rows: the recordings that train.
        slugs: the labels.
        work: for the checkpoint and what is computed once.
        yamnet: yamnet.tflite, whose convolutions it begins with.
        plan: how long, and how.

    Returns:
        The fine-tuned convolutions with their heads, and the layer on YAMNet's own view.
    """
    torch.set_num_threads(2)
    trainer = Trainer(Shape(len(slugs)), plan, read_weights(yamnet), work)
    view, file = View(VIEW, len(slugs)).eval(), work / "view.pt"
    if trainer.step >= plan.steps and file.exists():
        view.load_state_dict(torch.load(file, weights_only=True))
        return trainer.average, view
    by_label, backgrounds = recorded(rows, slugs, work)
    others = [*synthesised(slugs, plan.seed), electrical(plan.seed)]
    every = chain(*by_label, *backgrounds, *others)
    if not file.exists():
        each = {id(sound): sound for sound in every}.values()
        seen = views((piece for x in each for piece in pieces(x, len(slugs))), trainer.frozen)
        torch.save(fit_view(*seen).state_dict(), file)
    view.load_state_dict(torch.load(file, weights_only=True))
    groups = [group for group in by_label if group]
    groups += [by_label[slugs.index(SPEECH)]] * (SPEECH_SHARE - 1)
    groups += [by_label[slugs.index(MUSIC)]] * (MUSIC_SHARE - 1)
    groups += others[:-1]
    backgrounds.append(others[-1])
    noise = np.random.default_rng(plan.seed).normal(0, 0.1, 30 * 16_000).astype(np.float32)
    return trainer.fit(Composer(groups, backgrounds, power_mel(noise), len(slugs))), view
