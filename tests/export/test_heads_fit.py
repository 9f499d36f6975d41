"""A fit ends when what is held out is recognised no better, and keeps the best that it had."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export needs torch")

import torch

from detector.errors import BundleError
from export.heads.data.batch import TrainingBatch
from export.heads.fit.fit import FitOptions, Fitter, sum_of_losses
from export.heads.fit.layers import Head, HeadShape

pytestmark = pytest.mark.export

SHAPE = HeadShape(dim=4, labels=2, steps=None, weighted=False, frames=False, exclusive=True)


class Deceiving:
    """What is held out contradicts, in part, what is fitted."""

    def __init__(self, scale: float = 1.0) -> None:
        torch.manual_seed(0)
        self._fitted = batch(scale * torch.randn(32, 4), torch.arange(32) % 2)
        self._held_out = batch(torch.randn(8, 4), torch.arange(8) % 2)

    def epoch(self, number: int) -> Iterator[TrainingBatch]:  # noqa: ARG002 (each is the same)
        yield self._fitted

    def held_out(self) -> Iterator[TrainingBatch]:
        yield self._held_out


def batch(inputs: torch.Tensor, labels: torch.Tensor) -> TrainingBatch:
    target = torch.nn.functional.one_hot(labels, 2).float()
    none = torch.zeros(len(inputs), 0, 2)
    return TrainingBatch(inputs, target, torch.ones_like(target), none, none)


def test_fit_stops_and_goes_back_to_its_best(tmp_path: Path) -> None:
    examples = Deceiving()
    options = FitOptions(epochs=300, patience=10, head_rate=0.05)
    fit = Fitter(None, Head(SHAPE), options, tmp_path / "state")
    fit.run(examples, lambda _epoch, _loss: None)
    progress = fit.progress
    assert progress.epoch == progress.best_epoch + 1 + options.patience < options.epochs
    assert progress.best_loss == min(held_out for _, held_out in progress.losses)
    assert progress.losses[-1][1] > progress.best_loss
    held_out = next(examples.held_out())
    with torch.no_grad():
        clip, _ = fit.head(held_out.inputs)
        loss, count = sum_of_losses(clip, held_out.target, held_out.known, exclusive=True)
    assert float(loss / count) == pytest.approx(progress.best_loss, rel=1e-6)


def test_what_is_not_known_adds_no_loss() -> None:
    target, known = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    for wrong in (-9.0, 9.0):
        logits = torch.tensor([[2.0, wrong]])
        loss, count = sum_of_losses(logits, target, known, exclusive=False)
        assert float(loss / count) == pytest.approx(0.126928, rel=1e-4)
    nothing = torch.zeros(1, 2)
    loss, count = sum_of_losses(torch.randn(1, 2), nothing, nothing, exclusive=True)
    assert (float(loss), float(count)) == (0, 0)


def test_a_loss_that_is_no_number_ends_the_fit(tmp_path: Path) -> None:
    fit = Fitter(None, Head(SHAPE), FitOptions(epochs=3), tmp_path / "state")
    with pytest.raises(BundleError, match="the loss of epoch 1 is nan"):
        fit.run(Deceiving(scale=float("nan")), lambda _epoch, _loss: None)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", b"x" * 500])
def test_a_damaged_state_is_named(content: bytes, tmp_path: Path) -> None:
    state = tmp_path / "fit.safetensors"
    state.write_bytes(content)
    with pytest.raises(BundleError, match=r"fit\.safetensors: is damaged .* remove its folder"):
        Fitter(None, Head(SHAPE), FitOptions(epochs=3), state)
