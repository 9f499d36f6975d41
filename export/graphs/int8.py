"""Convolutions and matrix products in 8-bit integers, at scales that were measured beforehand.

`precision.to_precision` lets matrix products measure what they are given as they run. That costs
time, and convolutions cannot; here every value has a fixed scale, from what it was while the graph
heard recordings like those that it will hear.
"""

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from detector.records import FloatArray
from export.graphs.precision import quietly


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # has no types
    """Gives the quantiser one window at a time."""

    def __init__(self, name: str, windows: FloatArray) -> None:
        self._inputs = iter([{name: window[None]} for window in windows])

    def get_next(self) -> dict[str, FloatArray] | None:
        return next(self._inputs, None)


def to_static_int8(path: Path, windows: FloatArray) -> None:
    """Convert the fp32 graph in the file `path`, in place. Inputs and outputs stay fp32.

    The layers that answer stay as they are, so that `detector-export head` can replace them.
    Weights have a scale for each output channel and 7 bits: processors without VNNI add two
    products in 16 bits, which more would overflow (ONNX Runtime, "Quantize ONNX models", section
    "When and why do I need to try U8U8?").

    Args:
        path: as `to_precision` left it.
        windows: (n, ...) float32, inputs to measure the scales on. They are a kind of training:
            none may be of a recording that tests the model.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".int8-") as folder:
        done = Path(folder, "model.onnx")
        model = onnx.load(path)
        model.graph.ClearField("value_info")  # it contradicts what the quantiser infers
        with quietly():
            quantize_static(
                model,
                done,
                _Reader(model.graph.input[0].name, windows),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                nodes_to_exclude=[*_of_one_channel(model.graph), *_last(model.graph)],
                extra_options={"MatMulConstBOnly": True},  # attention's own products gain nothing
            )
        done.replace(path)


def _of_one_channel(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions over one channel: as integers they are slower, and coarse."""
    shapes = {weights.name: weights.dims for weights in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and shapes.get(node.input[1], (0, 0))[1] == 1
    ]


def _last(graph: onnx.GraphProto) -> list[str]:
    """Names of the linear layers after which there are no others: those that answer."""
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    found, seen = [], set()
    waiting = [output.name for output in graph.output]
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in ("Conv", "MatMul", "Gemm") and node.input[1] in constants:
            found.append(node.name)
        else:
            waiting += node.input
    return found
