"""The weights of a graph in fp16 for accelerators, or in int8 for processors.

A graph comes from the exporter in fp32. `to_precision` also takes out what no runtime needs: masks
that hide nothing, and the exporter's notes on where each node comes from, which name files of the
machine that it ran on.
"""

import ast
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from detector.errors import BundleError
from export.graphs.attention import drop_idle_masks, fuse_attention

Precision = Literal["fp32", "fp16", "int8"]

PARITY_LIMITS: Mapping[Precision, float] = {"fp32": 1e-3, "fp16": 2e-3, "int8": math.inf}
"""How far a bundle's probability may lie from the checkpoint's. What int8 costs is reported."""

FRONT_END = "prelude"
"""What a network calls the module that computes its input: it stays in full precision."""

_ROUNDING = 1e-4
"""Largest change of a logit, relative to the largest, that fusing may bring."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of a graph."""

    precision: Precision
    idle_masks: int
    """Layers whose mask hid nothing and was taken out."""
    fused_attention: int
    """Layers whose attention is one node."""


def to_precision(
    path: Path, precision: Precision, *, layers: int, fuse: bool | None = None
) -> Conversion:
    """Convert the fp32 graph in the file `path`, in place. Inputs and outputs stay fp32.

    Args:
        path: as `export_graph` wrote it.
        precision: of the weights. fp16 halves all that follows the front end, softmax too; int8
            has the weights of matrix products as 8-bit integers, channel by channel, and computes
            the scale of their inputs as it runs.
        layers: how many layers of attention there are to fuse, by `attention_layers`.
        fuse: attention into one node a layer; if None, where it is known to help: with fp16,
            which is for accelerators. On a processor it brings nothing.

    Raises:
        BundleError: fewer layers than there are could be fused, or fusing changed the result.
    """
    model = ir.load(path)
    border = _front_end_border(model)
    masks = drop_idle_masks(model)
    fused = 0
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".precision-") as folder:
        scratch = Path(folder, "model.onnx")
        if precision == "fp16" if fuse is None else fuse:
            fused = fuse_attention(model)
            if fused < layers:
                raise BundleError(
                    f"{path}: attention became one node in {fused} of {layers} layers; without, "
                    f"{precision} would be slow. Export it as fp32 or int8"
                )
            ir.save(model, scratch)
            _check_same(path, scratch)
        front_end = _front_end(model, border, path)
        ClearMetadataAndDocStringPass()(model)
        if precision == "fp16":
            model = _halved(model, front_end)
        ir.save(model, scratch)
        if precision == "int8":
            _quantise(scratch, front_end)
        scratch.replace(path)
    return Conversion(precision, masks, fused)


def _front_end_border(model: ir.Model) -> list[str]:
    """Names of the values that the front end inside the graph hands to the network."""
    inside = {node for node in model.graph if _is_of_front_end(node)}
    return [
        str(value.name)
        for node in inside
        for value in node.outputs
        if any(user not in inside for user in value.consumers())
    ]


def _is_of_front_end(node: ir.Node) -> bool:
    scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]")
    return any(scope.split(".")[-1] == FRONT_END for scope in ast.literal_eval(scopes))


def _front_end(model: ir.Model, border: list[str], path: Path) -> list[str]:
    """Names of all nodes on which the values named in `border` depend.

    Fusing makes new nodes, of which nobody says where they belong; the values remain.
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    if missing := [name for name in border if name not in values]:
        raise BundleError(f"{path}: {missing[0]!r}, where the front end ended, was fused away")
    found: dict[ir.Node, None] = {}
    ahead = [values[name].producer() for name in border]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in found:
            found[node] = None
            ahead += [value.producer() for value in node.inputs if value is not None]
    for number, node in enumerate(found):
        node.name = f"front_end_{number}"
    return [str(node.name) for node in found]


def _halved(model: ir.Model, front_end: list[str]) -> ir.Model:
    """The model in fp16, but for its input, its outputs and the front end."""
    with quietly():
        half = convert_float_to_float16(
            ir.to_proto(model), keep_io_types=True, node_block_list=front_end
        )
    model = ir.from_proto(half)
    # Between two nodes that stay fp32 the converter goes to fp16 and back.
    for node in model.graph:
        original = _cast_from(_cast_from(node.outputs[0], ir.DataType.FLOAT), ir.DataType.FLOAT16)
        if original is not None and original.dtype == ir.DataType.FLOAT:
            ir.convenience.replace_all_uses_with(node.outputs[0], original)
    RemoveUnusedNodesPass()(model)
    model.graph.sort()
    return model


def _cast_from(value: ir.Value | None, dtype: ir.DataType) -> ir.Value | None:
    """What was cast to `dtype` to become this value, if it was."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Cast" or node.attributes["to"].as_int() != dtype:
        return None
    return node.inputs[0]


def _quantise(path: Path, front_end: list[str]) -> None:
    model = onnx.load(path)
    model.graph.ClearField("value_info")  # it contradicts what the quantiser infers
    with quietly():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=front_end,
        )


def _check_same(before: Path, after: Path) -> None:
    """Refuse a fused graph that does not answer as the one before, on the processor."""
    answers = []
    for path in (before, after):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (put,) = session.get_inputs()
        noise = np.random.default_rng(0).standard_normal((2, *put.shape[1:]), np.float32)
        answers.append(session.run(None, {put.name: noise})[0])
    apart = float(np.abs(answers[1] - answers[0]).max())
    if not apart <= _ROUNDING * max(1.0, float(np.abs(answers[0]).max())):  # NaN is no parity
        raise BundleError(f"{before}: fusing its attention changes logits by {apart:.2g}")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what the converters have to say of their own insides from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
