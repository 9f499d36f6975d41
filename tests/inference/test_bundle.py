"""A bundle that is damaged or breaks the contract is refused, and the error says where."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx.external_data_helper
import pytest

from detector.errors import BundleError
from detector.inference.bundle import BUILT_IN, built_in, load_bundle
from tests.bundles import edit_description, loudness_bundle, replace_model, tone_bundle

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tone_bundle(tmp_path / "tones")


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as raised:
        load_bundle(str(folder))
    assert raised.value.exit_code == 3
    return str(raised.value)


def refusal_of(folder: Path, edit: Edit) -> str:
    message = refusal(edit_description(folder, edit))
    assert message.startswith(f"{folder / 'bundle.json'}: ")
    return message


def test_sound_bundle_is_read(folder: Path) -> None:
    bundle = load_bundle(str(folder))
    assert bundle.spec.id == "tones@1"
    assert [label.slug for label in bundle.spec.labels] == ["low", "high"]
    assert bundle.model_file == folder / "model.onnx"


@pytest.mark.parametrize("name", built_in())
def test_built_in_bundles_are_found_by_name(name: str) -> None:
    bundle = load_bundle(name)
    assert bundle.folder == BUILT_IN / name
    assert bundle.spec.name == name


def test_there_is_a_built_in_bundle() -> None:
    assert built_in()


def test_missing_folder_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert refusal(missing) == f"{missing}: no such folder"


@pytest.mark.parametrize("name", ["nowhere", "a\0b"])
def test_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(BundleError) as raised:
        load_bundle(name)
    assert repr(name) in str(raised.value)
    assert all(known in str(raised.value) for known in built_in())
    assert "given as a path" in str(raised.value)


@pytest.mark.parametrize("name", ["./" + "a" * 5000, "~nobody-of-this-name/bundle"])
def test_a_path_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(BundleError) as raised:
        load_bundle(name)
    assert name in str(raised.value)


def test_missing_description_is_named(folder: Path) -> None:
    (folder / "bundle.json").unlink()
    assert refusal(folder) == f"{folder}/bundle.json: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"not JSON", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": ' * 100_000],
    ids=["empty", "truncated", "prose", "not UTF-8", "deep list", "deep object"],
)
def test_what_is_not_json_is_refused(folder: Path, content: bytes) -> None:
    (folder / "bundle.json").write_bytes(content)
    assert refusal(folder).startswith(f"{folder}/bundle.json: is not JSON")


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_json_that_is_no_object_is_refused(folder: Path, content: str) -> None:
    (folder / "bundle.json").write_text(content)
    assert str(folder / "bundle.json") in refusal(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_unknown_format_is_refused(folder: Path, version: object) -> None:
    message = refusal_of(folder, lambda d: d.update(format=version))
    assert f"format = {version!r}" in message
    assert "reads format 1" in message


def test_missing_format_is_refused(folder: Path) -> None:
    assert "format = None" in refusal_of(folder, lambda d: d.pop("format"))


def in_label(**changes: object) -> Edit:
    return lambda d: d["labels"][1].update(changes)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda d: d.update(wnidow={}), ["wnidow", "did you mean 'window'?"]),
        (lambda d: d["onnx"].update(sha265=""), ["onnx.sha265", "did you mean 'sha256'?"]),
        (in_label(slgu="x"), ["labels.1.slgu", "did you mean 'slug'?"]),
        (lambda d: d["frontend"].update(bins=1), ["frontend.bins", "no such"]),
        (lambda d: d.pop("window"), ["window: ", "required"]),
        (lambda d: d["onnx"].update(opset="new"), ["onnx.opset = 'new'", "integer"]),
        (lambda d: d.update(sample_rate=44100), ["sample_rate = 44100", "16000"]),
        (lambda d: d.update(labels="low"), ["labels = 'low'", "must be a list"]),
        (lambda d: d.update(labels=[]), ["labels = []", "at least 1"]),
        (lambda d: d["frontend"].update(kind="mfcc"), ["frontend", "mfcc"]),
        (lambda d: d.update(outputs={}), ["outputs: has neither clip nor frames"]),
        (lambda d: d.update(decoding="ctc"), ["ctc: must be given"]),
        (lambda d: d["onnx"].update(sha256="abc"), ["onnx.sha256 = 'abc'"]),
        (in_label(onset_threshold=1.5), ["labels.1.onset_threshold = 1.5", "equal to 1"]),
        (in_label(onset_threshold=float("nan")), ["labels.1.onset_threshold = nan", "finite"]),
        (in_label(min_duration_s=float("inf")), ["labels.1.min_duration_s = inf", "finite"]),
        (in_label(merge_gap_s=-1), ["labels.1.merge_gap_s = -1", "equal to 0"]),
        (
            in_label(onset_threshold=0.2, offset_threshold=0.4),
            ["labels.1: offset_threshold 0.4 is above onset_threshold 0.2"],
        ),
        (in_label(slug="low"), ["labels: slug 'low' stands twice"]),
        (
            lambda d: d["window"].update(samples=40_001),
            ["window.samples: 40001 is not a multiple of frontend.shift_samples = 160"],
        ),
        (lambda d: d["window"].update(hop_samples=50_080), ["hop_samples 50080 > samples 40960"]),
        (lambda d: d["window"].update(samples=320, hop_samples=160), ["do not hold one frame"]),
        (lambda d: d["input"].update(shape=["batch", 9, 128]), ["input.shape: ('batch', 9, 128)"]),
        (lambda d: d["input"].update(shape=["batch", 300, 64]), ["input.shape: ('batch', 300,"]),
        (lambda d: d["input"].update(shape=[1, 300, 128]), ["input.shape: (1,", "named batch"]),
        (lambda d: d["input"].update(shape=[]), ["input.shape: ()"]),
        (lambda d: d["frontend"].update(shift_samples=500), ["shift_samples 500 > frame_samples"]),
        (lambda d: d["frontend"].update(frame_samples=600), ["frame_samples 600 > fft_size 512"]),
        (lambda d: d["frontend"].update(low_hz=8000), ["low_hz 8000.0 is not below high_hz"]),
    ],
)
def test_mistake_is_told_with_field_and_value(folder: Path, edit: Edit, told: list[str]) -> None:
    message = refusal_of(folder, edit)
    assert [part for part in told if part not in message] == [], message


def test_waveform_must_fill_the_input(tmp_path: Path) -> None:
    folder = loudness_bundle(tmp_path / "loudness")
    message = refusal_of(folder, lambda d: d["input"].update(shape=["batch", 15_999]))
    assert "does not hold window.samples = 16000" in message


def test_every_mistake_is_told_at_once(folder: Path) -> None:
    def edit(description: dict[str, Any]) -> None:
        description["licence"] = 3
        description["window"]["samples"] = "long"

    lines = refusal_of(folder, edit).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["licence = 3", "window.samples = 'long'"]


@pytest.mark.parametrize(
    "slug",
    ["a/b", "+", "#", "", "\0", "a\n", "Dog", "Ä", "dog bark", "a" * 70_000],
    ids=lambda slug: ascii(slug[:9]),
)
def test_slug_that_could_harm_a_topic_is_refused(folder: Path, slug: str) -> None:
    message = refusal_of(folder, in_label(slug=slug))
    assert "labels.1.slug = " in message
    assert repr(slug)[:50] in message
    assert len(message) < 500


@pytest.mark.parametrize(
    "file",
    [
        *("../model.onnx", "sub/model.onnx", "/etc/passwd", "..\\model.onnx"),
        *("", ".", "..", "model.onnx/", "model.onnx\0", "model.ort"),
    ],
)
def test_model_file_must_be_a_plain_name(folder: Path, file: str) -> None:
    message = refusal_of(folder, lambda d: d["onnx"].update(file=file))
    assert f"onnx.file = {file!r}" in message
    assert "plain name of an .onnx file" in message


def test_missing_model_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    assert refusal(folder) == f"{folder}/model.onnx: cannot be read: No such file or directory"


def test_model_that_is_a_folder_is_refused(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    assert f"{folder}/model.onnx: cannot be read" in refusal(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-1] + b"\0",
        lambda _: b"",
        lambda data: data * 2,
    ],
    ids=["truncated", "tampered", "emptied", "doubled"],
)
def test_model_with_another_hash_is_refused(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    model = folder / "model.onnx"
    expected = json.loads((folder / "bundle.json").read_text())["onnx"]["sha256"]
    model.write_bytes(damage(model.read_bytes()))
    message = refusal(folder)
    assert message.startswith(f"{model}: onnx.sha256 = {expected}, but the file's is ")


@pytest.mark.parametrize("location", ["../x", "weights.bin", "/etc/passwd", ""])
def test_model_with_weights_elsewhere_is_refused(folder: Path, location: str) -> None:
    model = onnx.load(folder / "model.onnx")
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location)
    message = refusal(replace_model(folder, model))
    assert message.startswith(f"{folder}/model.onnx: ")
    assert repr(location) in message


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x0b garbage"])
def test_garbage_is_refused_though_its_hash_is_right(folder: Path, content: bytes) -> None:
    message = refusal(replace_model(folder, content))
    assert message.startswith(f"{folder}/model.onnx: is not an ONNX file")
