"""Describes and writes a bundle: the folder of `model.onnx`, `bundle.json` and their texts."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detector.errors import BundleError, ConfigError
from detector.spec import (
    Activation,
    BundleSpec,
    ClipOutput,
    Ctc,
    Decoding,
    FramesOutput,
    Frontend,
    Input,
    Label,
    Onnx,
    Origin,
    Outputs,
    WindowSpec,
)
from detector.validation_errors import describe_errors
from export.graphs.graph import OPSET, opset_of
from export.graphs.precision import Precision


def build_outputs(
    activation: Activation, *, clip: bool = False, frames: tuple[int, int] | None = None
) -> Outputs:
    """The outputs "clip" and "frames", as they are wanted.

    Args:
        activation: of both.
        clip: there is one score set for the whole window.
        frames: hop and offset in samples, if each frame has one.
    """
    return Outputs(
        clip=ClipOutput(name="clip", activation=activation) if clip else None,
        frames=None
        if frames is None
        else FramesOutput(
            name="frames", activation=activation, hop_samples=frames[0], offset_samples=frames[1]
        ),
    )


def build_spec(  # noqa: PLR0913 (the fields of bundle.json)
    *,
    name: str,
    version: str,
    licence: str,
    attribution: str,
    source: Origin,
    onnx: Onnx,
    frontend: Frontend,
    window: WindowSpec,
    graph_input: Input,
    outputs: Outputs,
    decoding: Decoding,
    labels: Sequence[Label],
    ctc: Ctc | None = None,
    parity: Mapping[str, Any] | None = None,
) -> BundleSpec:
    """What `bundle.json` will say of a bundle that is made now.

    Raises:
        ConfigError: an option says what no bundle can.
    """
    try:
        return BundleSpec(
            name=name,
            version=version,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            licence=licence,
            attribution=attribution,
            source=source,
            onnx=onnx,
            frontend=frontend,
            window=window,
            input=graph_input,
            outputs=outputs,
            decoding=decoding,
            ctc=ctc,
            labels=tuple(labels),
            parity=dict(parity or {}),
        )
    except ValidationError as error:
        raise ConfigError("\n".join(describe_errors(error, BundleSpec))) from None


def onnx_to_come(precision: Precision) -> Onnx:
    """Stands in a bundle's description until there is a graph to describe."""
    return Onnx(sha256="0" * 64, opset=OPSET, precision=precision)


def describe_graph(model: Path, precision: Precision = "fp32") -> Onnx:
    """What `bundle.json` says of the graph in the file `model`."""
    return Onnx(sha256=_sha256(model), opset=opset_of(model), precision=precision)


def write_bundle(
    folder: Path,
    model: Path,
    spec: BundleSpec,
    files: Mapping[str, str] | None = None,
    *,
    named_as_folder: bool = True,
) -> None:
    """Put a bundle in the place of `folder`, whole or not at all.

    Args:
        folder: replaced if it is there.
        model: the graph; copied.
        spec: what `bundle.json` shall say.
        files: texts to lie beside, by name.
        named_as_folder: demand that the bundle bears its folder's name, as built-in ones must.

    Raises:
        BundleError: `spec` describes another graph or another folder.
    """
    if spec.onnx.sha256 != _sha256(model):
        raise BundleError(f"{model}: is not the graph whose hash stands in onnx.sha256")
    if named_as_folder and spec.name != folder.name:
        raise BundleError(f"{folder}: the bundle is named {spec.name!r}, its folder is not")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        new.mkdir()
        shutil.copyfile(model, new / spec.onnx.file)
        for name, text in (files or {}).items():
            (new / name).write_text(text, encoding="utf-8")
        (new / "bundle.json").write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)


def name_of(out: Path) -> str:
    """The folder's name, in the letters that a bundle's name can have."""
    return re.sub(r"[^a-z0-9_-]+", "-", out.absolute().name.lower()).lstrip("-_")[:64] or "model"


def check_folder(out: Path) -> None:
    """See that a bundle may be put in the place of `out`.

    Raises:
        ConfigError: it is a file, or a folder of other things.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; a bundle is a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "bundle.json").is_file():
        raise ConfigError(
            f"--out {out}: is a folder with other things in it, which a bundle would replace; "
            "name one that does not exist yet"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
