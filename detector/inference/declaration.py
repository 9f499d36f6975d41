"""What a runtime or a server says of a model, held against its bundle before the first window."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from detector.errors import BundleError
from detector.inference.decoding import Decoder
from detector.spec import BundleSpec


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or an output, as it is declared."""

    type: str
    shape: Sequence[int | str | None]
    """What is no number is free; empty if nothing is declared."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """The inputs and outputs of a model, by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


def check_declaration(
    found: Declaration, spec: BundleSpec, name: str, float32: str, floats: Collection[str]
) -> None:
    """Refuse a model that is not the one that the bundle describes.

    Args:
        found: what the model declares.
        spec: what the bundle promises.
        name: what errors call the model: its file, or where it is served.
        float32: what the type of the input must be called.
        floats: what the type of an output may be called.

    Raises:
        BundleError: naming the field, its value and what was found.
    """
    _check_input(found.inputs, spec, name, float32)
    decoder = Decoder(spec, name)
    for output in decoder.outputs:
        if output.name not in found.outputs:
            raise BundleError(
                f"{name}: outputs names {output.name!r}, but the model's outputs are "
                f"{list(found.outputs)}"
            )
        declared = found.outputs[output.name]
        if declared.type not in floats:
            raise BundleError(
                f"{name}: output {output.name!r} is a {declared.type}; "
                f"it must be one of {', '.join(floats)}"
            )
        if declared.shape:
            decoder.check_shape(output, declared.shape)


def _check_input(inputs: Mapping[str, Tensor], spec: BundleSpec, name: str, float32: str) -> None:
    wanted = spec.input
    if list(inputs) != [wanted.name]:
        raise BundleError(
            f"{name}: input.name = {wanted.name!r}, but the model's inputs are {list(inputs)}"
        )
    declared = inputs[wanted.name]
    shape = list(declared.shape)
    same = len(shape) == len(wanted.shape) and all(
        not isinstance(f, int) or f == w for f, w in zip(shape[1:], wanted.shape[1:], strict=True)
    )
    if not same:
        raise BundleError(f"{name}: input.shape = {list(wanted.shape)}, but the model's is {shape}")
    if isinstance(shape[0], int):
        raise BundleError(
            f"{name}: the model's batch axis is fixed to {shape[0]}; it must be dynamic"
        )
    if declared.type != float32:
        raise BundleError(
            f"{name}: the model's input {wanted.name!r} is a {declared.type}; "
            f"it must be a {float32}"
        )
