"""Training: examples composed as they are needed, the same for the same seed and step."""

import copy
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detector.errors import StateError
from export.train.augment import FRAME, NO_LESSON, Composer, Example
from export.train.data import FBANK
from export.train.model import RARE, Shape, Sounds
from export.train.teacher import CLASSES

ALL_KNOWN = torch.ones(1)


@dataclass(frozen=True)
class Plan:
    """The numbers of the recipe."""

    steps: int = 5500
    batch: int = 64
    peak_rate: float = 1e-3
    warm_up: int = 200
    decay: float = 0.45
    """The share of the steps in which the rate falls to zero in a line."""
    weight_decay: float = 0.05
    frames: float = 0.7
    """Weight of the loss of the frames."""
    teacher: float = 0.25
    """Weight of the teacher's loss."""
    average: float = 0.998
    """Of the weights, a step: the bundle holds the average."""
    seed: int = 20261122
    save_every: int = 100

    def rate(self, step: int) -> float:
        falling = (self.steps - step) / (self.decay * self.steps)
        return self.peak_rate * max(0.0, min(1.0, (step + 1) / self.warm_up, falling))


class Batch:
    """Examples stacked and brought to the network's scale."""

    def __init__(self, examples: list[Example]) -> None:
        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(e, name) for e in examples]))

        power = stack("power").clamp_min_(FBANK.log_floor)
        self.input = power.log_().sub_(FBANK.mean).div_(2 * FBANK.std)
        self.heard = torch.tensor([example.heard for example in examples])
        self.target, self.known = stack("target"), stack("known")
        self.frames, self.lesson = stack("frames"), stack("lesson")

    def mask(self, rng: np.random.Generator) -> None:
        """Hide bands of frequency and stretches of time (SpecAugment) behind the mean; then pad."""
        bins = self.input.shape[2]
        for x, heard in zip(self.input, self.heard.tolist(), strict=True):
            mean = float(x[:heard].mean())
            for _ in range(rng.integers(3)):
                low, width = rng.integers(bins), rng.integers(1, 17)
                x[:, low : low + width] = mean
            for _ in range(rng.integers(3)):
                first, length = rng.integers(heard), rng.integers(1, 31)
                x[first : first + length] = mean
            x[heard:] = FBANK.padding


class Trainer:
    """The network, its average, its teacher's head and its optimiser; saved and resumed whole."""

    def __init__(self, shape: Shape, plan: Plan, checkpoint: Path) -> None:
        """Go on from `checkpoint` if it is there.

        Raises:
            StateError: it is of another network or another plan.
        """
        torch.manual_seed(plan.seed)
        self._recipe = f"{shape} {plan}"
        self.plan, self.checkpoint, self.step = plan, checkpoint, 0
        self.model = Sounds(shape)
        self.taught = nn.Linear(shape.width, CLASSES)
        nn.init.constant_(self.taught.bias, RARE)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        modules = nn.ModuleList([self.model, self.taught])
        groups: list[dict[str, Any]] = [
            {"params": [p for p in modules.parameters() if p.ndim > 1]},
            {"params": [p for p in modules.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=plan.weight_decay)
        if checkpoint.exists():
            self._load(torch.load(checkpoint, weights_only=True))

    def fit(self, composer: Composer, answers: Tensor) -> Sounds:
        """Train to the plan's last step; return the averaged network.

        Args:
            composer: makes the examples.
            answers: (windows, classes) 0..1, what the teacher says of each.
        """
        self.model.train()
        began, losses = time.monotonic(), [0.0, 0.0, 0.0]
        for batch in self._batches(composer):
            losses = [
                0.98 * old + 0.02 * new
                for old, new in zip(losses, self._update(batch, answers), strict=True)
            ]
            if self.step % self.plan.save_every == 0 or self.step == self.plan.steps:
                self.save()
                print(
                    f"step {self.step} rate {self.plan.rate(self.step):.2e} "
                    f"labels {losses[0]:.3f} frames {losses[1]:.3f} teacher {losses[2]:.3f} "
                    f"{time.monotonic() - began:.0f} s",
                    flush=True,
                )
        return self.average

    def save(self) -> None:
        part = self.checkpoint.with_suffix(".part")
        torch.save(
            {
                "recipe": self._recipe,
                "step": self.step,
                "random": torch.get_rng_state(),
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "taught": self.taught.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
            part,
        )
        part.rename(self.checkpoint)

    def _load(self, state: dict[str, Any]) -> None:
        if state.get("recipe") != self._recipe:
            raise StateError(
                f"{self.checkpoint}: is of another recipe, {state.get('recipe')}; this one is "
                f"{self._recipe}. Remove the file, or work in another folder (--work)"
            )
        self.step = state["step"]
        torch.set_rng_state(state["random"])  # what is dropped out follows from it
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.taught.load_state_dict(state["taught"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _batches(self, composer: Composer) -> Iterator[Batch]:
        """The batches of the steps to come, the next composed while one trains."""

        def make(step: int) -> Batch:
            rng = np.random.default_rng((self.plan.seed, step))
            batch = Batch([composer.compose(rng) for _ in range(self.plan.batch)])
            batch.mask(rng)
            return batch

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(make, self.step)
            while self.step < self.plan.steps:
                batch = coming.result()
                coming = pool.submit(make, self.step + 1)
                yield batch

    def _update(self, batch: Batch, answers: Tensor) -> list[float]:
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(self.step)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.model.tokens(batch.input)
            clip, frames = self.model.heads(tokens)
            learnt = batch.lesson != NO_LESSON
            taught = self.taught(tokens[learnt])
        losses = [
            _cross_entropy(clip, batch.target, batch.known).mean(),
            _frames_loss(frames, batch),
            _cross_entropy(taught, answers[batch.lesson[learnt]], ALL_KNOWN).sum() / learnt.numel(),
        ]
        weights = (1.0, self.plan.frames, self.plan.teacher)
        parts = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
        torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, 5.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        self._follow()
        values = [float(part.detach()) for part in losses]
        if not math.isfinite(sum(values)):
            raise FloatingPointError(f"the losses at step {self.step} are {values}")
        return values

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; quickly at first."""
        kept = min(self.plan.average, (1 + self.step) / (10 + self.step))
        for old, new in zip(
            self.average.state_dict().values(), self.model.state_dict().values(), strict=True
        ):
            if old.is_floating_point():
                old.lerp_(new, 1 - kept)
            else:
                old.copy_(new)


def _cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the labels of which something is known."""
    each = nn.functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (each * known).sum(dim=-1)


def _frames_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Its mean over the frames that are heard."""
    each = _cross_entropy(logits, batch.frames, batch.known[:, None])
    heard = torch.arange(each.shape[1]) < (batch.heard[:, None] // FRAME)
    return (each * heard).sum() / heard.sum()
