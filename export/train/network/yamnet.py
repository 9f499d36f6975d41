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
HEARD = 510
"""Rows of a window that are sound; those after them are padding."""
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


class Frozen(nn.Module):
    """All that stays as YAMNet has it: the trunk's steps, and YAMNet's own view of each patch."""

    def __init__(self, weights: Weights, fixed: int) -> None:
        super().__init__()
        self.trunk = Trunk(weights, fixed)
        self.late = nn.Sequential(*(convolution(i, weights) for i in range(fixed, CONVOLUTIONS)))

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (*self.trunk(log_mel), self.patches(log_mel))

    def patches(self, log_mel: Tensor) -> Tensor:
        """(batch, frames, 64) to (batch, patches, 1024), one after the other.

        The last ends with the last row that a window fills; the first rows are in none. They are
        cut before anything is computed of them: zeros around them are part of what YAMNet learnt.
        """
        count = HEARD // PATCH
        rows = log_mel[:, HEARD - count * PATCH : HEARD]
        patches = rows.reshape(-1, PATCH, rows.shape[2])
        _, _, middle = self.trunk(patches)
        heard: Tensor = self.late(middle).mean(dim=(2, 3))
        return heard.reshape(-1, count, heard.shape[1])


def classifier(weights: Weights, classes: Sequence[int]) -> nn.Linear:
    """(..., 1024) to the logits of some of YAMNet's classes, in this order."""
    kernel, bias = weights.classes
    layer = nn.Linear(kernel.shape[1], len(classes))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel[list(classes)]))
        layer.bias.copy_(torch.from_numpy(bias[list(classes)]))
    return layer
