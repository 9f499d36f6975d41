"""A bundle is written whole or not at all."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="export needs torch")

from detector.errors import BundleError
from detector.spec import BundleSpec
from export.bundle import write_bundle

pytestmark = pytest.mark.export
SOUNDS = Path(__file__).parents[2] / "detector" / "models" / "sounds"


@pytest.fixture(scope="module")
def spec() -> BundleSpec:
    return BundleSpec.model_validate_json((SOUNDS / "bundle.json").read_text("utf-8"))


def test_bundle_replaces_the_former_whole(tmp_path: Path, spec: BundleSpec) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / "left over").touch()
    write_bundle(folder, SOUNDS / "model.onnx", spec, {"CARD.md": "what it is"})
    names = {"model.onnx", "bundle.json", "CARD.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert list(tmp_path.iterdir()) == [folder]
    written = BundleSpec.model_validate_json((folder / "bundle.json").read_text("utf-8"))
    assert written == spec


def test_bundle_of_another_graph_is_refused_and_the_former_stays(
    tmp_path: Path, spec: BundleSpec
) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / "former").touch()
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another graph")
    with pytest.raises(BundleError, match=r"other\.onnx.*sha256"):
        write_bundle(folder, other, spec)
    assert (folder / "former").exists()
