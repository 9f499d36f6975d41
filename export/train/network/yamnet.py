"""YAMNet (Google, Apache-2.0) in PyTorch: its front end, its convolutions and its classes.

M. Plakal and D. Ellis, YAMNet, 2019 (github.com/tensorflow/models, research/audioset/yamnet): a
MobileNet v1 with a width of 1, whose batch normalisation is folded into the convolutions of the
.tflite file, which holds them in int8. They are read from there and dequantised; the scores then
agree with the file's own to 0.04, which is the error of its integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from detector.records import FloatArray

CLASSES = 521
PATCH = 96
"""Frames of 10 ms that YAMNet scores at once. The zeros around them are part of what it learnt:
over longer stretches its classes mean nothing."""
STRIDED = frozenset({0, 3, 7, 11, 23})
"""Convolutions that halve time and frequency."""
DEPTHWISE = frozenset(range(1, 27, 2))
CONVOLUTIONS = 27
TRUNK = 11
"""Convolutions until frames of 80 ms: (batch, 256, frames / 8, 8)."""
FINE = 7
"""Convolutions until frames of 40 ms: (batch, 128, frames / 4, 16)."""


@dataclass(frozen=True)
class Weights:
    """Of each convolution (out, in / groups, height, width) and (out,), and of the classes."""

    convolutions: tuple[tuple[FloatArray, FloatArray], ...]
    classes: tuple[FloatArray, FloatArray]


def read_weights(model: Path) -> Weights:
    """The dequantised weights of yamnet.tflite."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only who needs it

    interpreter = Interpreter(model_path=str(model))
    found: list[tuple[FloatArray, FloatArray]] = []
    weight: FloatArray | None = None
    for tensor in sorted(interpreter.get_tensor_details(), key=lambda each: each["index"]):
        scales = tensor["quantization_parameters"]["scales"]
        if tensor["dtype"] is np.int32 and weight is not None and len(scales):
            bias = interpreter.get_tensor(tensor["index"]).astype(np.float64) * scales
            found.append((weight, bias.astype(np.float32)))
            weight = None
        elif tensor["dtype"] is np.int8 and _is_weight(tensor):
            values = interpreter.get_tensor(tensor["index"]).astype(np.float64)
            axis = tensor["quantization_parameters"]["quantized_dimension"]
            shape = [-1 if i == axis else 1 for i in range(values.ndim)]
            weight = np.asarray(values * scales.reshape(shape), np.float32)
    convolutions = []
    for i, (kernel, bias) in enumerate(found[:-1]):
        order = (3, 0, 1, 2) if i in DEPTHWISE else (0, 3, 1, 2)
        convolutions.append((np.ascontiguousarray(kernel.transpose(order)), bias))
    return Weights(tuple(convolutions), found[-1])


def _is_weight(tensor: dict[str, object]) -> bool:
    """What passes through the graph has a batch of one; a depthwise kernel is of 3 by 3."""
    shape = tuple(np.asarray(tensor["shape"]).tolist())
    return shape[:1] != (1,) or shape[:3] == (1, 3, 3)


def convolution(index: int, weights: Weights) -> nn.Sequential:
    """Convolution `index` with TensorFlow's SAME padding and its ReLU6."""
    kernel, bias = weights.convolutions[index]
    size, stride = kernel.shape[-1], 2 if index in STRIDED else 1
    layer = nn.Conv2d(
        kernel.shape[1] if index not in DEPTHWISE else len(kernel),
        len(kernel),
        size,
        stride,
        # An even length that is halved is padded behind it alone.
        padding=size // 2 if stride == 1 else 0,
        groups=len(kernel) if index in DEPTHWISE else 1,
    )
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
    pad = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
    return nn.Sequential(*pad, layer, nn.ReLU6())


class Trunk(nn.Module):
    """The first convolutions: (batch, frames, 64) to steps of 40, 80 and 160 ms."""

    def __init__(self, weights: Weights, fixed: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(*(convolution(i, weights) for i in range(FINE)))
        self.coarse = nn.Sequential(*(convolution(i, weights) for i in range(FINE, TRUNK)))
        self.middle = nn.Sequential(*(convolution(i, weights) for i in range(TRUNK, fixed)))

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine: Tensor = self.fine(log_mel.unsqueeze(1))
        coarse: Tensor = self.coarse(fine)
        return fine, coarse, self.middle(coarse)


class Patches(nn.Module):
    """The other convolutions, patch by patch: YAMNet's own view, of which its classes are made."""

    def __init__(
        self, weights: Weights, middle: nn.Sequential | None = None, hop: int = PATCH // 2
    ) -> None:
        """Set up.

        Args:
            weights: YAMNet's.
            middle: a trunk's own convolutions after its steps of 80 ms, so that a graph holds them
                once; as far as they go.
            hop: frames from a patch to the next.
        """
        super().__init__()
        self.hop = hop
        shared = list(middle) if middle is not None else []
        first = TRUNK + len(shared)
        self.late = nn.Sequential(
            *shared, *(convolution(i, weights) for i in range(first, CONVOLUTIONS))
        )

    def forward(self, coarse: Tensor) -> Tensor:
        """(batch, 256, t, 8) to (batch, patches, 1024); the last patch ends where they end."""
        steps, hop = PATCH // 8, self.hop // 8
        starts = range((coarse.shape[2] - steps) % hop, coarse.shape[2] - steps + 1, hop)
        patches = torch.stack([coarse[:, :, at : at + steps] for at in starts], dim=1)
        heard: Tensor = self.late(patches.flatten(0, 1)).mean(dim=(2, 3))
        return heard.reshape(-1, len(starts), heard.shape[1])


class Frozen(nn.Module):
    """All that stays as YAMNet has it: the trunk's steps, and its view of each patch."""

    def __init__(self, weights: Weights, fixed: int) -> None:
        super().__init__()
        self.trunk = Trunk(weights, fixed)
        self.patches = Patches(weights, self.trunk.middle)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        fine, coarse, middle = self.trunk(log_mel)
        return fine, coarse, middle, self.patches(coarse)


def classifier(weights: Weights, classes: Sequence[int]) -> nn.Linear:
    """(..., 1024) to the logits of some of YAMNet's classes, in this order."""
    kernel, bias = weights.classes
    layer = nn.Linear(kernel.shape[1], len(classes))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel[list(classes)]))
        layer.bias.copy_(torch.from_numpy(bias[list(classes)]))
    return layer
