"""AudioSet's ontology, and YAMNet's layers as a graph."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'export'")

import onnxruntime
import torch

from detector.errors import BundleError
from detector.records import FloatArray
from export.audioset.calibrate import ALLOWED, GRID, Recording, calibrated, starts
from export.audioset.graph import write_graph
from export.audioset.labels import USEFUL, labels_of
from export.audioset.network import Network
from export.audioset.ontology import mids, ontology, subkinds
from export.audioset.tflite import Layer, read_yamnet
from tests.yamnet import FILE, needs_yamnet

pytestmark = pytest.mark.export


def test_every_kind_below_another_is_in_the_ontology() -> None:
    kinds = ontology()
    assert len(kinds) == 632
    assert all(child in kinds for kind in kinds.values() for child in kind.children)
    assert len(mids()) == len(kinds)  # so a slug names one kind alone


def test_subkinds_pass_over_what_is_not_known() -> None:
    names = ["human_sounds", "speech", "conversation", "whispering", "cough"]
    known = {mids()[name]: name for name in names}
    found = subkinds(mids()["human_sounds"], known)
    assert [known[mid] for mid in found] == ["speech", "whispering", "cough"]


def test_labels_bear_the_ontologys_names_ids_and_tree() -> None:
    names = ["Dog", "Bark", "Howl", "Gunshot, gunfire", "Bee, wasp, etc.", "Screaming"]
    labels = {label.slug: label for label in labels_of(names)}
    assert labels["dog"].children == ("bark", "howl")
    assert (labels["bark"].mid, labels["bark"].name) == ("/m/05tny_", "Bark")
    assert labels["gunshot_gunfire"].aliases == ("gunshot", "gunfire")
    assert labels["bee_wasp_etc"].aliases == ("bee", "wasp")
    assert labels["screaming"].aliases == ("scream",)
    assert {slug for slug, label in labels.items() if label.enabled} == {
        "bark", "gunshot_gunfire", "screaming"
    }  # fmt: skip


def test_a_name_that_stands_for_two_labels_is_an_alias_of_neither() -> None:
    labels = labels_of(["Inside, small room", "Inside, public space", "Boat, Water vehicle"])
    aliases = [alias for label in labels for alias in label.aliases]
    assert aliases == ["small_room", "public_space", "boat", "water_vehicle"]


def test_a_name_that_is_not_audiosets_is_refused() -> None:
    with pytest.raises(BundleError, match="'My parrot'"):
        labels_of(["Dog", "My parrot"])


def layers() -> tuple[Layer, ...]:
    """A small network of YAMNet's kinds of layers, with even and odd sizes to pad."""
    rng = np.random.default_rng(2)

    def layer(*shape: int, stride: int = 1, depthwise: bool = False) -> Layer:
        return Layer(
            weights=rng.integers(-127, 128, shape).astype(np.int8),
            scale=rng.uniform(0.001, 0.01, (shape[0], *(1,) * (len(shape) - 1))).astype(np.float32),
            bias=rng.standard_normal(shape[0]).astype(np.float32),
            stride=stride,
            depthwise=depthwise,
        )

    return (
        layer(8, 1, 3, 3, stride=2),
        layer(8, 1, 3, 3, depthwise=True),
        layer(16, 8, 1, 1),
        layer(16, 1, 3, 3, stride=2, depthwise=True),
        layer(5, 16),
    )


def test_graph_answers_as_its_layers_do_in_pytorch(tmp_path: Path) -> None:
    write_graph(layers(), 24, 16, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    patches = np.random.default_rng(1).standard_normal((3, 24, 16)).astype(np.float32)
    with torch.no_grad():
        expected = Network(layers())(torch.from_numpy(patches)).numpy()
    np.testing.assert_allclose(session.run(None, {"input": patches})[0], expected, atol=1e-4)
    alone = session.run(None, {"input": patches[:1]})[0]
    np.testing.assert_allclose(alone, expected[:1], atol=1e-4)


@needs_yamnet
def test_yamnets_file_holds_27_convolutions_and_521_classes() -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'yamnet'")
    yamnet = read_yamnet(FILE)
    *convolutions, answer = yamnet.layers
    strided = [number for number, layer in enumerate(convolutions, 1) if layer.stride == 2]
    assert (len(convolutions), strided) == (27, [1, 4, 8, 12, 24])
    assert answer.weights.shape == (521, 1024)
    assert {label.slug for label in labels_of(yamnet.names)} >= USEFUL


def test_another_file_is_no_yamnet(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'yamnet'")
    (tmp_path / "x.tflite").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"x\.tflite: is not YAMNet"):
        read_yamnet(tmp_path / "x.tflite")


def test_an_event_begins_where_scores_rise_after_a_pause() -> None:
    scores: FloatArray = np.array([0.1, 0.6, 0.3, 0.6, 0, 0.7, 0, 0, 0, 0.5], np.float32)
    assert starts(scores, 0.5) == 2
    assert starts(scores, 0.7) == 1
    assert starts(scores, 0.8) == 0


def test_threshold_is_the_lowest_with_few_enough_starts_where_a_label_is_not_heard() -> None:
    labels = labels_of(["Cat", "Dog", "Siren"])
    peaks = {Path("cat.ogg"): (0.9, 0.9, 0.0), Path("hum.ogg"): (0.5, 0.9, 0.0)}
    hop_s = (
        ALLOWED["rooms"] * 3600 / 40
    )  # so that no recording of a few windows is long enough for a start
    heard = []
    for path, tops in peaks.items():
        scores = np.zeros((10, 3), np.float32)
        scores[5] = tops
        heard.append((Recording(path, "rooms", frozenset({path.stem})), scores))
    cat, dog, siren = calibrated(labels, heard, hop_s)
    assert (cat.onset_threshold, cat.offset_threshold) == (0.55, 0.275)
    assert siren.onset_threshold == GRID[0]
    assert dog.onset_threshold == pytest.approx((0.55 + GRID[0]) / 2, abs=0.006)
