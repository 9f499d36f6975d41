"""YAMNet's layers in PyTorch, in fp32: what the graph that ships is held against."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from export.audioset.tflite import Layer

SIZE = 3
"""Of the kernels that are not of a single place."""


class Network(nn.Module):
    """Log-mel patches (batch, frames, mel_bins) to logits (batch, classes)."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self._layers = list(layers)
        self._weights = [
            torch.from_numpy((layer.weights * layer.scale).astype("float32")) for layer in layers
        ]
        self._biases = [torch.from_numpy(layer.bias.copy()) for layer in layers]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.answer(self.sights(values))

    def sights(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, dim): what the layer that answers is given."""
        values = values[:, None]
        *convolutions, _ = zip(self._layers, self._weights, self._biases, strict=True)
        for layer, weights, bias in convolutions:
            if weights.shape[-1] == SIZE:
                # Of an even length a stride of 2 needs one place of padding, which comes last.
                before = 0 if layer.stride == 2 else 1  # noqa: PLR2004
                values = functional.pad(values, (before, 1, before, 1))
            groups = len(weights) if layer.depthwise else 1
            values = functional.conv2d(values, weights, bias, layer.stride, groups=groups)
            values = functional.relu6(values)
        return values.mean(dim=(2, 3))

    def answer(self, sights: torch.Tensor) -> torch.Tensor:
        return functional.linear(sights, self._weights[-1], self._biases[-1])
