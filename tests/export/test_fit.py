"""A training that was interrupted ends as one that was not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

import torch

from detector.errors import StateError
from export.train.augment import Composer, Sound
from export.train.fit import Plan, Trainer
from export.train.model import Shape
from export.train.teacher import CLASSES

pytestmark = pytest.mark.export

SHAPE = Shape(labels=2, width=16, layers=1, drop=0.5, skip=0.5)
PLAN = Plan(steps=4, batch=2, warm_up=2, save_every=2)


def composer() -> Composer:
    """Two tones, and nothing else to hear."""
    sounds = []
    for label in range(2):
        power = np.zeros((498, 128), np.float32)
        power[100:300, 40 + label] = 1.0
        active = power[:, 40 + label] > 0
        sounds.append([Sound((power,), {label: active}, active, speeds=(1.0,))])
    hum = Sound((np.full((900, 128), 1e-9, np.float32),), {}, np.ones(900, bool), speeds=(1.0,))
    return Composer(sounds, [hum], np.ones((2000, 128), np.float32), labels=2)


class InterruptedTrainer(Trainer):
    """Loses its process after the first checkpoint."""

    def save(self) -> None:
        super().save()
        raise KeyboardInterrupt


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    answers = torch.zeros(0, CLASSES)
    whole = Trainer(SHAPE, PLAN, tmp_path / "whole.pt").fit(composer(), answers)
    with pytest.raises(KeyboardInterrupt):
        InterruptedTrainer(SHAPE, PLAN, tmp_path / "part.pt").fit(composer(), answers)
    torch.manual_seed(99)  # another process begins with other random numbers
    resumed = Trainer(SHAPE, PLAN, tmp_path / "part.pt")
    assert resumed.step == 2
    after = resumed.fit(composer(), answers).state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, after[name]), name


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    Trainer(SHAPE, PLAN, checkpoint).save()
    with pytest.raises(StateError, match=r"checkpoint\.pt: is of another recipe.*steps=4.*steps=9"):
        Trainer(SHAPE, replace(PLAN, steps=9), checkpoint)
    with pytest.raises(StateError, match="is of another recipe"):
        Trainer(replace(SHAPE, labels=3), PLAN, checkpoint)
