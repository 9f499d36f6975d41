"""Training: examples composed as they are needed, the same for the same seed and step."""

import copy
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from detector.errors import StateError
from export.graphs.graph import export_graph
from export.train.data.augment import FRAMES, Composer, Example
from export.train.data.log_mel import BINS, OFFSET, SILENCE
from export.train.network.sounds import FRAME, Shape, Sounds
from export.train.network.yamnet import Frozen, Weights

Heard = list[Tensor]
"""What stays YAMNet's: steps of 40, 80 and 160 ms, and its view of each patch."""


@dataclass(frozen=True)
class Plan:
    """The numbers of the recipe."""

    steps: int = 1200
    batch: int = 32
    peak_rate: float = 1e-3
    """Of what is new; what YAMNet learnt moves at `kept_rate` of it."""
    kept_rate: float = 0.25
    warm_up: int = 100
    decay: float = 0.6
    """The share of the steps in which the rate falls to zero in a line."""
    weight_decay: float = 0.05
    frames: float = 0.7
    """Weight of the loss of the frames."""
    average: float = 0.995
    """Of the weights, a step: the bundle holds the average."""
    seed: int = 20261128
    save_every: int = 50

    def rate(self, step: int) -> float:
        falling = (self.steps - step) / (self.decay * self.steps)
        return self.peak_rate * max(0.0, min(1.0, (step + 1) / self.warm_up, falling))


class FrozenGraph:
    """What does not learn, in ONNX Runtime: several times faster than PyTorch."""

    def __init__(self, weights: Weights, fixed: int, work: Path, threads: int = 1) -> None:
        path = work / f"frozen-{fixed}.onnx"
        if not path.exists():
            example = torch.zeros(2, FRAMES, BINS)
            outputs = ("fine", "coarse", "middle", "patches")
            export_graph(Frozen(weights, fixed), example, path, outputs=outputs)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, log_mel: Tensor) -> Heard:
        """(batch, FRAMES, BINS) to what `Sounds` is given."""
        return [torch.from_numpy(x) for x in self._session.run(None, {"input": log_mel.numpy()})]


class Batch:
    """Examples stacked and brought to the network's scale."""

    def __init__(self, examples: list[Example]) -> None:
        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(e, name) for e in examples]))

        self.input = stack("power").sqrt_().add_(OFFSET).log_()
        self.heard = torch.tensor([example.heard for example in examples])
        self.target, self.known = stack("target"), stack("known")
        self.frames = stack("frames")

    def mask(self, rng: np.random.Generator) -> None:
        """Hide bands of frequency and stretches of time (SpecAugment) behind the mean; then pad."""
        bins = self.input.shape[2]
        for x, heard in zip(self.input, self.heard.tolist(), strict=True):
            mean = float(x[:heard].mean())
            for _ in range(rng.integers(3)):
                low, width = rng.integers(bins), rng.integers(1, 9)
                x[:, low : low + width] = mean
            for _ in range(rng.integers(3)):
                first, length = rng.integers(heard), rng.integers(1, 31)
                x[first : first + length] = mean
            x[heard:] = SILENCE


class Trainer:
    """The network, its average and its optimiser; saved and resumed whole."""

    def __init__(self, shape: Shape, plan: Plan, weights: Weights, work: Path) -> None:
        """Go on from the checkpoint in `work` if it is there.

        Raises:
            StateError: it is of another network or another plan.
        """
        torch.manual_seed(plan.seed)
        self._recipe = f"{shape} {replace(plan, steps=0)}"
        self.plan, self.checkpoint, self.step = plan, work / "checkpoint.pt", 0
        self.frozen = FrozenGraph(weights, shape.fixed, work)
        self.model = Sounds(shape, weights)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        new = {id(parameter) for parameter in self.model.new()}
        groups: list[dict[str, Any]] = [
            {
                "params": [
                    p
                    for p in self.model.parameters()
                    if (id(p) in new) == fresh and (p.ndim > 1) == matrix
                ],
                "weight_decay": plan.weight_decay if matrix else 0.0,
                "part": 1.0 if fresh else plan.kept_rate,
            }
            for fresh in (False, True)
            for matrix in (False, True)
        ]
        self.optimiser = torch.optim.AdamW(groups)
        if self.checkpoint.exists():
            self._load(torch.load(self.checkpoint, weights_only=True))

    def fit(self, composer: Composer) -> Sounds:
        """Train to the plan's last step; return the averaged network."""
        self.model.train()
        began, losses = time.monotonic(), [0.0, 0.0]
        for batch, heard in self._batches(composer):
            kept = 0.98 if losses[0] else 0.0
            losses = [
                kept * old + (1 - kept) * new
                for old, new in zip(losses, self._update(batch, heard), strict=True)
            ]
            if self.step % self.plan.save_every == 0 or self.step == self.plan.steps:
                self.save()
                print(
                    f"step {self.step} rate {self.plan.rate(self.step):.2e} "
                    f"labels {losses[0]:.3f} frames {losses[1]:.3f} "
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
        self.optimiser.load_state_dict(state["optimiser"])

    def _batches(self, composer: Composer) -> Iterator[tuple[Batch, Heard]]:
        """The batches of the steps to come and what YAMNet hears of them, made one ahead."""

        def make(step: int) -> tuple[Batch, Heard]:
            rng = np.random.default_rng((self.plan.seed, step))
            batch = Batch([composer.compose(rng) for _ in range(self.plan.batch)])
            batch.mask(rng)
            return batch, self.frozen(batch.input)

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(make, self.step)
            while self.step < self.plan.steps:
                made = coming.result()
                coming = pool.submit(make, self.step + 1)
                yield made

    def _update(self, batch: Batch, heard: Heard) -> list[float]:
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(self.step) * group["part"]
        *steps, patches = heard
        steps = [x.to(memory_format=torch.channels_last) for x in steps]
        clip, frames = self.model(*steps, patches)
        losses = (
            _cross_entropy(clip, batch.target, batch.known).mean(),
            _frames_loss(frames, batch),
        )
        loss = losses[0] + self.plan.frames * losses[1]
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
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
            old.lerp_(new, 1 - kept)


def _cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the labels of which something is known."""
    each = nn.functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (each * known).sum(dim=-1)


def _frames_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Its mean over the frames that are heard."""
    each = _cross_entropy(logits, batch.frames, batch.known[:, None])
    heard = torch.arange(each.shape[1]) < (batch.heard[:, None] // FRAME)
    return (each * heard).sum() / heard.sum()
