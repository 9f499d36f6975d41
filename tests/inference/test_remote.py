"""A model on a server: what is asked, refused and believed, and what becomes of an outage."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from detector.errors import BundleError, ConfigError, InferenceError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.loading import load_model
from detector.settings.models import ModelSettings
from tests.bundles import edit_description, loudness_bundle, tone_bundle
from tests.inference.remote_models import SAMPLES, noise, remote, window
from tests.inference_service import InferenceService, Model

# Scores


@pytest.mark.parametrize("make", [tone_bundle, loudness_bundle])
@pytest.mark.parametrize("most_windows", [None, 0, 2, 64])
def test_scores_are_those_of_the_model_here(
    tmp_path: Path, make: Callable[..., Path], most_windows: int | None
) -> None:
    served_folder = make(tmp_path / "one", outputs=("clip", "frames"))
    bundle = load_bundle(str(served_folder))
    shape = tuple(int(n) for n in bundle.spec.input.shape[1:])
    windows = [window(noise(seed, shape)) for seed in range(5)]
    with InferenceService(served_folder) as service:
        service.start()
        served = service.models[bundle.spec.name]
        served.most_windows = most_windows
        there, here = (
            remote(served_folder, service).score(windows),
            Session(bundle, "cpu").score(windows),
        )
    assert served.batches == ([2, 2, 1] if most_windows == 2 else [5])
    for a, b in zip(there, here, strict=True):
        assert (a.first_sample, a.end_sample, a.new_samples, a.power) == (
            *(b.first_sample, b.end_sample, b.new_samples, b.power),
        )
        assert a.clip is not None
        assert b.clip is not None
        assert a.frames is not None
        assert b.frames is not None
        np.testing.assert_array_equal(a.clip, b.clip)
        np.testing.assert_array_equal(a.frames, b.frames)


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "FP64", "numbers FP32", "numbers FP64"])
def test_an_answer_may_be_carried_in_any_way_that_the_protocol_has(
    served_folder: Path, service: InferenceService, model: Model, datatype: str
) -> None:
    numpy_type = {"FP16": np.float16, "FP64": np.float64}.get(datatype, np.float32)

    def edit(response: Any) -> None:
        raw = [np.frombuffer(data, np.float32) for data in response.raw_output_contents]
        del response.raw_output_contents[:]
        for output, values in zip(response.outputs, raw, strict=True):
            output.datatype = datatype[-4:]
            if datatype.startswith("numbers"):
                getattr(output.contents, f"{datatype[-4:].lower()}_contents").extend(values)
            else:
                response.raw_output_contents.append(values.astype(numpy_type).tobytes())

    model.edit = edit
    [there] = remote(served_folder, service).score([window(noise(2))])
    [here] = Session(load_bundle(str(served_folder)), "cpu").score([window(noise(2))])
    assert there.clip is not None
    assert here.clip is not None
    np.testing.assert_allclose(there.clip, here.clip, atol=1e-3 if datatype == "FP16" else 1e-7)


def test_the_version_that_is_asked_for_is_asked_for(
    served_folder: Path, service: InferenceService
) -> None:
    assert remote(served_folder, service, remote_version="1").score([window(noise(1))])


# What is refused before the first window


def renamed(model: Model) -> None:
    model.metadata.name = "another"


def other_input(model: Model) -> None:
    model.metadata.inputs[0].name = "sound"


def two_inputs(model: Model) -> None:
    model.metadata.inputs.add(name="length", datatype="INT64", shape=[-1])


def shorter(model: Model) -> None:
    model.metadata.inputs[0].shape[:] = [-1, 8000]


def fixed_batch(model: Model) -> None:
    model.metadata.inputs[0].shape[:] = [1, SAMPLES]


def halves(model: Model) -> None:
    model.metadata.inputs[0].datatype = "FP16"


def no_frames(model: Model) -> None:
    del model.metadata.outputs[1]


def whole_numbers(model: Model) -> None:
    model.metadata.outputs[0].datatype = "INT64"


def more_labels(model: Model) -> None:
    model.metadata.outputs[0].shape[:] = [-1, 3]


REFUSALS: list[tuple[Callable[[Model], None], dict[str, str], list[str]]] = [
    (renamed, {}, ["'another'"]),
    (other_input, {}, ["input.name = 'input'", "['sound']"]),
    (two_inputs, {}, ["input.name = 'input'", "['input', 'length']"]),
    (shorter, {}, ["input.shape = ['batch', 16000]", "8000"]),
    (fixed_batch, {}, ["batch axis is fixed to 1"]),
    (halves, {}, ["input 'input'", "FP16", "must be a FP32"]),
    (no_frames, {}, ["'frames'", "['clip']"]),
    (whole_numbers, {}, ["'clip'", "INT64", "FP32"]),
    (more_labels, {}, ["'clip'", "3]", "1 labels"]),
    (lambda _: None, {"remote_model": "ast"}, ["remote_model = 'ast'", "no model 'ast'"]),
    (lambda _: None, {"remote_version": "9"}, ["remote_version = '9'"]),
]


@pytest.mark.parametrize(("spoil", "settings", "told"), REFUSALS)
def test_a_model_that_is_not_the_bundles_is_refused_at_the_start_with_the_field(
    served_folder: Path,
    service: InferenceService,
    model: Model,
    spoil: Callable[[Model], None],
    settings: dict[str, str],
    told: list[str],
) -> None:
    spoil(model)
    asked = ModelSettings(bundle=str(served_folder), remote=service.address, **settings)  # type: ignore[arg-type]
    with pytest.raises(BundleError) as raised:
        load_model("sounds", asked, Path("detector.toml"))
    message = str(raised.value)
    assert message.startswith(f"detector.toml: models.sounds: {service.address}: ")
    assert [part for part in told if part not in message] == [], message
    assert raised.value.exit_code == 3
    assert model.batches == []


def test_of_the_bundle_only_its_description_is_needed(
    served_folder: Path, service: InferenceService
) -> None:
    (served_folder / "model.onnx").unlink()
    asked = ModelSettings(bundle=str(served_folder), remote=service.address)
    loaded = load_model("sounds", asked, None)
    assert loaded.session.runs_on == service.address
    assert loaded.session.score([window(noise(1))])


def test_without_the_client_the_setting_says_how_to_get_it(
    served_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "detector.inference.remote")
    monkeypatch.setitem(sys.modules, "tritonclient", None)
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(ConfigError, match=r"audio-event-detector\[remote\]"):
        load_model("x", ModelSettings(bundle=str(served_folder), remote="grpc://127.0.0.1:1"), None)


# What answers is not trusted


def not_a_number(response: Any) -> None:
    response.raw_output_contents[0] = np.full(1, np.nan, np.float32).tobytes()


def too_few_bytes(response: Any) -> None:
    response.raw_output_contents[1] = response.raw_output_contents[1][:-4]


def no_bytes(response: Any) -> None:
    del response.raw_output_contents[:]


def another_shape(response: Any) -> None:
    response.outputs[1].shape[:] = [1, 1, 50]


def another_type(response: Any) -> None:
    response.outputs[0].datatype = "INT32"


def one_output(response: Any) -> None:
    del response.outputs[1]


def two_windows(response: Any) -> None:
    response.outputs[0].shape[:] = [2, 1]
    response.raw_output_contents[0] *= 2


@pytest.mark.parametrize(
    ("edit", "error", "told"),
    [
        (not_a_number, InferenceError, "'clip' holds what is not a number"),
        (too_few_bytes, InferenceError, "'frames'"),
        (no_bytes, InferenceError, "'clip'"),
        (another_shape, BundleError, r"'frames' has the shape \[1, 1, 50\]"),
        (another_type, BundleError, "'clip'.*INT32"),
        (one_output, BundleError, "'frames'.*no such output"),
        (two_windows, BundleError, r"'clip' has the shape \[2, 1\]"),
    ],
)
def test_an_answer_that_is_none_is_said_and_the_next_one_is_read(
    served_folder: Path,
    service: InferenceService,
    model: Model,
    edit: Callable[[Any], None],
    error: type[Exception],
    told: str,
) -> None:
    scorer = remote(served_folder, service)
    good, model.edit = model.edit, edit
    with pytest.raises(error, match=told) as raised:
        scorer.score([window(noise(1))])
    assert str(raised.value).startswith(f"{service.address}: model loudness: ")
    if edit is not_a_number:
        assert getattr(raised.value, "reason", None) == "not_finite"
    model.edit = good
    assert scorer.score([window(noise(1))])


def test_scores_beyond_0_to_1_are_said(served_folder: Path, service: InferenceService) -> None:
    edit_description(served_folder, lambda d: d["outputs"]["clip"].update(activation="none"))
    with pytest.raises(InferenceError, match="it must hold probabilities"):
        remote(served_folder, service).score([window(noise(0))])


def test_a_server_that_fails_at_a_window_is_asked_the_next_one(
    served_folder: Path, service: InferenceService, model: Model
) -> None:
    scorer = remote(served_folder, service)
    model.error = (grpc.StatusCode.INTERNAL, "out of\n memory")
    with pytest.raises(InferenceError, match="the server fails: out of memory"):
        scorer.score([window(noise(1))])
    model.error = None
    assert scorer.score([window(noise(1))])


def test_a_model_that_was_exchanged_meanwhile_is_checked_anew(
    served_folder: Path, service: InferenceService, model: Model
) -> None:
    scorer = remote(served_folder, service)
    assert scorer.score([window(noise(1))])
    halves(model)
    model.edit = two_windows
    with pytest.raises(BundleError, match="'clip' has the shape"):
        scorer.score([window(noise(1))])
    with pytest.raises(BundleError, match="must be a FP32"):
        scorer.score([window(noise(1))])
    assert model.batches == [1, 1]
