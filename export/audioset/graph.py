"""YAMNet's layers as an ONNX graph: from log-mel patches to logits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.audioset.tflite import Layer

OPSET: Final = 18
_IR_VERSION: Final = 8
"""The oldest that has this opset, so that every runtime that knows it reads the file."""


def write_graph(layers: Sequence[Layer], frames: int, mel_bins: int, path: Path) -> None:
    """Write the graph: "input" (batch, frames, mel_bins) to "clip" (batch, classes), logits.

    The weights stay the integers that they are, each channel with its scale beside it. A runtime
    multiplies them once, when it loads the graph, and computes in floating point: the file is a
    quarter as large, and the answers are those of the layers in fp32.
    """
    graph = _Graph()
    value = graph.add("Unsqueeze", "input", graph.constant("channel", np.array([1])))
    zero, six = (graph.constant(str(limit), np.float32(limit)) for limit in (0, 6))
    *convolutions, linear = layers
    for number, layer in enumerate(convolutions, 1):
        size = layer.weights.shape[2:]
        value = graph.add(
            "Conv",
            value,
            *graph.parameters(f"layer{number}", layer),
            auto_pad="SAME_UPPER",  # as TensorFlow's "SAME": an odd sample of padding comes last
            kernel_shape=list(size),
            strides=[layer.stride] * 2,
            group=len(layer.weights) if layer.depthwise else 1,
        )
        value = graph.add("Clip", value, zero, six)
    value = graph.add("Flatten", graph.add("GlobalAveragePool", value))
    graph.add("Gemm", value, *graph.parameters("answer", linear), transB=1, out="clip")
    graph.save(path, (frames, mel_bins), len(linear.bias))


class _Graph:
    """Nodes in their order, each with one output, and constants."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:  # noqa: ANN401
        """Append a node; return the name of its output."""
        out = out or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def parameters(self, name: str, layer: Layer) -> tuple[str, str]:
        """Weights, unpacked, and bias."""
        packed = self.constant(f"{name}.weights", layer.weights)
        scale = self.constant(f"{name}.scale", layer.scale)
        weights = self.add("Mul", self.add("Cast", packed, to=TensorProto.FLOAT), scale)
        return weights, self.constant(f"{name}.bias", layer.bias)

    def save(self, path: Path, shape: tuple[int, ...], classes: int) -> None:
        kind = TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "yamnet",
            [helper.make_tensor_value_info("input", kind, ["batch", *shape])],
            [helper.make_tensor_value_info("clip", kind, ["batch", classes])],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
