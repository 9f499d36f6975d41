"""A graph in another precision, or with fused attention, still says what it said."""

import shutil
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")

import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from detector.errors import BundleError
from detector.records import FloatArray
from export.checkpoints.checkpoint import load_checkpoint
from export.checkpoints.layout import lay_out
from export.checkpoints.network import Classifier
from export.graphs import precision
from export.graphs.attention import attention_layers, drop_idle_masks
from export.graphs.graph import export_graph
from export.graphs.precision import PARITY_LIMITS, Precision, to_precision
from export.train.model import Shape, Sounds
from tests.export.checkpoints import CONFIGS, Task, config_of, save

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
]

LAYERS = 2
WINDOW_S = 1.28
AST = "audio-spectrogram-transformer"
CTC = {"parakeet_ctc", "lasr_ctc"}
QUICK = (AST, "wavlm", "whisper")
"""One of each kind of front end; with an idle mask, with positions as a bias, with neither."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
LIMITS = {**PARITY_LIMITS, "int8": 0.05}


@pytest.fixture(scope="module")
def graph_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file that the exporter writes of a tiny checkpoint of an architecture."""

    @cache
    def export(kind: str) -> Path:
        folder: Path = tmp_path_factory.mktemp(kind)
        task: Task = "ctc" if kind in CTC else "clip"
        checkpoint = load_checkpoint(str(save(folder / "checkpoint", kind, task)), task)
        layout = lay_out(checkpoint, None if checkpoint.family.window else WINDOW_S)
        example = torch.zeros(2, *layout.shape).uniform_(-1, 1)
        export_graph(
            Classifier(checkpoint).eval(), example, folder / "model.onnx", outputs=("out",)
        )
        return folder / "model.onnx"

    return export


@pytest.fixture
def converted(
    graph_of: Callable[[str], Path], tmp_path: Path
) -> Callable[[str, Precision], tuple[Path, precision.Conversion]]:
    def convert(kind: str, to: Precision) -> tuple[Path, precision.Conversion]:
        path = tmp_path / f"{kind}-{to}.onnx"
        shutil.copyfile(graph_of(kind), path)
        return path, to_precision(path, to, layers=attention_layers(config_of(kind)))

    return convert


def answer(path: Path, level: float = 1.0) -> FloatArray:
    """Probabilities for three windows of noise."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (put,) = session.get_inputs()
    noise = np.random.default_rng(0).standard_normal((3, *put.shape[1:]), np.float32)
    logits = np.asarray(session.run(None, {put.name: level * noise})[0], np.float64)
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("kind", QUICK)
@pytest.mark.parametrize("to", PRECISIONS)
def test_converted_graph_says_what_the_exporters_says(
    kind: str, to: Precision, graph_of: Callable[[str], Path], converted: Callable[..., Any]
) -> None:
    path, _ = converted(kind, to)
    exact = answer(graph_of(kind), level=0.3)
    assert np.abs(answer(path, level=0.3) - exact).max() <= LIMITS[to]
    assert exact.std() > 0.02, "all sounds score alike, so nothing was compared"


@pytest.mark.parametrize(
    "kind",
    [
        *QUICK,
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in CONFIGS if kind not in QUICK),
    ],
)
def test_every_layer_of_attention_is_fused_and_says_the_same(
    kind: str, graph_of: Callable[[str], Path], tmp_path: Path
) -> None:
    path = shutil.copyfile(graph_of(kind), tmp_path / "model.onnx")
    layers = attention_layers(config_of(kind))
    assert layers == (0 if kind == "sew-d" else LAYERS)
    assert to_precision(path, "fp32", layers=layers, fuse=True).fused_attention == layers
    kinds = operators(path)
    assert kinds["Attention"] + kinds["MultiHeadAttention"] == layers
    np.testing.assert_allclose(answer(path, 0.3), answer(graph_of(kind), 0.3), atol=1e-5)


def test_attention_is_fused_for_accelerators_alone_unless_asked_for(
    converted: Callable[..., Any],
) -> None:
    for to, fused in (("fp32", 0), ("int8", 0), ("fp16", LAYERS)):
        path, found = converted(AST, to)
        assert found.fused_attention == fused
        assert operators(path)["Softmax"] == LAYERS - fused


def test_own_network_fuses_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    stem = ((8, 3, (4, 8)), (8, 3, (2, 2)))
    network = Sounds(Shape(labels=7, stem=stem, width=32, layers=LAYERS)).eval()
    path = tmp_path / "model.onnx"
    export_graph(network, torch.zeros(2, 512, 128), path, outputs=("clip", "frames"))
    exact = answer(path)
    assert to_precision(path, "fp16", layers=LAYERS).fused_attention == LAYERS
    assert np.abs(answer(path) - exact).max() <= LIMITS["fp16"]


def test_too_few_fused_layers_end_the_export_and_leave_the_graph(
    graph_of: Callable[[str], Path], tmp_path: Path
) -> None:
    path = shutil.copyfile(graph_of(AST), tmp_path / "model.onnx")
    before = path.read_bytes()
    with pytest.raises(BundleError, match=f"{LAYERS} of {LAYERS + 1} layers"):
        to_precision(path, "fp16", layers=LAYERS + 1)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_fusion_that_changes_the_answer_is_refused(
    graph_of: Callable[[str], Path], tmp_path: Path
) -> None:
    model = onnx.load(graph_of(AST))
    scale = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    weights = next(t for t in model.graph.initializer if t.name == scale.input[1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.01, weights.name))
    onnx.save(model, tmp_path / "other.onnx")
    precision._check_same(graph_of(AST), graph_of(AST))
    with pytest.raises(BundleError, match="changes logits"):
        precision._check_same(graph_of(AST), tmp_path / "other.onnx")


def test_fp16_keeps_inputs_and_outputs_and_casts_nowhere_else(
    converted: Callable[..., Any],
) -> None:
    path, _ = converted(AST, "fp16")
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    kinds = operators(path)
    assert kinds["Cast"] == len(model.graph.input) + len(model.graph.output)
    assert not [t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]


@pytest.mark.parametrize("to", ["fp16", "int8"])
def test_spectrogram_in_the_graph_stays_in_full_precision(
    to: Precision, graph_of: Callable[[str], Path], converted: Callable[..., Any]
) -> None:
    """A quiet sound's energies are below what fp16 can hold."""
    path, _ = converted("whisper", to)
    nodes = list(onnx.load(path).graph.node)
    maker = {output: node for node in nodes for output in node.output}

    def halved(name: str) -> bool:
        node = maker.get(name)
        if node is None:
            return False
        half = [a for a in node.attribute if a.name == "to" and a.i == TensorProto.FLOAT16]
        return bool(half) or node.op_type == "MatMulInteger" or any(map(halved, node.input))

    logs = [node for node in nodes if node.op_type == "Log"]
    assert len(logs) == 1
    assert not halved(logs[0].output[0])
    assert sum(node.op_type == "Cast" for node in nodes if node.input[0] == "input") == 0
    exact = answer(graph_of("whisper"), level=1e-4)
    assert np.abs(answer(path, level=1e-4) - exact).max() <= LIMITS[to]


def test_int8_has_every_product_with_weights_as_integers_and_nothing_else(
    graph_of: Callable[[str], Path], converted: Callable[..., Any]
) -> None:
    path, _ = converted(AST, "int8")
    before, after = operators(graph_of(AST)), operators(path)
    pairs = 2 * LAYERS  # of queries with keys and of weights with values: no weights
    assert after["MatMulInteger"] == before["MatMul"] + before["Gemm"] - pairs
    assert after["MatMul"] == pairs
    assert after["Conv"] == before["Conv"]
    scales = [t for t in onnx.load(path).graph.initializer if t.name.endswith("_scale")]
    assert all(len(t.dims) == 1 and t.dims[0] > 1 for t in scales), "not channel by channel"


def test_masks_that_hide_nothing_go_and_the_answer_stays_the_same_to_the_bit(
    graph_of: Callable[[str], Path], converted: Callable[..., Any]
) -> None:
    assert operators(graph_of(AST))["Where"] == 1
    path, found = converted(AST, "fp32")
    assert found.idle_masks == LAYERS
    assert operators(path)["Where"] == 0
    np.testing.assert_array_equal(answer(path), answer(graph_of(AST)))


@pytest.mark.parametrize(
    ("seen", "added", "scores_shape"),
    [
        pytest.param([True, False, True], 0.0, [3, 3], id="hides something"),
        pytest.param([True, True, True], 1.0, [3, 3], id="adds something"),
        pytest.param([True, True, True], 0.0, [3, 1], id="widens the scores"),
    ],
)
def test_masks_that_do_something_stay(
    seen: list[bool], added: float, scores_shape: list[int]
) -> None:
    values = {
        "seen": np.broadcast_to(np.array(seen), (3, 3)),
        "added": np.float32(added),
        "lowest": np.float32(-1e9),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Where", ["seen", "added", "lowest"], ["mask"]),
            helper.make_node("Add", ["scores", "mask"], ["sum"]),
        ],
        "masked",
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores_shape)],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [3, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = ir.from_proto(helper.make_model(graph))
    assert drop_idle_masks(model) == 0
    assert [node.op_type for node in model.graph] == ["Where", "Add"]


@pytest.mark.parametrize("to", PRECISIONS)
def test_graph_names_no_file_of_the_machine_that_made_it(
    to: Precision, graph_of: Callable[[str], Path], converted: Callable[..., Any]
) -> None:
    here = str(Path(__file__).parents[2]).encode()
    assert here in graph_of(AST).read_bytes(), "without its notes no front end can be told"
    assert here not in converted(AST, to)[0].read_bytes()


def test_smaller_weights_make_a_smaller_file(converted: Callable[..., Any]) -> None:
    sizes = {to: converted(AST, to)[0].stat().st_size for to in PRECISIONS}
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    assert sizes["int8"] < 0.8 * sizes["fp32"]


@pytest.mark.parametrize(
    ("kind", "layers"), [(AST, 2), ("whisper", 2), ("parakeet_ctc", 2), ("sew-d", 0)]
)
def test_layers_to_fuse_are_those_of_the_encoder(kind: str, layers: int) -> None:
    assert attention_layers(config_of(kind)) == layers
