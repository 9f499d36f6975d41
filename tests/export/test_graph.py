"""PyTorch's network and its ONNX graph are the same function."""

import copy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export needs torch")

from detector.errors import BundleError  # noqa: E402
from export.graphs.graph import OPSET, export_graph, opset_of  # noqa: E402
from export.parity.parity import compare  # noqa: E402
from export.parity.scores import activate  # noqa: E402
from export.train.model import Shape, Sounds  # noqa: E402

pytestmark = pytest.mark.export


def small() -> Sounds:
    return Sounds(Shape(labels=7, stem=((8, 3, (4, 8)), (8, 3, (2, 2))), width=32, layers=2))


@pytest.fixture(scope="module")
def network() -> Sounds:
    torch.manual_seed(1)
    return small().eval()


@pytest.fixture(scope="module")
def graph(network: Sounds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_graph(network, torch.zeros(2, 512, 128), path, outputs=("clip", "frames"))
    return path


def noise(batch: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    return np.random.default_rng(batch).normal(-0.4, 0.6, (batch, 512, 128)).astype(np.float32)


def test_graph_says_what_the_network_says_at_every_batch_size(network: Sounds, graph: Path) -> None:
    parity = compare(network, graph, [noise(1), noise(5)], "sigmoid")
    assert parity.max_probability_difference <= 1e-5
    assert parity.batches == (1, 5)
    assert parity.inputs == 6


def test_graph_lies_in_one_file(graph: Path) -> None:
    assert [path.name for path in graph.parent.iterdir()] == ["model.onnx"]
    assert opset_of(graph) >= OPSET


def test_another_network_has_no_parity(graph: Path) -> None:
    torch.manual_seed(2)
    other = small()
    torch.nn.init.constant_(other.head.classify.bias, 1.0)
    with pytest.raises(BundleError, match="probabilities differ"):
        compare(other, graph, [noise(2)], "sigmoid")


def test_every_output_is_compared(network: Sounds, graph: Path) -> None:
    other = copy.deepcopy(network)
    torch.nn.init.constant_(other.frames.bias, 1.0)
    with pytest.raises(BundleError, match="probabilities differ"):
        compare(other, graph, [noise(2)], "sigmoid")


def test_a_single_example_is_refused_since_its_batch_axis_would_be_fixed(
    network: Sounds, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        export_graph(network, torch.zeros(1, 512, 128), tmp_path / "x.onnx", outputs=("clip",))


def test_row_does_not_depend_on_its_batch_mates(network: Sounds) -> None:
    rows = torch.from_numpy(noise(4))
    with torch.no_grad():
        alone, together = network(rows[:1]), network(rows)
        among_others = network(torch.cat((rows[:1], rows[1:] * 9)))
    for one, two, three in zip(alone, together, among_others, strict=True):
        torch.testing.assert_close(one, two[:1], atol=1e-5, rtol=0)
        torch.testing.assert_close(one, three[:1], atol=1e-5, rtol=0)


def test_probabilities_survive_extreme_logits() -> None:
    extreme = np.array([[-1e4, 0, 1e4]], np.float32)
    np.testing.assert_allclose(activate(extreme, "sigmoid"), [[0, 0.5, 1]], atol=1e-9)
    np.testing.assert_allclose(activate(extreme, "softmax"), [[0, 0, 1]], atol=1e-9)
    np.testing.assert_array_equal(activate(extreme, "none"), extreme)
