"""Cuts a graph before its classification layer, and puts another one there.

What comes before stays as it is, to the bit: its nodes and weights are taken over unread.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detector.errors import BundleError
from detector.records import FloatArray

OUTPUTS = ("clip", "frames")
HIDDEN = "given_to_the_head"
"""What a graph may call the tensor that a new layer is to be given: of one that answers by more
than linear layers, nothing else tells."""
_OLDEST_OPSET = 13
"""From it on, the axes of a sum are an input, and a softmax is over one axis."""

_AFTER = {
    *("Add", "Sub", "Mul", "Div", "Sum", "Mean", "Clip", "Cast", "Identity", "Softmax", "Sigmoid"),
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceLogSumExp", "LogSoftmax", "Dropout"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "GlobalAveragePool"),
}
"""What may stand between a classification layer and the output: pooling, activation, shape."""


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """A linear layer."""

    weight: FloatArray
    """(dim, labels)."""
    bias: FloatArray
    """(labels,)."""


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """Classification layers of the same labels."""

    classify: LinearWeights
    """Of the mean of the hidden states; or of each, if they are weighted."""
    attend: LinearWeights | None
    """The logits of each hidden state's weight for each label."""
    frames: LinearWeights | None
    """Of each hidden state."""


@dataclass(frozen=True, slots=True)
class CutPoint:
    """Where a graph can be cut."""

    hidden: str
    """The tensor that its classification layers are given."""
    weighted: bool
    """The hidden states are weighted by a layer of their own, rather than counted alike."""


def find_hidden(model: onnx.ModelProto, output: str, labels: int) -> CutPoint:
    """The place before the layer that makes an output.

    Args:
        model: where each linear layer is a MatMul or a Gemm with a constant matrix.
        output: whose last axis is the labels.
        labels: how many.

    Raises:
        BundleError: the output does not come from linear layers of one tensor. The message lacks
            the file.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    if HIDDEN in makers:
        return CutPoint(HIDDEN, weighted=True)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: list[str] = []
    seen: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name in seen or name in constants or not name:
            continue
        seen.add(name)
        node = makers.get(name)
        if node is None:
            raise _not_linear(output, "the graph's input")
        if node.op_type == "Constant":
            continue
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants:
            size = _outputs(node, constants[node.input[1]])
            if size != labels:
                raise _not_linear(output, f"a linear layer of {size} outputs")
            found.append(node.input[0])
        elif node.op_type in _AFTER:
            waiting += node.input
        else:
            raise _not_linear(output, f"a {node.op_type}")
    if len(set(found)) != 1:
        raise _not_linear(output, f"linear layers of {len(set(found))} different tensors")
    return CutPoint(found[0], weighted=len(found) > 1)


def cut(model: onnx.ModelProto, hidden: str) -> onnx.ModelProto:
    """The part of the graph that makes `hidden`, which becomes its only output.

    A tensor inside that is called as an output of the new head will be is given another name.

    Raises:
        BundleError: nothing can be added to the graph. The message lacks the file.
    """
    graph = model.graph
    opset = max(int(used.version) for used in model.opset_import if used.domain in {"", "ai.onnx"})
    if opset < _OLDEST_OPSET:
        raise BundleError(f"its opset is {opset}; a layer can be added from {_OLDEST_OPSET} on")
    for given in graph.input:
        if given.name in OUTPUTS:
            raise BundleError(f"its input is called {given.name!r}, as an output is to be")
    nodes = _needed(graph.node, hidden)
    used = {name for node in nodes for name in (*node.input, *_outer(node))}
    part = helper.make_graph(
        nodes,
        graph.name,
        list(graph.input),
        [helper.make_empty_tensor_value_info(hidden)],
        [tensor for tensor in graph.initializer if tensor.name in used],
        value_info=[value for value in graph.value_info if value.name in used],
    )
    _give_way(part)
    return helper.make_model(
        part,
        opset_imports=list(model.opset_import),
        functions=list(model.functions),
        ir_version=model.ir_version,
        producer_name=model.producer_name,
    )


def add_head(
    encoder: onnx.ModelProto, layers: HeadWeights, steps: int | None, *, cast: bool
) -> onnx.ModelProto:
    """Let classification layers follow a graph that was cut.

    Args:
        encoder: its output is (batch, steps, dim), or (batch, dim) if there are no steps.
        layers: what they are made of.
        steps: how many hidden states there are of a window.
        cast: the hidden states are not float32.

    Returns:
        A graph with the outputs "clip", (batch, labels), and, if there is a layer for them,
        "frames", (batch, steps, labels); both are logits.
    """
    hidden = encoder.graph.output[0].name
    taken = {name for node in encoder.graph.node for name in (*node.input, *node.output)}
    builder = _Builder(taken | {value.name for value in encoder.graph.input})
    if cast:
        hidden = builder.node("Cast", [hidden], to=TensorProto.FLOAT)
    if layers.attend is not None:
        weights = builder.node("Softmax", [builder.linear(hidden, layers.attend)], axis=1)
        weighted = builder.node("Mul", [weights, builder.linear(hidden, layers.classify)])
        builder.node("ReduceSum", [weighted, builder.axes(1)], "clip", keepdims=0)
    else:
        if steps is not None:
            total = builder.node("ReduceSum", [hidden, builder.axes(1)], keepdims=0)
            share = builder.constant(np.float32(1 / steps))
            mean = builder.node("Mul", [total, share])
        builder.linear(hidden if steps is None else mean, layers.classify, "clip")
    if layers.frames is not None:
        builder.linear(hidden, layers.frames, "frames")
    labels = len(layers.classify.bias)
    shapes: dict[str, list[str | int | None]] = {"clip": ["batch", labels]}
    if layers.frames is not None:
        shapes["frames"] = ["batch", steps, labels]
    whole = onnx.ModelProto()
    whole.CopyFrom(encoder)
    del whole.graph.output[:]
    whole.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    whole.graph.node.extend(builder.nodes)
    whole.graph.initializer.extend(builder.constants)
    onnx.checker.check_model(whole)
    return whole


class _Builder:
    """Nodes and constants whose names occur nowhere in the graph that they are added to."""

    def __init__(self, taken: Collection[str]) -> None:
        self._prefix = "head"
        while any(name.startswith(f"{self._prefix}.") for name in taken):
            self._prefix += "_"
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(
        self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: int
    ) -> str:
        output = output or f"{self._prefix}.{kind.lower()}_{len(self.nodes)}"
        name = f"{self._prefix}.{kind}_{len(self.nodes)}"
        node = helper.make_node(kind, inputs, [output], name=name)
        for key, value in attributes.items():
            node.attribute.append(helper.make_attribute(key, value))
        self.nodes.append(node)
        return output

    def linear(self, given: str, layer: LinearWeights, output: str | None = None) -> str:
        product = self.node("MatMul", [given, self.constant(layer.weight)])
        return self.node("Add", [product, self.constant(layer.bias)], output)

    def axes(self, *axes: int) -> str:
        return self.constant(np.array(axes, np.int64))

    def constant(self, value: NDArray[Any] | np.float32) -> str:
        name = f"{self._prefix}.constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _give_way(graph: onnx.GraphProto) -> None:
    """Rename what is called as an output will be. Branches of nodes see the names as well."""
    new = {name: f"encoder.{name}" for name in OUTPUTS}
    for value in (*graph.output, *graph.initializer, *graph.value_info):
        value.name = new.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
        for attribute in node.attribute:
            for branch in (attribute.g, *attribute.graphs):
                _give_way(branch)


def _needed(nodes: Sequence[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """In their order, the nodes on which `output` depends."""
    wanted, kept = {output}, []
    for node in reversed(nodes):  # a graph's nodes stand in the order in which they can be computed
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
            wanted.update(_outer(node))
    return kept[::-1]


def _outer(node: onnx.NodeProto) -> set[str]:
    """What the branches of a node take from the graph around them."""
    names = set()
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= {*inner.input, *_outer(inner)}
    return names


def _outputs(node: onnx.NodeProto, matrix: TensorProto) -> int:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return int(matrix.dims[0 if transposed else -1])


def _not_linear(output: str, instead: str) -> BundleError:
    return BundleError(
        f"the output {output!r} does not come from a linear layer (MatMul or Gemm with constant "
        f"weights) with one output a label, but from {instead}: there is no place for a new one"
    )
