"""Reads a bundle from disk and refuses one that is damaged or does not keep the contract."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from detector.errors import BundleError
from detector.inference.onnx_file import external_data
from detector.spec import FORMAT, BundleSpec
from detector.validation_errors import describe_errors

BUILT_IN = Path(__file__).parent.parent / "models"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose description is valid and whose model is the one described."""

    folder: Path
    spec: BundleSpec

    @property
    def model_file(self) -> Path:
        return self.folder / self.spec.onnx.file


def built_in() -> list[str]:
    """The names of the bundles that come with the detector."""
    return sorted(path.parent.name for path in BUILT_IN.glob("*/bundle.json"))


def load_bundle(name: str) -> Bundle:
    """Read the bundle `name`: a built-in one, or the path of a folder (with a slash in it).

    Raises:
        BundleError: naming the file, the field, its value and what would be right.
    """
    try:
        folder = Path(name).expanduser() if "/" in name else BUILT_IN / name
        found = folder.is_dir()
    except (OSError, RuntimeError) as error:  # the home of nobody, or no name a folder can have
        raise BundleError(f"{name}: cannot be read: {error}") from None
    if not found:
        known = ", ".join(built_in())
        raise BundleError(
            f"{folder}: no such folder"
            if "/" in name
            else f"there is no built-in bundle {name!r}, only: {known}; "
            f"a bundle of your own is given as a path (./{name})"
        )
    spec = _read_spec(folder / "bundle.json")
    bundle = Bundle(folder, spec)
    _check_model(bundle)
    return bundle


def _read_spec(path: Path) -> BundleSpec:
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # neither JSON nor UTF-8, or nested too deeply
        raise BundleError(f"{path}: is not JSON: {error}") from None
    if isinstance(table, dict) and table.get("format") != FORMAT:
        raise BundleError(
            f"{path}: format = {table.get('format')!r}: this detector reads format {FORMAT}; "
            "export the model again with the version that you run"
        )
    try:
        return BundleSpec.model_validate(table)
    except ValidationError as error:
        lines = "\n".join(f"{path}: {line}" for line in describe_errors(error, BundleSpec))
        raise BundleError(lines) from None


def _check_model(bundle: Bundle) -> None:
    path, expected = bundle.model_file, bundle.spec.onnx.sha256
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    if found != expected:
        raise BundleError(
            f"{path}: onnx.sha256 = {expected}, but the file's is {found}: it is truncated or "
            "was changed; copy the bundle again"
        )
    for location in external_data(path):
        raise BundleError(
            f"{path}: keeps weights in another file, {location!r}, for which no hash vouches; "
            "export the model to a single file"
        )
