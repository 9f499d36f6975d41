"""Two networks in one graph: YAMNet's bands out of ours, whose opinion counts, and when."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

import onnx
import onnxruntime
import torch

from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, FloatArray
from export.audioset.front_end import FRAMES as PATCH
from export.audioset.front_end import FRONT_END
from export.audioset.network import Network
from export.audioset.tflite import Layer, Yamnet
from export.graphs.graph import export_graph
from export.heads.graph.surgery import HIDDEN, find_hidden
from export.train.augment import HEARD
from export.train.data import FBANK
from export.train.evaluate import window
from export.train.fused.bands import FIRST_ROW, PATCHES, Bands, fit_bands
from export.train.fused.fusion import PEAK, Fusion, Weighing
from export.train.fused.graph import fused_graph, network_graph, yamnet_graph
from export.train.fused.view import View
from export.train.model import Shape, Sounds

pytestmark = pytest.mark.export

CLASSES = {"dog": (69, 70), "theirs_alone": (11,)}
SLUGS = ("dog", "ours_alone", "theirs_alone")
WIDTH = 8


def sound(seed: int, seconds: float = 6) -> FloatArray:
    """Noise of some colour, louder and fainter, with a tone in it."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.convolve(rng.standard_normal(len(time)), rng.normal(0, 1, 8), "same")
    tone = np.sin(2 * np.pi * rng.uniform(200, 6000) * time)
    swell = 10 ** rng.uniform(-2, 0, 12).repeat(len(time) // 12 + 1)[: len(time)]
    return (0.05 * swell * (noise + tone)).astype(np.float32)


@pytest.fixture(scope="module")
def bands() -> Bands:
    return Bands(fit_bands(sound(seed) for seed in range(60)))


def fusion(network: float = 0.4, view: float = 0.3, classes: float = 0.3) -> Fusion:
    torch.manual_seed(0)
    layer = View(WIDTH, 2)
    return Fusion(
        SLUGS, SLUGS[:2], layer, SLUGS[:2], CLASSES, Weighing(network, view, classes)
    ).eval()


def answers(seed: int = 1) -> tuple[torch.Tensor, ...]:
    """Of the network, clip and frames; what YAMNet sees, and its classes."""
    rng = np.random.default_rng(seed)
    shapes = (2, 2), (2, 128, 2), (2, PATCHES, WIDTH), (2, PATCHES, 521)
    return tuple(torch.from_numpy(rng.normal(0, 3, s).astype(np.float32)) for s in shapes)


def test_yamnets_bands_come_out_of_ours(bands: Bands) -> None:
    samples = sound(99)
    rows = torch.from_numpy(window(LogMel(FBANK, SAMPLE_RATE).push(samples)))[None]
    found = bands(rows).reshape(-1, FRONT_END.mel_bins).numpy()
    wanted = LogMel(FRONT_END, SAMPLE_RATE).push(samples)[FIRST_ROW:HEARD]
    apart = found - wanted
    assert np.sqrt(np.mean(np.square(apart))) < 0.25  # nepers of magnitude, 2 dB
    assert abs(apart.mean()) < 0.06


def test_padding_and_silence_are_silence_to_yamnet(bands: Bands) -> None:
    silence = np.float32(np.log(FRONT_END.log_offset))
    for samples in (np.zeros(2 * SAMPLE_RATE, np.float32), np.zeros(400, np.float32)):
        rows = torch.from_numpy(window(LogMel(FBANK, SAMPLE_RATE).push(samples)))[None]
        np.testing.assert_allclose(bands(rows).numpy(), silence, atol=0.05)


@torch.no_grad()
def test_each_label_counts_the_opinions_that_it_has() -> None:
    given = answers()
    clip, _ = fusion()(*given)
    own, seen = given[0], fusion().view(given[2])
    dog = given[3][:, :, [69, 70]].amax(dim=(1, 2))
    other = given[3][:, :, 11].amax(dim=1)
    np.testing.assert_allclose(
        clip[:, 0], 0.4 * own[:, 0] + 0.3 * seen[:, 0] + 0.3 * dog, atol=1e-5
    )
    np.testing.assert_allclose(clip[:, 1], (0.4 * own[:, 1] + 0.3 * seen[:, 1]) / 0.7, atol=1e-5)
    np.testing.assert_allclose(clip[:, 2], other, atol=1e-5)


@torch.no_grad()
def test_alarms_and_beeps_are_told_by_the_trained_network_alone() -> None:
    slugs = ("beep", "dog")
    classes = {"beep": (475,), "dog": (69,)}
    given = answers()
    clip, _ = Fusion(slugs, slugs, View(WIDTH, 2), slugs, classes).eval()(*given)
    np.testing.assert_allclose(clip[:, 0], given[0][:, 0], atol=1e-5)
    assert not np.allclose(clip[:, 1], given[0][:, 1], atol=0.1)


@torch.no_grad()
def test_frames_are_lifted_until_the_loudest_says_yes_and_never_lowered() -> None:
    given = answers()
    doubtful, sure = given[1] * 0.1 - 6, given[1] + 6
    _, lifted = fusion()(given[0], doubtful, *given[2:])
    np.testing.assert_allclose(lifted[..., :2].amax(dim=1), PEAK, atol=1e-5)
    apart = lifted[..., :2] - doubtful
    np.testing.assert_allclose(apart, apart[:, :1].expand_as(apart), atol=1e-4)
    _, kept = fusion()(given[0], sure, *given[2:])
    assert torch.equal(kept[..., :2], sure)


@torch.no_grad()
def test_a_label_of_yamnets_alone_has_the_opinion_of_the_patch_that_a_frame_is_in() -> None:
    given = [each.clone() for each in answers()]
    given[3][:, :, 11] = torch.arange(3.0, 3.0 + PATCHES)  # above PEAK at its highest
    _, frames = fusion()(*given)
    rows = 4 * np.arange(128) + 2  # the middle of each frame
    expected = np.clip((rows - FIRST_ROW) // PATCH, 0, PATCHES - 1) + 3
    assert frames[0, :, 2].tolist() == expected.tolist()


def test_an_alarm_beeps_and_a_tone_that_is_held_is_none() -> None:
    slugs = ("smoke_alarm", "beep", "dog")
    alarm = Fusion(slugs, slugs, View(WIDTH, 3), slugs, CLASSES).eval()
    given = answers()
    clip = torch.full((1, 3), 8.0)
    off, on, place = -4.0, 4.0, torch.arange(128)
    beeping = (place >= 60) & (place % 25 < 12)
    for sounding, believed in ((beeping, True), (place >= 60, False), (place >= 200, False)):
        frames = torch.full((1, 128, 3), off)
        frames[0, sounding, 1] = on
        with torch.no_grad():
            found, _ = alarm(clip, frames, given[2][:1], given[3][:1])
            without, _ = alarm(clip, frames * 0 + off, given[2][:1], given[3][:1])
        assert (found[0, 0] > off) == believed
        assert torch.equal(found[0, 1:], without[0, 1:])


def test_joined_graph_says_what_its_parts_say_and_heads_find_their_place(
    tmp_path: Path, bands: Bands
) -> None:
    rng = np.random.default_rng(0)
    layers = (
        Layer(*integers(rng, (WIDTH, 1, 3, 3)), stride=2),
        Layer(*integers(rng, (521, WIDTH))),
    )
    none = np.zeros(0, np.float32)
    yamnet = Yamnet((), none, none, 0.0, layers)
    network = Sounds(Shape(2, width=16)).eval()
    trained = tmp_path / "network.onnx"
    export_graph(network, torch.zeros(2, 512, 128), trained, outputs=("clip", "frames"))
    seeing, part = yamnet_graph(bands, yamnet, tmp_path), network_graph(trained, 2)
    whole = fusion()
    path = tmp_path / "model.onnx"
    onnx.save(fused_graph(part, seeing, whole, tmp_path), path)
    windows = torch.from_numpy(rng.normal(-0.4, 0.6, (3, 512, 128)).astype(np.float32))
    found = onnxruntime.InferenceSession(path).run(["clip", "frames"], {"input": windows.numpy()})
    with torch.no_grad():
        torch_yamnet = Network(layers)
        sights = torch_yamnet.sights(bands(windows))
        scored = torch_yamnet.answer(sights)
        by_patch = [x.reshape(3, PATCHES, -1) for x in (sights, scored)]
        expected = whole(*network(windows), *by_patch)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-4)
    assert find_hidden(onnx.load(path), "clip", len(SLUGS)).hidden == HIDDEN
    again = network_graph(path, 2)
    answer = onnxruntime.InferenceSession(again.SerializeToString()).run(
        None, {"input": windows.numpy()}
    )
    np.testing.assert_allclose(answer[0], network(windows)[0].detach().numpy(), atol=1e-4)


def integers(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, the scale of each channel, and biases."""
    scale = rng.uniform(0.005, 0.01, (shape[0], *(1,) * (len(shape) - 1))).astype(np.float32)
    bias = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    return rng.integers(-127, 128, shape).astype(np.int8), scale, bias
