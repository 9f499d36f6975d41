"""The layer on YAMNet's own view: what it is taught, and that it learns it."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

import torch

from export.train.data.augment import Sound
from export.train.data.log_mel import BINS, SILENCE
from export.train.fit.view import fit_view, pieces
from export.train.network.yamnet import HEARD

pytestmark = pytest.mark.export


def sound(frames: int, *active: slice, speeds: tuple[float, ...] = (1.0,)) -> Sound:
    mask = np.zeros(frames, bool)
    for part in active:
        mask[part] = True
    power = np.where(mask[:, None], 1.0, 0.0) * np.ones((frames, BINS), np.float32)
    return Sound((power.astype(np.float32),) * len(speeds), {1: mask}, mask, (2,), speeds=speeds)


def test_a_window_has_the_labels_that_are_heard_in_it() -> None:
    first, second = pieces(sound(2 * HEARD, slice(100, 300)), labels=3)
    assert first.target.tolist() == [0, 1, 0]
    assert second.target.tolist() == [0, 0, 0]
    assert first.known.tolist() == second.known.tolist() == [1, 1, 0]
    assert (first.log_mel[HEARD:] == np.float32(SILENCE)).all()
    assert first.log_mel[200, 0] > first.log_mel[50, 0]


def test_what_is_hardly_heard_is_left_unsaid() -> None:
    first, second = pieces(sound(2 * HEARD, slice(HEARD - 5, HEARD + 200)), labels=3)
    assert not first.known[1]
    assert second.known[1]


def test_each_version_of_a_recording_is_seen() -> None:
    versions = list(pieces(sound(HEARD, slice(0, 300), speeds=(1.0, 1.09, 1.19)), labels=3))
    assert len(versions) == 2
    assert versions[0].log_mel.max() > versions[1].log_mel.max()


def test_it_learns_labels_and_leaves_alone_what_is_not_known() -> None:
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(400, 2, generator=generator) < 0.3).float()
    seen = torch.rand(400, 9, 128, generator=generator) * 6
    for label in range(2):  # what a label sounds like is spread over many values
        seen[:, :, 64 * label : 64 * (label + 1)] += 2 * target[:, None, label : label + 1]
    known = torch.ones_like(target)
    view = fit_view(seen, target, known)
    right = ((view(seen) > 0).float() == target).float().mean(dim=0)
    assert (right > 0.85).all()
    known[:, 1] = 0
    ignored = fit_view(seen, target, known)
    assert ignored(seen)[:, 1].max() < -2
