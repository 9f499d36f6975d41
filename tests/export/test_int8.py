"""A graph in integers of fixed scales says nearly what it said, and is smaller."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")

import onnx
import onnxruntime
import torch

from detector.records import FloatArray
from export.graphs.graph import export_graph
from export.graphs.int8 import to_static_int8
from export.graphs.precision import to_precision
from export.heads.graph.surgery import cut, find_hidden
from export.train.model import HALVES, Shape, Sounds

pytestmark = pytest.mark.export

SHAPE = Shape(labels=5, frames=64, mel_bins=32, width=64, heads=2)


def windows(seed: int, count: int = 16) -> FloatArray:
    rng = np.random.default_rng(seed)
    shape = (count, SHAPE.frames, SHAPE.mel_bins)
    return rng.normal(-0.4, 0.6, shape).astype(np.float32)


def answers(path: Path, batch: FloatArray) -> dict[str, FloatArray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": batch}), strict=True))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The built-in model's form with random weights, in fp32 and in int8."""
    folder = tmp_path_factory.mktemp("int8")
    torch.manual_seed(0)
    example = torch.zeros(2, SHAPE.frames, SHAPE.mel_bins)
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    export_graph(Sounds(SHAPE), example, fp32, outputs=("clip", "frames"))
    to_precision(fp32, "fp32", layers=0)
    int8.write_bytes(fp32.read_bytes())
    to_static_int8(int8, windows(seed=1))
    return fp32, int8


def test_it_answers_nearly_the_same_on_what_it_has_not_seen(graphs: tuple[Path, Path]) -> None:
    exact, rough = (answers(path, windows(seed=2)) for path in graphs)
    assert list(exact) == list(rough) == ["clip", "frames"]
    for name, logits in exact.items():
        assert rough[name].dtype == np.float32
        assert 0 < np.abs(rough[name] - logits).max() < 0.1 * np.ptp(logits)


def test_it_takes_batches_of_any_size(graphs: tuple[Path, Path]) -> None:
    together = answers(graphs[1], windows(seed=3))["clip"]
    alone = [answers(graphs[1], window[None])["clip"][0] for window in windows(seed=3)[:3]]
    np.testing.assert_allclose(together[:3], np.stack(alone), atol=1e-3)


def test_all_becomes_integers_but_the_first_convolution_and_the_layers_that_answer(
    graphs: tuple[Path, Path],
) -> None:
    graph = onnx.load(graphs[1]).graph
    floats = {tensor.name: tensor.dims for tensor in graph.initializer if tensor.data_type == 1}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    assert len(convolutions) == len(SHAPE.stem)
    in_floats = [floats[node.input[1]][1] for node in convolutions if node.input[1] in floats]
    assert in_floats == [1]  # that of one channel
    answer = [list(floats[node.input[1]]) for node in products if node.input[1] in floats]
    wide, labels = SHAPE.width, SHAPE.labels
    assert sorted(answer) == [[wide, labels], [wide, labels], [wide, HALVES * labels]]
    assert graphs[1].stat().st_size < 0.4 * graphs[0].stat().st_size


def test_its_layers_can_be_replaced_as_those_of_any_graph(graphs: tuple[Path, Path]) -> None:
    exact, rough = (onnx.load(path) for path in graphs)
    place = find_hidden(rough, "clip", SHAPE.labels)
    assert place == find_hidden(exact, "clip", SHAPE.labels)
    encoder = onnxruntime.InferenceSession(
        cut(rough, place.hidden).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (hidden,) = encoder.run(None, {"input": windows(seed=4)[:3]})
    assert hidden.shape == (3, SHAPE.frames // 8, SHAPE.width)


def test_no_weight_needs_the_eighth_bit(graphs: tuple[Path, Path]) -> None:
    """Products of two such weights fit in 16 bits, as processors without VNNI add them."""
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(graphs[1]).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert weights
    assert max(int(np.abs(tensor.astype(int)).max()) for tensor in weights) <= 64
