"""A network as an ONNX graph in one file, with a batch axis of any length."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import nn

from detector.errors import BundleError

OPSET = 18


def export_graph(
    module: nn.Module,
    example: torch.Tensor,
    path: Path,
    *,
    outputs: tuple[str, ...],
    opset: int = OPSET,
) -> None:
    """Write `module`, as it is in evaluation, to `path`.

    Args:
        module: takes one tensor and returns one tensor, or a tuple of as many as there are names
            in `outputs`: logits, since a softmax or sigmoid in the graph would hinder its
            optimisation.
        example: (batch, ...), batch at least 2: an axis of length 1 would be taken for a constant.
        path: the file; nothing is written beside it.
        outputs: what the graph calls its outputs; its input is called "input".
        opset: version of the operators, at least 18.

    Raises:
        BundleError: the graph does not have the form that was asked for.
    """
    if len(example) < 2:  # noqa: PLR2004
        raise ValueError(f"example: a batch of {len(example)}; at least 2 are needed")
    with _quietly():
        torch.onnx.export(
            module.eval(),
            (example,),
            path,
            dynamo=True,
            verbose=False,
            external_data=False,
            opset_version=opset,
            input_names=["input"],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
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
