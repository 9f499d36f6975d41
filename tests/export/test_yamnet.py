"""YAMNet read from its file, and its front end, are YAMNet's."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")
pytest.importorskip("ai_edge_litert", reason="runs the .tflite file")

import torch
from ai_edge_litert import interpreter

from export.train.data.augment import FRAMES
from export.train.data.log_mel import BINS, log_mel, mel_matrix
from export.train.data.recordings import read
from export.train.network.yamnet import HEARD, PATCH, Frozen, classifier, read_weights
from export.train.release.tflite import WINDOW, Yamnet

SHARED = Path(os.environ.get("AUDIO_DATA") or Path(__file__).parents[3] / "shared" / "data").parent
MODEL = SHARED / "peers" / "yamnet" / "yamnet.tflite"
pytestmark = [
    pytest.mark.export,
    pytest.mark.recordings,
    pytest.mark.skipif(not MODEL.is_file(), reason=f"no {MODEL}"),
]


def test_the_mel_filters_are_those_in_the_file() -> None:
    loaded = interpreter.Interpreter(model_path=str(MODEL))
    matrix = next(
        loaded.get_tensor(tensor["index"])
        for tensor in loaded.get_tensor_details()
        if tuple(tensor["shape"]) == (64, 257)
    )
    np.testing.assert_allclose(mel_matrix(), matrix.T, atol=1e-7)


@torch.no_grad()
def test_a_patch_scores_what_the_file_scores_but_for_its_integers() -> None:
    weights = read_weights(MODEL)
    frozen, classify = Frozen(weights, 23).eval(), classifier(weights, range(521))
    yamnet, apart = Yamnet(MODEL), []
    for path in sorted((SHARED / "data" / "esc50" / "audio").glob("*.ogg"))[::200]:
        samples = read(path)[:WINDOW]
        window = torch.zeros(1, FRAMES, BINS)
        window[0, HEARD - PATCH : HEARD] = torch.from_numpy(log_mel(samples)[:PATCH])
        scores = classify(frozen.patches(window))[0, -1].sigmoid().numpy()
        apart.append(np.abs(scores - yamnet.window(samples)).max())
    assert np.median(apart) < 0.05
    assert max(apart) < 0.15
