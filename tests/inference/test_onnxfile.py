"""Weights outside the file are found wherever an ONNX file can hide them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from detector.errors import BundleError
from detector.inference.bundle import BUILT_IN
from detector.inference.onnx_file import external_data
from tests.bundles import IR_VERSION, OPSET

Hide = Callable[[onnx.ModelProto, TensorProto], object]


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """y = x + 1, and whatever else."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"]), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.ones(4, np.float32), "one")],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def outside(location: str, name: str = "w") -> TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.raw_data = b""
    onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=16)
    tensor.ClearField("raw_data")
    return tensor


def graph_with(tensor: TensorProto, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "inner", [], [], [tensor])


def in_initializer(m: onnx.ModelProto, tensor: TensorProto) -> None:
    m.graph.initializer.append(tensor)


def in_constant(m: onnx.ModelProto, tensor: TensorProto) -> None:
    m.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_list_of_tensors(m: onnx.ModelProto, tensor: TensorProto) -> None:
    attribute = onnx.AttributeProto(name="many", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(tensor)
    m.graph.node.append(onnx.NodeProto(op_type="Custom", attribute=[attribute]))


def in_subgraph(m: onnx.ModelProto, tensor: TensorProto) -> None:
    branch = graph_with(tensor)
    m.graph.node.append(
        helper.make_node("If", ["b"], ["z"], then_branch=branch, else_branch=branch)
    )


def in_list_of_graphs(m: onnx.ModelProto, tensor: TensorProto) -> None:
    attribute = onnx.AttributeProto(name="many", type=onnx.AttributeProto.GRAPHS)
    attribute.graphs.append(graph_with(tensor))
    m.graph.node.append(onnx.NodeProto(op_type="Custom", attribute=[attribute]))


def in_constant_of_subgraph_of_subgraph(m: onnx.ModelProto, tensor: TensorProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    inner = helper.make_graph([constant], "inner", [], [])
    branch = helper.make_node("If", ["b"], ["z"], then_branch=inner, else_branch=inner)
    body = helper.make_graph([branch], "body", [], [])
    m.graph.node.append(helper.make_node("Loop", ["n", "b"], ["z"], body=body))


def in_sparse_values(m: onnx.ModelProto, tensor: TensorProto) -> None:
    m.graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, dims=[4]))


def in_sparse_indices(m: onnx.ModelProto, tensor: TensorProto) -> None:
    m.graph.sparse_initializer.append(onnx.SparseTensorProto(indices=tensor, dims=[4]))


def in_sparse_constant(m: onnx.ModelProto, tensor: TensorProto) -> None:
    sparse = onnx.SparseTensorProto(values=tensor, dims=[4])
    m.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))


def in_function(m: onnx.ModelProto, tensor: TensorProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    function = helper.make_function(
        "own", "F", [], ["c"], [constant], [helper.make_opsetid("", OPSET)]
    )
    m.functions.append(function)


def in_default_of_function(m: onnx.ModelProto, tensor: TensorProto) -> None:
    function = helper.make_function("own", "F", [], [], [], [helper.make_opsetid("", OPSET)])
    function.attribute_proto.append(helper.make_attribute("value", tensor))
    m.functions.append(function)


def in_training(m: onnx.ModelProto, tensor: TensorProto) -> None:
    m.training_info.append(onnx.TrainingInfoProto(initialization=graph_with(tensor)))
    m.training_info.append(onnx.TrainingInfoProto(algorithm=graph_with(tensor)))


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_constant,
        in_list_of_tensors,
        in_subgraph,
        in_list_of_graphs,
        in_constant_of_subgraph_of_subgraph,
        in_sparse_values,
        in_sparse_indices,
        in_sparse_constant,
        in_function,
        in_default_of_function,
        in_training,
    ],
    ids=lambda f: f.__name__,
)
def test_finds_weights_outside(tmp_path: Path, hide: Hide) -> None:
    path = tmp_path / "model.onnx"
    hidden = model()
    hide(hidden, outside("../../etc/passwd"))
    path.write_bytes(hidden.SerializeToString())
    assert set(external_data(path)) == {"../../etc/passwd"}


@pytest.mark.parametrize(
    "hide", [in_initializer, in_constant, in_subgraph], ids=lambda f: f.__name__
)
def test_weights_inside_are_no_cause_for_alarm(tmp_path: Path, hide: Hide) -> None:
    path = tmp_path / "model.onnx"
    plain = model()
    hide(plain, numpy_helper.from_array(np.arange(4, dtype=np.float32), "w"))
    path.write_bytes(plain.SerializeToString())
    assert list(external_data(path)) == []


@pytest.mark.parametrize("name", sorted(p.parent.name for p in BUILT_IN.glob("*/model.onnx")))
def test_built_in_models_are_whole(name: str) -> None:
    assert list(external_data(BUILT_IN / name / "model.onnx")) == []


@pytest.mark.parametrize("one_file", [True, False])
def test_finds_what_the_onnx_package_writes_outside(tmp_path: Path, *, one_file: bool) -> None:
    branch = helper.make_graph(
        [
            helper.make_node(
                "Constant", [], ["c"], value=numpy_helper.from_array(np.ones(500), "deep")
            )
        ],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.DOUBLE, [500])],
    )
    large = model(helper.make_node("If", ["b"], ["z"], then_branch=branch, else_branch=branch))
    large.graph.initializer.append(numpy_helper.from_array(np.ones(1000, np.float32), "big"))
    path = tmp_path / "model.onnx"
    onnx.save_model(
        large,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        location="weights.bin" if one_file else None,
        size_threshold=100,
        convert_attribute=True,
    )
    files = {p.name for p in tmp_path.iterdir()} - {"model.onnx"}
    assert files
    assert set(external_data(path)) == files


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(key: int, content: bytes) -> bytes:
    return varint(key) + varint(len(content)) + content


@pytest.mark.parametrize("beyond", [0, 1 << 32, 1 << 34])
def test_a_field_number_beyond_32_bits_hides_nothing(tmp_path: Path, beyond: int) -> None:
    """ONNX Runtime's protobuf drops those bits and follows the location."""
    entry = field(1 << 3 | 2, b"location") + field(2 << 3 | 2, b"../x")
    tensor = field((13 << 3 | 2) + beyond, entry)
    graph = field((5 << 3 | 2) + beyond, tensor)
    path = tmp_path / "model.onnx"
    path.write_bytes(field((7 << 3 | 2) + beyond, graph))
    assert list(external_data(path)) == ["../x"]


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    content = b""
    for _ in range(100):  # a graph in an attribute in a node in a graph ...
        content = field(1 << 3 | 2, field(5 << 3 | 2, field(6 << 3 | 2, content)))
    path = tmp_path / "model.onnx"
    path.write_bytes(field(7 << 3 | 2, content))
    with pytest.raises(BundleError, match="nested too deeply"):
        list(external_data(path))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    with pytest.raises(BundleError, match=r"model\.onnx: is not an ONNX file"):
        list(external_data(path))


VALID = model().SerializeToString() + field(
    7 << 3 | 2, field(5 << 3 | 2, outside("x").SerializeToString())
)


def outcome(path: Path, content: bytes) -> list[str] | None:
    path.write_bytes(content)
    try:
        return list(external_data(path))
    except BundleError:
        return None


@given(content=st.binary(max_size=200))
@settings(max_examples=200)
def test_random_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    outcome(tmp_path_factory.getbasetemp() / "random.onnx", content)


@given(
    changes=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6),
    length=st.integers(0, len(VALID)),
)
@settings(max_examples=200)
def test_a_damaged_model_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], length: int
) -> None:
    content = bytearray(VALID)
    for place, value in changes:
        content[place] = value
    outcome(tmp_path_factory.getbasetemp() / "damaged.onnx", bytes(content[:length]))


def test_the_undamaged_model_is_seen_through(tmp_path: Path) -> None:
    assert outcome(tmp_path / "valid.onnx", VALID) == ["x"]
