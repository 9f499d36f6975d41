"""The bundle that ships is whole, measured and quiet where nothing sounds."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from detector.features.fbank import LogMel
from detector.spec import BundleSpec, Fbank

SOUNDS = Path(__file__).parents[2] / "detector" / "models" / "sounds"


@pytest.fixture(scope="module")
def spec() -> BundleSpec:
    return BundleSpec.model_validate_json((SOUNDS / "bundle.json").read_text("utf-8"))


def test_shipped_bundle_is_the_one_that_its_description_hashes(spec: BundleSpec) -> None:
    model = (SOUNDS / spec.onnx.file).read_bytes()
    assert hashlib.sha256(model).hexdigest() == spec.onnx.sha256
    assert len(model) < 15e6


def test_shipped_bundle_was_measured_and_agreed_with_pytorch(spec: BundleSpec) -> None:
    assert spec.parity["max_probability_difference"] <= 1e-4
    assert {1, 5} <= set(spec.parity["batches"])
    assert spec.metrics["esc50_fold5"]["clips"] == 400
    assert spec.metrics["esc50_fold5"]["top1"] >= 0.65


def test_shipped_graph_takes_batches_of_any_size_and_each_row_is_alone(spec: BundleSpec) -> None:
    session = onnxruntime.InferenceSession(
        SOUNDS / spec.onnx.file, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(3)
    rows = rng.normal(-0.4, 0.6, (3, *map(int, spec.input.shape[1:]))).astype(np.float32)
    assert spec.outputs.clip is not None
    names = [spec.outputs.clip.name]
    alone = [session.run(names, {spec.input.name: row[None]})[0][0] for row in rows]
    together = session.run(names, {spec.input.name: rows})[0]
    assert together.shape == (3, len(spec.labels))
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("seconds", [0.5, 2, 5.12])
def test_silence_and_steady_noise_start_no_event(
    spec: BundleSpec, level: float, seconds: float
) -> None:
    assert isinstance(spec.frontend, Fbank)
    noise = np.random.default_rng(4).standard_normal(int(seconds * spec.sample_rate))
    frames = LogMel(spec.frontend, spec.sample_rate).push((level * noise).astype(np.float32))
    rows = np.full((1, *map(int, spec.input.shape[1:])), spec.frontend.padding, np.float32)
    rows[0, : len(frames)] = frames
    session = onnxruntime.InferenceSession(
        SOUNDS / spec.onnx.file, providers=["CPUExecutionProvider"]
    )
    scores = 1 / (1 + np.exp(-session.run(None, {spec.input.name: rows})[0][0]))
    assert (scores < [label.onset_threshold for label in spec.labels]).all()


def test_attribution_lists_free_recordings_alone() -> None:
    with (SOUNDS / "ATTRIBUTION.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    clips = [row for row in rows if row["url"]]
    assert {row["licence"] for row in clips} == {"CC0/CC-BY"}
    assert all(row["filename"][0] in "1234" for row in clips)
    assert all(row["licence"] and "NC" not in row["licence"] for row in rows)
