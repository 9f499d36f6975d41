"""`detector-export triton`: bundles become a model repository."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer

from detector.errors import ConfigError
from detector.inference.bundle import BUILT_IN, Bundle
from export.commands.inspect import open_bundle
from export.triton import TritonOptions, add_to_repository, version_of


def write_repository(names: Sequence[str], repository: Path, options: TritonOptions) -> None:
    """Put bundles into a repository, and print what a detector's configuration says of them.

    Raises:
        BundleError: one of them is broken.
        ConfigError: two have one name, or the repository has something else in the place of one.
    """
    bundles = [open_bundle(name) for name in names]
    [(most_frequent, count)] = Counter(bundle.spec.name for bundle in bundles).most_common(1)
    if count > 1:
        raise ConfigError(f"{count} of the bundles are named {most_frequent!r}; Triton needs names")
    for bundle in bundles:
        folder = add_to_repository(repository, bundle, options)
        if bundle.spec.onnx.precision == "int8":
            typer.echo(_INT8.format(folder=folder), err=True)
        typer.echo(_summary(folder, bundle))


_INT8 = (
    "{folder}: the bundle computes in int8, quantised while it runs, as suits CPUs. Triton's ONNX "
    "Runtime backend may refuse it or be slow with it on a GPU, and TensorRT does not take it: "
    "look whether the server loads it, or export the model again with --precision fp16"
)


def _summary(folder: Path, bundle: Bundle) -> str:
    name = bundle.spec.name
    where = name if bundle.folder.parent == BUILT_IN else bundle.folder.absolute()
    return "\n".join(
        [
            f"{folder}: {bundle.spec.id}, version {version_of(bundle)} of Triton's model {name}",
            f"  [models.{name.replace('-', '_')}]",
            f'  bundle = "{where}"  # its bundle.json is enough',
            '  remote = "grpc://HOST:8001"',
        ]
    )
