"""Fitting: until what was held out is recognised no better. A run that was ended goes on."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.errors import BundleError
from export.heads.data.batch import TrainingBatch
from export.heads.fit.layers import Head


@dataclass(frozen=True, slots=True)
class FitOptions:
    """The numbers of a fit."""

    epochs: int
    """At most."""
    patience: int = 15
    """Epochs without progress after which it stops."""
    batch: int = 32
    head_rate: float = 2e-3
    head_decay: float = 1.0
    encoder_rate: float = 1e-4
    encoder_decay: float = 0.01


class Examples(Protocol):
    """Where batches come from; the same epoch has the same ones."""

    def epoch(self, number: int) -> Iterator[TrainingBatch]: ...

    def held_out(self) -> Iterator[TrainingBatch]: ...


@dataclass
class _Progress:
    """How far a fit is."""

    epoch: int = 0
    best_epoch: int = -1
    best_loss: float = math.inf
    losses: list[tuple[float, float]] = field(default_factory=list)
    """Of each epoch: of what was fitted, and of what was held out."""


class Fitter:
    """A head, at times with layers of the encoder before it, and the state of its optimiser."""

    def __init__(
        self, encoder: nn.Module | None, head: Head, options: FitOptions, state: Path
    ) -> None:
        """Take the network; go on from the file `state` if it is there.

        Args:
            encoder: None if the hidden states are what is given. Only its weights that require a
                gradient are fitted. It stays in evaluation mode: what is fitted is what will run.
            head: fitted whole.
            options: the numbers.
            state: replaced after each epoch; remove it to begin anew.

        Raises:
            BundleError: the file is damaged.
        """
        self.head, self.options = head, options
        self._encoder, self._state = encoder, state
        self.progress = _Progress()
        tuned = [] if encoder is None else [p for p in encoder.parameters() if p.requires_grad]
        self._fitted = [*head.parameters(), *tuned]
        self._optimiser = torch.optim.AdamW(
            [
                _group(head.parameters(), options.head_rate, options.head_decay),
                _group(tuned, options.encoder_rate, options.encoder_decay),
            ]
        )
        self._best = self._weights()
        if state.exists():
            self._load()

    def run(self, examples: Examples, report: Callable[[int, float], None]) -> None:
        """Fit, and keep the weights with which what was held out was recognised best.

        Args:
            examples: an epoch and what was held out.
            report: called after each epoch with its number and the loss of what was held out.

        Raises:
            BundleError: the loss is no longer a number.
        """
        progress = self.progress
        while progress.epoch < self.options.epochs and not self._is_enough():
            fitted = self._epoch(examples.epoch(progress.epoch))
            held_out = self._held_out_loss(examples.held_out())
            progress.losses.append((fitted, held_out))
            if held_out < progress.best_loss:
                progress.best_loss, progress.best_epoch = held_out, progress.epoch
                self._best = self._weights()
            progress.epoch += 1
            self._save()
            report(progress.epoch, held_out)
        self._take(self._best)

    def _is_enough(self) -> bool:
        return self.progress.epoch - self.progress.best_epoch > self.options.patience

    def _epoch(self, batches: Iterator[TrainingBatch]) -> float:
        def losses() -> Iterator[Tensor]:
            for batch in batches:
                loss = self._loss(batch)
                self._optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self._fitted, 5.0)
                self._optimiser.step()
                yield loss.detach()

        mean = _mean(losses())
        if not math.isfinite(mean):
            raise BundleError(
                f"the loss of epoch {self.progress.epoch + 1} is {mean}: the encoder answers with "
                "what is not a number, or the rate is too high for it; freeze more of its layers"
            )
        return mean

    def _loss(self, batch: TrainingBatch) -> Tensor:
        means = [total / weight.clamp(min=1) for total, weight in self._losses(batch)]
        return torch.stack(means).sum()

    @torch.no_grad()
    def _held_out_loss(self, batches: Iterator[TrainingBatch]) -> float:
        """As if all batches were one."""
        sums: dict[int, list[float]] = {}
        for batch in batches:
            for output, pair in enumerate(self._losses(batch)):
                before = sums.setdefault(output, [0.0, 0.0])
                sums[output] = [s + float(new) for s, new in zip(before, pair, strict=True)]
        return sum(total / max(weight, 1.0) for total, weight in sums.values())

    def _losses(self, batch: TrainingBatch) -> list[tuple[Tensor, Tensor]]:
        """Of the window and, if they are asked for, of the frames: sum and weight."""
        hidden = batch.inputs if self._encoder is None else self._encoder(batch.inputs)
        clip, frames = self.head(hidden)
        exclusive = self.head.shape.exclusive
        found = [sum_of_losses(clip, batch.target, batch.known, exclusive=exclusive)]
        if frames is not None:
            of_frames = batch.frame_target, batch.frame_known
            found.append(sum_of_losses(frames, *of_frames, exclusive=exclusive))
        return found

    def _weights(self) -> list[Tensor]:
        return [p.detach().clone() for p in self._fitted]

    @torch.no_grad()
    def _take(self, weights: Sequence[Tensor]) -> None:
        for parameter, weight in zip(self._fitted, weights, strict=True):
            parameter.copy_(weight)

    def _save(self) -> None:
        tensors = {f"best.{i}": w for i, w in enumerate(self._best)}
        tensors |= {f"now.{i}": w for i, w in enumerate(self._weights())}
        tensors |= {f"head.{name}": b.clone() for name, b in self.head.named_buffers()}
        for i, moments in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{name}": value for name, value in moments.items()}
        about = {"progress": json.dumps(vars(self.progress))}
        part = self._state.with_suffix(".part")
        part.write_bytes(safetensors.torch.save(tensors, about))
        part.replace(self._state)

    def _load(self) -> None:
        try:
            with safetensors.safe_open(self._state, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                self.progress = _Progress(**json.loads(file.metadata()["progress"]))
            count = range(len(self._fitted))
            self._best = [tensors[f"best.{i}"] for i in count]
            self._take([tensors[f"now.{i}"] for i in count])
            with torch.no_grad():
                for name, buffer in self.head.named_buffers():
                    buffer.copy_(tensors[f"head.{name}"])
            state: dict[int, dict[str, Any]] = {}
            for name, value in tensors.items():
                kind, *rest = name.split(".")
                if kind == "optimiser":
                    state.setdefault(int(rest[0]), {})[rest[1]] = value
            groups = self._optimiser.state_dict()["param_groups"]
            self._optimiser.load_state_dict({"state": state, "param_groups": groups})
        except (
            safetensors.SafetensorError,
            KeyError,
            ValueError,
            RuntimeError,
            TypeError,
        ) as error:
            raise BundleError(
                f"{self._state}: is damaged ({error}); remove its folder to begin anew"
            ) from None


def _group(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> dict[str, Any]:
    return {"params": list(parameters), "lr": rate, "weight_decay": decay}


def sum_of_losses(
    logits: Tensor, target: Tensor, known: Tensor, *, exclusive: bool
) -> tuple[Tensor, Tensor]:
    """Cross-entropy, of one label or of each, summed over what is known.

    Args:
        logits: (..., labels).
        target: the same shape, 0 or 1.
        known: the same shape, 0 or 1.
        exclusive: exactly one label is right, where any is known.

    Returns:
        The sum, and how many were summed.
    """
    if exclusive:
        counts = known.amax(dim=-1)
        each = -(functional.log_softmax(logits, dim=-1) * target).sum(dim=-1)
        return (each * counts).sum(), counts.sum()
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * known).sum(), known.sum()


def _mean(values: Iterator[Tensor]) -> float:
    found = [float(value) for value in values]
    return sum(found) / max(len(found), 1)
