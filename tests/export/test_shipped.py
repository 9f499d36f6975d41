"""The bundle that ships is whole, measured and quiet where nothing sounds."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx", reason="what heads deny is read by the exporter")

from detector.loading import load_model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock
from detector.settings.models import ModelSettings
from detector.spec import BundleSpec
from export.heads.data.negatives import FILE, read_negatives

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
    assert spec.metrics["esc50_fold5"]["top1"] >= 0.9


def test_shipped_bundle_names_the_labels_that_it_promises(spec: BundleSpec) -> None:
    enabled = {label.slug for label in spec.labels if label.enabled}
    assert len(spec.labels) == 60
    assert {"speech", "smoke_alarm", "co_alarm", "dog", "siren", "glass_breaking"} <= enabled
    assert "beep" not in enabled


def test_shipped_graph_takes_batches_of_any_size_and_each_row_is_alone(spec: BundleSpec) -> None:
    session = onnxruntime.InferenceSession(
        SOUNDS / spec.onnx.file, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(3)
    rows = rng.normal(-0.4, 0.6, (3, *map(int, spec.input.shape[1:]))).astype(np.float32)
    assert spec.outputs.clip
    assert spec.outputs.frames
    names = [spec.outputs.clip.name, spec.outputs.frames.name]
    alone = [session.run(names, {spec.input.name: row[None]}) for row in rows]
    clip, frames = session.run(names, {spec.input.name: rows})
    assert clip.shape == (3, len(spec.labels))
    assert frames.shape == (3, 128, len(spec.labels))
    for i, (one_clip, one_frames) in enumerate(alone):
        np.testing.assert_allclose(clip[i], one_clip[0], atol=1e-4)
        np.testing.assert_allclose(frames[i], one_frames[0], atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("seconds", [0.5, 2, 5.12])
def test_silence_and_steady_noise_start_no_event(
    spec: BundleSpec, level: float, seconds: float
) -> None:
    noise = np.random.default_rng(4).standard_normal(int(seconds * spec.sample_rate))
    model = load_model("sounds", ModelSettings(bundle="sounds", provider="cpu"), None)
    pipeline = Pipeline([model.configured])
    blocks = [AudioBlock(0, (level * noise).astype(np.float32))]
    assert not list(replay(pipeline, blocks, lambda _, w: model.session.score([w])[0]))


@pytest.mark.parametrize("hertz", [50.0, 60.0])
@pytest.mark.parametrize("wave", ["square", "rectified"])
def test_mains_hum_starts_no_event(hertz: float, wave: str) -> None:
    phase = 2 * np.pi * hertz * np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    square = wave == "square"
    assert not starts(np.sign(np.sin(phase)) if square else np.abs(np.sin(phase)) - 2 / np.pi)


@pytest.mark.parametrize("hertz", [440.0, 3100.0])
def test_a_tone_that_is_held_starts_no_event(hertz: float) -> None:
    assert not starts(np.sin(2 * np.pi * hertz * np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE))


def starts(wave: NDArray[np.float64]) -> list[str]:
    """The labels that start at the defaults, of something steady in a quiet room."""
    room = 1e-4 * np.random.default_rng(4).standard_normal(len(wave))
    model = load_model("sounds", ModelSettings(bundle="sounds", provider="cpu"), None)
    blocks = [AudioBlock(0, (0.1 * wave + room).astype(np.float32))]
    events = replay(Pipeline([model.configured]), blocks, lambda _, w: model.session.score([w])[0])
    return [event.label for event in events if event.type == "start"]


def test_shipped_bundle_brings_what_heads_deny(spec: BundleSpec) -> None:
    states = read_negatives(SOUNDS)
    assert states is not None
    assert states.shape[0] * states.shape[1] >= 2000
    assert (SOUNDS / FILE).stat().st_size < 1e6


def test_attribution_lists_free_recordings_alone() -> None:
    with (SOUNDS / "ATTRIBUTION.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    clips = [row for row in rows if row["url"]]
    assert {row["licence"] for row in clips} == {"CC0/CC-BY"}
    assert all(row["filename"][0] in "1234" for row in clips)
    assert all(row["licence"] and "NC" not in row["licence"] for row in rows)
