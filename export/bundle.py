"""Writes a bundle: the folder of `model.onnx`, `bundle.json` and what belongs to them."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from detector.errors import BundleError
from detector.spec import BundleSpec, Onnx
from export.graphs.graph import opset_of


def describe(model: Path, precision: Literal["fp32", "fp16", "int8"] = "fp32") -> Onnx:
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
