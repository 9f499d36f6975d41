"""Bundles become a repository that Triton takes; a real one, where there is one, is asked."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from detector.errors import BundleError, ConfigError
from detector.inference.bundle import load_bundle
from detector.inference.remote import RemoteModel
from detector.inference.session import Session
from detector.loading import load_model
from detector.records import Window
from detector.settings.models import ModelSettings
from detector.spec import BundleSpec
from export.triton import TritonOptions, add_to_repository, model_config, version_of
from tests.bundles import edit_description, loudness_bundle, replace_model, tone_bundle
from tests.inference_process import TritonProcess, needs_triton


def config_of(model: Path) -> Any:
    """As the server's protobuf schema reads it."""
    return text_format.Parse((model / "config.pbtxt").read_text(), pb.ModelConfig())


def detector_export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export.cli", "triton", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    return tone_bundle(tmp_path / "tones", outputs=("clip", "frames"))


def test_a_bundle_becomes_a_model_of_triton(tones: Path, tmp_path: Path) -> None:
    bundle = load_bundle(str(tones))
    model = add_to_repository(tmp_path / "repository", bundle, TritonOptions())
    assert sorted(str(p.relative_to(tmp_path / "repository")) for p in model.rglob("*.*")) == [
        "tones/1/model.onnx", "tones/config.pbtxt", "tones/labels.txt",
    ]  # fmt: skip
    assert (model / "1" / "model.onnx").read_bytes() == bundle.model_file.read_bytes()
    assert (model / "labels.txt").read_text() == "low\nhigh\n"
    config = config_of(model)
    assert (config.name, config.backend, config.max_batch_size) == ("tones", "onnxruntime", 64)
    [graph_input] = config.input
    assert (graph_input.name, graph_input.data_type) == ("input", pb.TYPE_FP32)
    assert list(graph_input.dims) == list(bundle.spec.input.shape[1:])
    clip, frames = config.output
    assert (clip.name, list(clip.dims), clip.label_filename) == ("clip", [2], "labels.txt")
    assert (frames.name, list(frames.dims)) == ("frames", [-1, 2])
    batching = config.dynamic_batching
    assert list(batching.preferred_batch_size) == [4, 8, 16, 32, 64]
    assert batching.max_queue_delay_microseconds == 5000
    assert not batching.HasField("default_queue_policy")
    assert [warm.batch_size for warm in config.model_warmup] == [1, 4, 8, 16, 32, 64]
    assert all(list(w.inputs["input"].dims) == list(graph_input.dims) for w in config.model_warmup)
    assert [(group.count, group.kind) for group in config.instance_group] == [
        (1, pb.ModelInstanceGroup.KIND_AUTO)
    ]
    assert not config.HasField("optimization")


def test_the_options_are_those_of_the_server(tones: Path) -> None:
    bundle = load_bundle(str(tones))
    config = model_config(bundle, TritonOptions(6, 1.5, 3, "cpu"))
    assert config.max_batch_size == 6
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 6]
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    assert [warm.batch_size for warm in config.model_warmup] == [1]
    [group] = config.instance_group
    assert (group.count, group.kind) == (3, pb.ModelInstanceGroup.KIND_CPU)


def test_tensorrt_gets_one_profile_for_all_sizes_of_a_batch(tones: Path) -> None:
    options = TritonOptions(16, device="gpu", tensorrt=True, engine_cache="/engines")
    config = model_config(load_bundle(str(tones)), options)
    [accelerator] = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert dict(accelerator.parameters) == {
        "precision_mode": "FP32",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/engines",
        "trt_profile_min_shapes": "input:1x254x128",
        "trt_profile_opt_shapes": "input:16x254x128",
        "trt_profile_max_shapes": "input:16x254x128",
    }


@pytest.mark.parametrize(("version", "expected"), [("3", 3), ("1.2", 1), ("007", 1), ("v2", 1)])
def test_tritons_version_is_the_bundles_if_it_is_a_number(
    tones: Path, version: str, expected: int
) -> None:
    edit_description(tones, lambda d: d.update(version=version))
    assert version_of(load_bundle(str(tones))) == expected


def test_a_model_of_the_same_name_is_replaced_and_what_is_none_is_not(
    tones: Path, tmp_path: Path
) -> None:
    bundle, repository = load_bundle(str(tones)), tmp_path / "models" / "repository"
    model = add_to_repository(repository, bundle, TritonOptions())
    (model / "9").mkdir()
    add_to_repository(repository, bundle, TritonOptions(2))
    assert config_of(model).max_batch_size == 2
    assert not (model / "9").exists()
    assert [path.name for path in repository.iterdir()] == ["tones"]
    assert [path.name for path in repository.parent.iterdir()] == ["repository"]
    (model / "config.pbtxt").unlink()
    with pytest.raises(ConfigError, match="tones: is no model of a repository"):
        add_to_repository(repository, bundle, TritonOptions())


def test_a_graph_without_the_outputs_is_refused(tones: Path, tmp_path: Path) -> None:
    model = onnx.load(tones / "model.onnx")
    model.graph.output[0].name = "other"
    replace_model(tones, model)
    with pytest.raises(BundleError, match=r"model\.onnx: output 'clip'"):
        add_to_repository(tmp_path / "repository", load_bundle(str(tones)), TritonOptions())
    assert not (tmp_path / "repository").exists()


def test_several_bundles_go_into_one_repository_and_int8_is_said(
    tones: Path, tmp_path: Path
) -> None:
    loudness = loudness_bundle(tmp_path / "loudness")
    edit_description(loudness, lambda d: d["onnx"].update(precision="int8"))
    done = detector_export(tones, loudness, "sounds", "--out", tmp_path / "repository")
    assert done.returncode == 0, done.stderr
    models = sorted(path.name for path in (tmp_path / "repository").iterdir())
    assert models == ["loudness", "sounds", "tones"]
    assert config_of(tmp_path / "repository" / "sounds").name == "sounds"
    version = BundleSpec.model_validate_json(
        Path("detector/models/sounds/bundle.json").read_text()
    ).version
    assert (tmp_path / "repository" / "sounds" / version / "model.onnx").is_file()
    assert 'remote = "grpc://HOST:8001"' in done.stdout
    warned = [line for line in done.stderr.splitlines() if "may refuse it" in line]
    assert any("loudness" in line for line in warned)
    assert not any("tones" in line for line in warned)


def test_two_bundles_of_one_name_are_refused(tones: Path, tmp_path: Path) -> None:
    done = detector_export(tones, tones, "--out", tmp_path / "repository")
    assert done.returncode == 2
    assert "2 of the bundles are named 'tones'" in done.stderr
    assert not (tmp_path / "repository").exists()


@needs_triton
def test_what_a_real_triton_does_not_have_is_refused_with_the_field(
    tones: Path, tmp_path: Path
) -> None:
    loudness = loudness_bundle(tmp_path / "loudness")
    with TritonProcess(tmp_path, tones, loudness) as triton:
        triton.start()
        for field, value, told in (
            ("remote_model", "ast", "remote_model = 'ast': the server says: .*'ast' is not found"),
            ("remote_version", "9", "remote_version = '9': the server says: .*version 9"),
            ("remote_model", "loudness", r"input\.shape = \['batch', 254, 128\]"),
        ):
            settings = ModelSettings.model_validate(
                {"bundle": str(tones), "remote": triton.address, field: value}
            )
            with pytest.raises(BundleError, match=told):
                load_model("tones", settings, None)


@needs_triton
@pytest.mark.parametrize(
    "options", [TritonOptions(), TritonOptions(3, 0, 2, "cpu"), TritonOptions(8, tensorrt=True)]
)
def test_a_real_triton_takes_what_is_written_and_scores_as_here(
    tmp_path: Path, options: TritonOptions
) -> None:
    folders = [tone_bundle(tmp_path / "tones"), load_bundle("sounds").folder]
    with TritonProcess(tmp_path, *folders, options=options) as triton:
        triton.start()
        for bundle in map(load_bundle, map(str, folders)):
            shape = tuple(int(n) for n in bundle.spec.input.shape[1:])
            noise = np.random.default_rng(0).standard_normal((5, *shape)).astype(np.float32)
            windows = [Window(0, 1, 1, data, 0.0) for data in noise]
            settings = ModelSettings(bundle="x", remote=triton.address, remote_deadline_s=20)
            there = RemoteModel(bundle.spec, triton.address, settings).score(windows)
            here = Session(bundle, "cpu").score(windows)
            for a, b in zip(there, here, strict=True):
                assert a.clip is not None
                assert b.clip is not None
                np.testing.assert_allclose(a.clip, b.clip, atol=1e-5)
