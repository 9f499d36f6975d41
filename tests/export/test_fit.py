"""A training that was interrupted ends as one that was not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

import torch

from detector.errors import StateError
from export.train.data.augment import Composer, Sound
from export.train.data.log_mel import BINS
from export.train.fit.trainer import Plan, Trainer
from export.train.network.sounds import Shape
from tests.export.yamnet_weights import random_weights

pytestmark = pytest.mark.export

SHAPE = Shape(labels=2, width=16, drop=0.5)
WEIGHTS = random_weights()
PLAN = Plan(steps=4, batch=2, warm_up=2, save_every=2)


def composer() -> Composer:
    """Two tones, and nothing else to hear."""
    sounds = []
    for label in range(2):
        power = np.zeros((498, BINS), np.float32)
        power[100:300, 40 + label] = 1.0
        active = power[:, 40 + label] > 0
        sounds.append([Sound((power,), {label: active}, active, speeds=(1.0,))])
    hum = Sound((np.full((900, BINS), 1e-9, np.float32),), {}, np.ones(900, bool), speeds=(1.0,))
    return Composer(sounds, [[hum]], np.ones((2000, BINS), np.float32), labels=2)


class InterruptedTrainer(Trainer):
    """Loses its process after the first checkpoint."""

    def save(self) -> None:
        super().save()
        raise KeyboardInterrupt


@pytest.mark.parametrize("fixed", [17, 23])
def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path, fixed: int) -> None:
    shape = replace(SHAPE, fixed=fixed)
    for name in ("whole", "part"):
        (tmp_path / name).mkdir()
    whole = Trainer(shape, PLAN, WEIGHTS, tmp_path / "whole").fit(composer())
    with pytest.raises(KeyboardInterrupt):
        InterruptedTrainer(shape, PLAN, WEIGHTS, tmp_path / "part").fit(composer())
    torch.manual_seed(99)  # another process begins with other random numbers
    resumed = Trainer(shape, PLAN, WEIGHTS, tmp_path / "part")
    assert resumed.step == 2
    after = resumed.fit(composer()).state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, after[name]), name


def test_a_training_may_go_on_for_longer_but_not_otherwise(tmp_path: Path) -> None:
    Trainer(SHAPE, PLAN, WEIGHTS, tmp_path).save()
    assert Trainer(SHAPE, replace(PLAN, steps=9), WEIGHTS, tmp_path).step == 0
    with pytest.raises(StateError, match=r"checkpoint\.pt: is of another recipe.*batch=2.*batch=9"):
        Trainer(SHAPE, replace(PLAN, batch=9), WEIGHTS, tmp_path)
    with pytest.raises(StateError, match="is of another recipe"):
        Trainer(replace(SHAPE, labels=3), PLAN, WEIGHTS, tmp_path)
