"""A network as an ONNX graph in one file, with a batch axis of any length."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import nn

from detector.errors import BundleError
from export.errors import first_line

OPSET = 18
LARGEST_GRAPH = 2**31 - 2**24
"""Bytes of weights: a protobuf message ends at 2 GiB, and the graph itself needs some."""


def export_network(network: nn.Module, shape: tuple[int, ...], path: Path, output: str) -> None:
    """Write a checkpoint's network as a graph with one output, or say why that cannot be.

    Args:
        network: takes (batch, *shape), returns one tensor.
        shape: of one input.
        path: the file.
        output: what the graph calls its output.

    Raises:
        BundleError: it is too large for one file, or PyTorch cannot export it.
    """
    size = sum(t.nbytes for t in (*network.parameters(), *network.buffers()))
    if size > LARGEST_GRAPH:
        raise BundleError(
            f"the weights have {size / 2**30:.1f} GiB; a bundle's graph is one file, which can "
            f"hold {LARGEST_GRAPH / 2**30:.1f}"
        )
    example = torch.zeros(2, *shape).uniform_(-1, 1)
    try:
        export_graph(network, example, path, outputs=(output,))
    except (OSError, BundleError):
        raise
    except Exception as error:
        raise BundleError(
            f"PyTorch's exporter cannot make a graph of this model: {first_line(error)}"
        ) from error


def export_graph(
    module: nn.Module,
    example: torch.Tensor | Mapping[str, torch.Tensor],
    path: Path,
    *,
    outputs: tuple[str, ...],
    opset: int = OPSET,
) -> None:
    """Write `module`, as it is in evaluation, to `path`.

    Args:
        module: takes a tensor for each input and returns one tensor, or a tuple of as many as there
            are names in `outputs`: logits, since a softmax or sigmoid in the graph would hinder
            its optimisation.
        example: (batch, ...), batch at least 2: an axis of length 1 would be taken for a constant.
            One tensor, which the graph calls "input", or each by its name.
        path: the file; nothing is written beside it.
        outputs: what the graph calls its outputs.
        opset: version of the operators, at least 18.

    Raises:
        BundleError: the graph does not have the form that was asked for.
    """
    inputs = {"input": example} if isinstance(example, torch.Tensor) else example
    smallest = min(len(each) for each in inputs.values())
    if smallest < 2:  # noqa: PLR2004
        raise ValueError(f"example: a batch of {smallest}; at least 2 are needed")
    batch = torch.export.Dim("batch")
    with _quietly():
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            path,
            dynamo=True,
            verbose=False,
            external_data=False,
            opset_version=opset,
            input_names=[*inputs],
            output_names=list(outputs),
            dynamic_shapes=tuple({0: batch} for _ in inputs),
        )
    _check(onnx.load(path, load_external_data=False), path, outputs)


def opset_of(path: Path) -> int:
    """The version of the standard operators that the graph in `path` uses."""
    model = onnx.load(path, load_external_data=False)
    return max(int(used.version) for used in model.opset_import if used.domain in {"", "ai.onnx"})


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the exporter has to say of its own insides from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _check(model: onnx.ModelProto, path: Path, outputs: tuple[str, ...]) -> None:
    found = tuple(output.name for output in model.graph.output)
    if found != outputs:
        raise BundleError(f"{path}: the exporter made the outputs {found} instead of {outputs}")
    for value in (*model.graph.input, *model.graph.output):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise BundleError(f"{path}: the batch axis of {value.name} came out fixed")
    external = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    if external:
        raise BundleError(f"{path}: {len(external)} tensors lie outside the file")
