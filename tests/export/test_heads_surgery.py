"""A graph is cut before its classification layer; what comes before stays the same to the bit."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="export needs torch")

from detector.errors import BundleError  # noqa: E402
from detector.inference.bundle import BUILT_IN  # noqa: E402
from detector.records import FloatArray  # noqa: E402
from export.heads.fit.layers import Head, HeadShape  # noqa: E402
from export.heads.graph.surgery import add_head, cut, find_hidden  # noqa: E402
from tests.export.tones import DIM, ROWS, STEPS, small_base  # noqa: E402

pytestmark = pytest.mark.export


def run(model: onnx.ModelProto, output: str, given: FloatArray) -> FloatArray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run([output], {session.get_inputs()[0].name: given})[0])


def windows(count: int = 3) -> FloatArray:
    rng = np.random.default_rng(0)
    return rng.normal(-0.4, 0.6, (count, ROWS, 128)).astype(np.float32)


def graph_of(folder: Path, pooled: str) -> onnx.ModelProto:
    return onnx.load(small_base(folder, pooled=pooled) / "model.onnx")


def random_head(form: HeadShape) -> Head:
    torch.manual_seed(3)
    head = Head(form)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


@pytest.mark.parametrize(
    ("pooled", "hidden", "weighted"),
    [("attention", "states", True), ("mean", "states", False), ("last", "most", False)],
)
def test_place_is_what_the_last_linear_layer_is_given(
    pooled: str, hidden: str, *, weighted: bool, tmp_path: Path
) -> None:
    place = find_hidden(graph_of(tmp_path, pooled), "clip", 2)
    assert (place.hidden, place.weighted) == (hidden, weighted)


@pytest.mark.parametrize(
    ("pooled", "frames", "weighted"),
    [
        ("attention", False, True),
        ("attention", True, True),
        ("attention", True, False),
        ("mean", False, False),
        ("mean", True, True),
        ("last", False, False),
    ],
)
def test_new_graph_says_what_the_fitted_layers_say(
    pooled: str, *, frames: bool, weighted: bool, tmp_path: Path
) -> None:
    steps = None if pooled == "last" else STEPS
    model = graph_of(tmp_path, pooled)
    encoder = cut(model, find_hidden(model, "clip", 2).hidden)
    hidden = run(encoder, encoder.graph.output[0].name, windows())
    head = random_head(HeadShape(DIM, 5, steps, weighted, frames, exclusive=False))
    head.standardise([torch.from_numpy(hidden)])
    whole = add_head(encoder, head.weights(), steps, cast=False)
    with torch.no_grad():
        clip, each = head(torch.from_numpy(hidden))
    np.testing.assert_allclose(run(whole, "clip", windows()), clip.numpy(), atol=1e-3)
    if frames:
        np.testing.assert_allclose(run(whole, "frames", windows()), each.numpy(), atol=1e-3)
    assert len(whole.graph.output) == 1 + frames


def test_encoder_of_the_built_in_model_stays_the_same_to_the_bit() -> None:
    model = onnx.load(BUILT_IN / "sounds" / "model.onnx")
    labels = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    place = find_hidden(model, "clip", labels)
    assert place.weighted
    encoder = cut(model, place.hidden)
    dim = run(encoder, place.hidden, np.zeros((2, 512, 128), np.float32)).shape[-1]
    head = random_head(HeadShape(dim, 3, 64, weighted=True, frames=False, exclusive=True))
    whole = add_head(encoder, head.weights(), 64, cast=False)
    before = {t.name: t.SerializeToString() for t in model.graph.initializer}
    after = {t.name: t.SerializeToString() for t in whole.graph.initializer}
    kept = before.keys() & after.keys()
    assert all(before[name] == after[name] for name in kept)
    lost = [name for name in before.keys() - kept if name.startswith("network.")]
    assert len(lost) < 10  # what is of YAMNet and of the opinions' weighing goes as a whole
    nodes = [n.SerializeToString() for n in model.graph.node]
    assert [n.SerializeToString() for n in encoder.graph.node] == nodes[: len(encoder.graph.node)]
    rng = np.random.default_rng(1)
    given = rng.normal(-0.4, 0.6, (2, 512, 128)).astype(np.float32)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.append(helper.make_empty_tensor_value_info(place.hidden))
    again = onnx.ModelProto()
    again.CopyFrom(whole)
    again.graph.output.append(helper.make_empty_tensor_value_info(place.hidden))
    np.testing.assert_array_equal(
        run(watched, place.hidden, given), run(again, place.hidden, given)
    )


def test_a_head_can_be_replaced_again(tmp_path: Path) -> None:
    model = graph_of(tmp_path, "mean")
    for labels in (4, 3):
        size = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        encoder = cut(model, find_hidden(model, "clip", size).hidden)
        head = random_head(
            HeadShape(DIM, labels, STEPS, weighted=True, frames=True, exclusive=False)
        )
        model = add_head(encoder, head.weights(), STEPS, cast=False)
    assert run(model, "clip", windows()).shape == (3, 3)
    assert run(model, "frames", windows()).shape == (3, STEPS, 3)
    assert len(model.graph.initializer) == len({t.name for t in model.graph.initializer})


def test_half_precision_states_are_brought_to_the_layers_precision() -> None:
    matrix = numpy_helper.from_array(np.ones((128, 4), np.float16), "matrix")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("MatMul", ["half", "matrix"], ["states"]),
        ],
        "half",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", ROWS, 128])],
        [helper.make_empty_tensor_value_info("states")],
        [matrix],
    )
    encoder = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    head = random_head(HeadShape(4, 2, ROWS, weighted=False, frames=False, exclusive=True))
    whole = add_head(encoder, head.weights(), ROWS, cast=True)
    assert run(whole, "clip", windows()).dtype == np.float32


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("Relu", ["input"], ["clip"])], "from a Relu"),
        ([("MatMul", ["input", "other"], ["clip"])], "a linear layer of 7 outputs"),
        ([("Identity", ["input"], ["clip"])], "from the graph's input"),
        (
            [
                ("Neg", ["input"], ["a"]),
                ("MatMul", ["a", "matrix"], ["b"]),
                ("MatMul", ["input", "matrix"], ["c"]),
                ("Add", ["b", "c"], ["clip"]),
            ],
            "linear layers of 2 different tensors",
        ),
        ([("MatMul", ["input", "input"], ["clip"])], "from a MatMul"),
    ],
)
def test_a_graph_without_a_last_linear_layer_is_refused(
    nodes: list[tuple[str, list[str], list[str]]], message: str
) -> None:
    graph = helper.make_graph(
        [helper.make_node(kind, given, made) for kind, given, made in nodes],
        "none",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(np.ones((2, 2), np.float32), "matrix"),
            numpy_helper.from_array(np.ones((2, 7), np.float32), "other"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(BundleError, match=message):
        find_hidden(model, "clip", 2)


def test_a_graph_to_which_nothing_can_be_added_is_refused(tmp_path: Path) -> None:
    model = graph_of(tmp_path, "mean")
    model.graph.input[0].name = "frames"
    with pytest.raises(BundleError, match="input is called 'frames'"):
        cut(model, "states")
    model.opset_import[0].version = 11
    with pytest.raises(BundleError, match="opset is 11"):
        cut(model, "states")


def test_a_tensor_that_is_called_as_an_output_gives_way(tmp_path: Path) -> None:
    model = graph_of(tmp_path, "mean")
    before = run(cut(model, "states"), "states", windows())
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [{"clip": "old", "projected": "clip"}.get(name, name) for name in names]
    model.graph.output[0].name = "old"
    place = find_hidden(model, "old", 2)
    head = random_head(HeadShape(DIM, 2, STEPS, weighted=False, frames=True, exclusive=False))
    whole = add_head(cut(model, place.hidden), head.weights(), STEPS, cast=False)
    with torch.no_grad():
        clip, _ = head(torch.from_numpy(before))
    np.testing.assert_allclose(run(whole, "clip", windows()), clip.numpy(), atol=1e-3)
