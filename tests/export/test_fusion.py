"""Both opinions in one graph: which counts for which label, and when."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

import onnx
import onnxruntime
import torch

from export.graphs.graph import export_graph
from export.train.network.fusion import Fused, Weighing, audioset_classes
from export.train.network.sounds import Shape, Sounds, View
from export.train.network.yamnet import HEARD, PATCH, Frozen
from tests.export.yamnet_weights import random_weights

pytestmark = pytest.mark.export

WEIGHTS = random_weights()
SLUGS = ("dog", "ours_alone", "theirs_alone")
CLASSES = {"dog": (69, 70), "theirs_alone": (11,)}


def fused(tuned: float, view: float, classes: float) -> Fused:
    torch.manual_seed(0)
    sounds = Sounds(Shape(labels=2, width=16), WEIGHTS)
    torch.nn.init.normal_(sounds.clip.attend.weight, std=0.02)
    weighing = Weighing(tuned, view, classes)
    return Fused(WEIGHTS, sounds, View(1024, 2), SLUGS, CLASSES, weighing, weighing).eval()


def windows(count: int = 2) -> torch.Tensor:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(-3, 2, (count, 512, 64)).astype(np.float32))


@torch.no_grad()
def test_each_label_counts_the_opinions_that_it_has() -> None:
    clip, frames = fused(1.0, 0.0, 0.0)(windows())
    both, both_frames = fused(0.75, 0.0, 0.25)(windows())
    other, other_frames = fused(1e-9, 0.0, 1.0)(windows())
    np.testing.assert_allclose(both[:, 0], 0.75 * clip[:, 0] + 0.25 * other[:, 0], atol=1e-4)
    np.testing.assert_allclose(both[:, 1], clip[:, 1], atol=1e-5)
    np.testing.assert_array_equal(both[:, 2], other[:, 2])
    np.testing.assert_allclose(
        both_frames[..., 0], 0.75 * frames[..., 0] + 0.25 * other_frames[..., 0], atol=1e-4
    )
    assert both_frames.shape == (2, 128, 3)


@torch.no_grad()
def test_a_frame_has_the_opinion_of_the_patch_that_it_is_in() -> None:
    by_patch = torch.tensor([[[1.0], [2.0], [3.0], [4.0], [5.0]]])
    frames = fused(1e-9, 0.0, 1.0).by_frame(by_patch, 128)[0, :, 0]
    rows = 4 * np.arange(128) + 2  # the middle of each frame
    expected = np.clip((rows - (HEARD - 5 * PATCH)) // PATCH, 0, 4) + 1
    assert frames.tolist() == expected.tolist()


@torch.no_grad()
def test_each_patch_is_heard_alone_and_the_last_ends_where_the_window_ends() -> None:
    frozen = Frozen(WEIGHTS, 23).eval()
    quiet = torch.full((1, 512, 64), -6.0)
    for first, changed in ((HEARD - 1, 4), (HEARD - PATCH, 4), (HEARD - PATCH - 1, 3), (30, 0)):
        loud = quiet.clone()
        loud[:, first] += 5
        differs = (frozen.patches(loud) != frozen.patches(quiet))[0].any(dim=1)
        assert np.flatnonzero(differs).tolist() == [changed]
    loud = quiet.clone()
    loud[:, HEARD:] += 5
    assert torch.equal(frozen.patches(loud), frozen.patches(quiet))


def test_the_graph_holds_what_both_share_once_and_says_what_the_network_says(
    tmp_path: Path,
) -> None:
    network, path = fused(0.3, 0.3, 0.4), tmp_path / "model.onnx"
    export_graph(network, windows(), path, outputs=("clip", "frames"))
    kernels = [
        tensor.name
        for tensor in onnx.load(path).graph.initializer
        if list(tensor.dims) == [512, 512, 1, 1]
    ]
    assert len(kernels) == 5
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(windows(3))
    for found, wanted in zip(
        session.run(None, {"input": windows(3).numpy()}), expected, strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_table_names_classes_of_yamnet() -> None:
    table = audioset_classes()
    assert table["dog"][0] == 69
    assert table["scream"] == (11,)
    assert all(0 <= one < 521 for classes in table.values() for one in classes)
