"""The classification layers, while they are fitted."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.records import FloatArray
from export.heads.graph.surgery import Layers, Linear


@dataclass(frozen=True, slots=True)
class Form:
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

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        self.classify = Layer(form.dim, form.labels)
        self.attend = Layer(form.dim, form.labels) if form.weighted else None
        self.frames = Layer(form.dim, form.labels) if form.frames else None

    def standardise(self, hidden: Tensor) -> None:
        """Learn what is usual from hidden states (n, steps, dim) or (n, dim)."""
        each = hidden.flatten(end_dim=-2)
        for layer in (self.attend, self.frames):
            if layer is not None:
                layer.standardise(each)
        self.classify.standardise(each if self.attend is not None else self._pooled(hidden))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """(batch, steps, dim) or (batch, dim) to (batch, labels) and (batch, steps, labels)."""
        frames = None if self.frames is None else self.frames(hidden)
        clip: Tensor
        if self.attend is not None:
            clip = (self.attend(hidden).softmax(dim=1) * self.classify(hidden)).sum(dim=1)
        else:
            clip = self.classify(self._pooled(hidden))
        return clip, frames

    def layers(self) -> Layers:
        """What is put into the graph."""
        return Layers(
            classify=self.classify.plain(),
            attend=None if self.attend is None else self.attend.plain(),
            frames=None if self.frames is None else self.frames.plain(),
        )

    def _pooled(self, hidden: Tensor) -> Tensor:
        return hidden if self.form.steps is None else hidden.mean(dim=1)


class Layer(nn.Module):
    """A linear layer over standardised inputs, so that one rate is right for all encoders.

    It begins with zeros, and so prefers no label.
    """

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, labels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.mean, self.std = nn.Buffer(torch.zeros(dim)), nn.Buffer(torch.ones(dim))

    def standardise(self, given: Tensor) -> None:
        """Learn what is usual from (n, dim)."""
        self.mean.copy_(given.mean(dim=0))
        self.std.copy_(given.std(dim=0, correction=0).clamp(min=1e-5))

    def forward(self, given: Tensor) -> Tensor:
        logits: Tensor = self.linear((given - self.mean) / self.std)
        return logits

    def plain(self) -> Linear:
        """The same function of inputs as they are."""
        weight = self.linear.weight.detach().double() / self.std
        bias = self.linear.bias.detach().double() - weight @ self.mean.double()
        return Linear(_array(weight.T), _array(bias))


def _array(values: Tensor) -> FloatArray:
    array: FloatArray = values.float().contiguous().numpy()
    return array
