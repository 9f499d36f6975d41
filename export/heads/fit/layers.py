"""The classification layers, while they are fitted."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.records import FloatArray
from export.heads.graph.surgery import HeadWeights, LinearWeights


@dataclass(frozen=True, slots=True)
class HeadShape:
    """What is to be fitted."""

    dim: int
    labels: int
    steps: int | None
    """Hidden states of a window; None if there is one for the whole."""
    weighted: bool
    """Each label weights the hidden states, instead of being given their mean."""
    frames: bool
    """There is a layer over each hidden state besides."""
    exclusive: bool
    """Exactly one label is right."""


class Head(nn.Module):
    """Hidden states to logits of the window and, if they are asked for, of the frames."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.classify = StandardisedLinear(shape.dim, shape.labels)
        self.attend = StandardisedLinear(shape.dim, shape.labels) if shape.weighted else None
        self.frames = StandardisedLinear(shape.dim, shape.labels) if shape.frames else None

    def standardise(self, batches: Iterable[Tensor]) -> None:
        """Learn what is usual from hidden states, batches of (n, steps, dim) or (n, dim)."""
        each, pooled = _Moments(), _Moments()
        for hidden in batches:
            each.add(hidden.flatten(end_dim=-2))
            pooled.add(self._pooled(hidden))
        for layer in (self.attend, self.frames):
            if layer is not None:
                layer.standardise(each)
        self.classify.standardise(each if self.attend is not None else pooled)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """(batch, steps, dim) or (batch, dim) to (batch, labels) and (batch, steps, labels)."""
        frames = None if self.frames is None else self.frames(hidden)
        clip: Tensor
        if self.attend is not None:
            clip = (self.attend(hidden).softmax(dim=1) * self.classify(hidden)).sum(dim=1)
        else:
            clip = self.classify(self._pooled(hidden))
        return clip, frames

    def weights(self) -> HeadWeights:
        """What is put into the graph."""
        return HeadWeights(
            classify=self.classify.plain(),
            attend=None if self.attend is None else self.attend.plain(),
            frames=None if self.frames is None else self.frames.plain(),
        )

    def _pooled(self, hidden: Tensor) -> Tensor:
        return hidden if self.shape.steps is None else hidden.mean(dim=1)


class StandardisedLinear(nn.Module):
    """A linear layer over standardised inputs, so that one rate is right for all encoders.

    It begins with zeros, and so prefers no label.
    """

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, labels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.mean, self.std = nn.Buffer(torch.zeros(dim)), nn.Buffer(torch.ones(dim))

    def standardise(self, moments: "_Moments") -> None:
        self.mean.copy_(moments.mean)
        self.std.copy_((moments.squares / moments.count).sqrt().clamp(min=1e-5))

    def forward(self, given: Tensor) -> Tensor:
        logits: Tensor = self.linear((given - self.mean) / self.std)
        return logits

    def plain(self) -> LinearWeights:
        """The same function of inputs as they are."""
        weight = self.linear.weight.detach().double() / self.std
        bias = self.linear.bias.detach().double() - weight @ self.mean.double()
        return LinearWeights(_array(weight.T), _array(bias))


class _Moments:
    """Mean and squared deviations of batches, as of all at once (Chan, Golub, LeVeque, 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self.squares = torch.zeros(())

    def add(self, batch: Tensor) -> None:
        """Take (n, dim)."""
        values = batch.double()
        count, mean = self.count + len(values), values.mean(dim=0)
        apart = mean - self.mean
        self.squares = (
            self.squares
            + (values - mean).square().sum(dim=0)
            + apart.square() * (self.count * len(values) / count)
        )
        self.mean = self.mean + apart * (len(values) / count)
        self.count = count


def _array(values: Tensor) -> FloatArray:
    array: FloatArray = values.float().contiguous().numpy()
    return array
