"""A real ONNX Runtime session: what it refuses, and what it answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper, numpy_helper

from detector.errors import BundleError, ProviderError
from detector.inference.bundle import load_bundle
from detector.inference.decoding import activate
from detector.inference.session import Session
from detector.records import FloatArray, Window
from detector.spec import Activation
from tests.bundles import (
    IR_VERSION,
    OPSET,
    edit_description,
    loudness_bundle,
    replace_model,
    tone_bundle,
)

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
SAMPLES = 16_000


def window(data: FloatArray, end_sample: int = 0) -> Window:
    return Window(end_sample - 10, end_sample, 5, data, 0.25)


def noise(seed: int, shape: tuple[int, ...] = (SAMPLES,)) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def means(
    *,
    input_name: str = "input",
    input_shape: tuple[str | int, ...] = ("batch", SAMPLES),
    input_type: int = TensorProto.FLOAT,
    output_name: str = "clip",
    output_type: int = TensorProto.FLOAT,
    labels: int = 1,
) -> onnx.ModelProto:
    """The mean of the samples, as the score of each label."""
    constants = [numpy_helper.from_array(np.array([1, labels]), "repeats")]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [input_name], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["real"], ["flat"], axis=1),
            helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Tile", ["mean", "repeats"], ["scores"]),
            helper.make_node("Cast", ["scores"], [output_name], to=output_type),
        ],
        "means",
        [helper.make_tensor_value_info(input_name, input_type, input_shape)],
        [helper.make_tensor_value_info(output_name, output_type, ["batch", labels])],
        constants,
    )
    return with_opset(graph)


def with_opset(graph: onnx.GraphProto, version: int = OPSET) -> onnx.ModelProto:
    opset = helper.make_opsetid("", version)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return loudness_bundle(tmp_path / "loudness")


def refusal(folder: Path) -> str:
    bundle = load_bundle(str(folder))
    with pytest.raises(BundleError) as raised:
        Session(bundle, "cpu")
    assert raised.value.exit_code == 3
    assert str(raised.value).startswith(f"{folder}/model.onnx: ")
    return str(raised.value)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (means(input_name="sound"), ["input.name = 'input'", "['sound']"]),
        (means(input_shape=("batch", 8000)), ["input.shape = ['batch', 16000]", "8000"]),
        (means(input_shape=("batch", SAMPLES, 1)), ["input.shape = ['batch', 16000]", "16000, 1]"]),
        (means(input_shape=(1, SAMPLES)), ["batch axis is fixed to 1"]),
        (means(input_type=TensorProto.FLOAT16), ["'input'", "tensor(float16)", "tensor(float)"]),
        (means(input_type=TensorProto.INT64), ["'input'", "tensor(int64)", "tensor(float)"]),
        (means(output_name="scores_"), ["'clip'", "['scores_']"]),
        (means(output_type=TensorProto.INT64), ["'clip'", "tensor(int64)"]),
        (means(labels=3), ["'clip'", "3]", "1 labels"]),
    ],
)
def test_model_that_is_not_what_the_bundle_says_is_refused(
    folder: Path, model: onnx.ModelProto, told: list[str]
) -> None:
    message = refusal(replace_model(folder, model))
    assert [part for part in told if part not in message] == [], message


def test_the_model_of_those_refusals_is_otherwise_accepted(folder: Path) -> None:
    session = Session(load_bundle(str(replace_model(folder, means()))), "cpu")
    [scores] = session.score([window(np.full(SAMPLES, 0.5, np.float32))])
    assert scores.clip is not None
    assert scores.clip[0] == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-6)


def test_missing_frames_output_is_refused(folder: Path) -> None:
    frames = {"name": "frames", "activation": "sigmoid", "hop_samples": 320, "offset_samples": 0}
    edit_description(folder, lambda d: d["outputs"].update(frames=frames))
    message = refusal(folder)
    assert "'frames'" in message
    assert "['clip']" in message


def test_model_that_onnx_runtime_cannot_run_is_refused(folder: Path) -> None:
    graph = means().graph
    graph.node[2].op_type = "NoSuchOperator"
    assert "ONNX Runtime refuses it" in refusal(replace_model(folder, with_opset(graph)))


@pytest.mark.parametrize("content", [b"\x08\x08", b"\x3a\x00", b"\x1a\x03abc"])
def test_well_formed_garbage_is_refused(folder: Path, content: bytes) -> None:
    assert "ONNX Runtime refuses it" in refusal(replace_model(folder, content))


def some_of(axis: int, keep: int) -> onnx.ModelProto:
    """The first `keep` samples (axis 1) or windows (axis 0): nothing that can be known before."""
    graph = helper.make_graph(
        [
            helper.make_node("Compress", ["input", "keep"], ["some"], axis=axis),
            helper.make_node("Compress", ["some", "one"], ["clip"], axis=1)
            if axis == 0
            else helper.make_node("Identity", ["some"], ["clip"]),
        ],
        "some",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", SAMPLES])],
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["windows", "labels"])],
        [
            numpy_helper.from_array(np.ones(keep, bool), "keep"),
            numpy_helper.from_array(np.ones(1, bool), "one"),
        ],
    )
    return with_opset(graph)


@pytest.mark.parametrize(("model", "shape"), [(some_of(1, 3), "[2, 3]"), (some_of(0, 1), "[1, 1]")])
def test_wrong_answer_is_told_when_it_shows(
    folder: Path, model: onnx.ModelProto, shape: str
) -> None:
    """A model need not declare the shape of what it answers: 3 labels of 1, 1 window of 2."""
    session = Session(load_bundle(str(replace_model(folder, model))), "cpu")
    with pytest.raises(BundleError) as raised:
        session.score([window(noise(i)) for i in range(2)])
    message = str(raised.value)
    assert message.startswith(f"{folder}/model.onnx: output 'clip' has the shape {shape}")
    assert "its 1 labels" in message


def test_undeclared_shape_is_accepted_if_it_is_right(folder: Path) -> None:
    session = Session(load_bundle(str(replace_model(folder, some_of(1, 1)))), "cpu")
    assert len(session.score([window(noise(i)) for i in range(3)])) == 3


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
def test_gpu_that_is_demanded_and_absent_is_an_error(folder: Path) -> None:
    bundle = load_bundle(str(folder))
    with pytest.raises(ProviderError, match=r"provider = 'cuda'.*extra 'gpu'") as raised:
        Session(bundle, "cuda")
    assert raised.value.exit_code == 3


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
def test_auto_takes_the_cpu_where_there_is_no_gpu(folder: Path) -> None:
    assert Session(load_bundle(str(folder)), "auto").provider == "cpu"


@pytest.mark.parametrize("make", [tone_bundle, loudness_bundle])
def test_a_batch_answers_as_its_windows_one_by_one(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    bundle = load_bundle(str(make(tmp_path / "b", outputs=("clip", "frames"))))
    session = Session(bundle, "cpu")
    shape = tuple(int(n) for n in bundle.spec.input.shape[1:])
    windows = [window(noise(seed, shape) * 0.1**seed, end_sample=seed) for seed in range(5)]
    together = session.score(windows)
    for asked, answer in zip(windows, together, strict=True):
        [alone] = session.score([asked])
        assert (answer.first_sample, answer.end_sample) == (asked.first_sample, asked.end_sample)
        assert (answer.new_samples, answer.power) == (asked.new_samples, asked.power)
        assert answer.clip is not None
        assert alone.clip is not None
        assert answer.frames is not None
        assert alone.frames is not None
        np.testing.assert_allclose(answer.clip, alone.clip, atol=1e-6)
        np.testing.assert_allclose(answer.frames, alone.frames, atol=1e-6)
    assert len({answer.clip.tobytes() for answer in together if answer.clip is not None}) > 1


def test_outputs_that_the_bundle_does_not_name_are_not_answered(tmp_path: Path) -> None:
    bundle = load_bundle(str(loudness_bundle(tmp_path / "b", outputs=("frames",))))
    [scores] = Session(bundle, "cpu").score([window(noise(1))])
    assert scores.clip is None
    assert scores.frames is not None
    assert scores.frames.shape == (50, 1)
    assert scores.frames.dtype == np.float32


@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_answers_in_half_precision_become_float32(folder: Path, activation: Activation) -> None:
    model = means(output_type=TensorProto.FLOAT16)
    edit_description(folder, lambda d: d["outputs"]["clip"].update(activation=activation))
    session = Session(load_bundle(str(replace_model(folder, model))), "cpu")
    [scores] = session.score([window(np.full(SAMPLES, 0.3, np.float32))])
    assert scores.clip is not None
    assert scores.clip.dtype == np.float32


logits = arrays(np.float32, (3, 7), elements=st.floats(-1000, 1000, width=32))


def sigmoid(x: np.ndarray) -> np.ndarray:
    positive = 1 / (1 + np.exp(-np.abs(x)))
    return np.asarray(np.where(x >= 0, positive, 1 - positive))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.stack([[1 / np.exp(row - value).sum() for value in row] for row in x])


@given(x=logits)
@settings(max_examples=100)
def test_sigmoid_agrees_with_double_precision(x: FloatArray) -> None:
    ours = activate(x, "sigmoid")
    np.testing.assert_allclose(ours, sigmoid(x.astype(np.float64)), rtol=0, atol=2e-7)
    assert ours.dtype == np.float32


@given(x=logits)
@settings(max_examples=100)
def test_softmax_agrees_with_double_precision(x: FloatArray) -> None:
    ours = activate(x, "softmax")
    with np.errstate(over="ignore"):
        expected = softmax(x.astype(np.float64))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    assert ours.dtype == np.float32


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "none"])
def test_activation_keeps_the_logits_as_they_were(activation: Activation) -> None:
    x = noise(0, (4, 3))
    before = x.copy()
    activate(x, activation)
    np.testing.assert_array_equal(x, before)


def test_no_activation_passes_scores_on() -> None:
    x = noise(0, (4, 3))
    np.testing.assert_array_equal(activate(x, "none"), x)
