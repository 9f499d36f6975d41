"""A CTC checkpoint, exported and replayed: what it spells becomes words, at their times."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")

import torch
import transformers

from detector.records import SAMPLE_RATE, FloatArray
from export.checkpoints.checkpoint import load_checkpoint
from export.convert import ExportOptions, export_checkpoint
from tests.export.checkpoints import VOCABULARY, extractor_of, save

pytestmark = pytest.mark.export

TONES_HZ = {"E": 400.0, "T": 900.0, "A": 2000.0}
"""The letters of a language of tones."""
LETTER = SAMPLE_RATE // 5
FRAME = SAMPLE_RATE // 25
WINDOW = 2 * SAMPLE_RATE


def spoken(word: str) -> FloatArray:
    """A tone of 0.2 s for each letter."""
    time = np.arange(LETTER) / SAMPLE_RATE
    tones = [0.1 * np.sin(2 * np.pi * TONES_HZ[letter] * time) for letter in word]
    return np.concatenate(tones).astype(np.float32)


def noise(rng: np.random.Generator, samples: int) -> FloatArray:
    return (rng.standard_normal(samples) * 0.001).astype(np.float32)


def lessons(rng: np.random.Generator) -> Iterator[tuple[FloatArray, list[int]]]:
    """Windows with a random word in them, and the token of each frame."""
    while True:
        letters = rng.permutation(list(TONES_HZ))[: rng.integers(1, 4)]
        first = int(rng.integers(WINDOW - (len(letters) + 1) * LETTER)) // FRAME * FRAME
        samples, frames = noise(rng, WINDOW), [0] * (WINDOW // FRAME)
        word = spoken("".join(letters))
        samples[first : first + len(word)] += word
        for place, letter in enumerate([*letters, "|"]):
            begin = (first + place * LETTER) // FRAME
            frames[begin : begin + LETTER // FRAME] = [VOCABULARY.index(letter)] * 5
        yield samples, frames


def teach(folder: Path) -> Path:
    """Fit the checkpoint in `folder` to tones, in a few seconds."""
    torch.manual_seed(0)
    settings = transformers.AutoConfig.from_pretrained(folder)
    model: Any = transformers.AutoModelForCTC.from_config(settings).train()
    extractor = extractor_of("parakeet_ctc")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    lesson = lessons(np.random.default_rng(0))
    for _ in range(60):
        samples, frames = zip(*(next(lesson) for _ in range(8)), strict=True)
        features = extractor(list(samples), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        logits = model(input_features=features["input_features"][:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), torch.tensor(frames))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.save_pretrained(folder)
    return folder


def export_and_replay(checkpoint: Path, sound: FloatArray, folder: Path) -> list[dict[str, Any]]:
    """What `detector replay` says of `sound` with the exported checkpoint."""
    bundle, recording, config = (folder / n for n in ("bundle", "sound.wav", "config.toml"))
    soundfile.write(recording, sound, SAMPLE_RATE, subtype="FLOAT")
    config.write_text(f'[models.words]\nbundle = "{bundle}"\nprovider = "cpu"\n')
    options = ExportOptions(window_s=WINDOW / SAMPLE_RATE, hop_s=0.4)
    export_checkpoint(load_checkpoint(str(checkpoint), "ctc"), bundle, options)
    replay = ["detector", "replay", "--json", "--config", str(config), str(recording)]
    done = subprocess.run(
        [sys.executable, "-m", *replay], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_random_weights_say_is_told_or_not_but_never_an_error(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "checkpoint", "wav2vec2", "ctc")
    sound = noise(np.random.default_rng(0), 5 * SAMPLE_RATE)
    events = export_and_replay(checkpoint, sound, tmp_path)
    assert [e["type"] for e in events] == ["start", "end"] * (len(events) // 2)


def test_words_are_spelt_and_timed_as_the_model_was_taught(tmp_path: Path) -> None:
    encoder: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "num_mel_bins": 80,
        "subsampling_factor": 4,
        "subsampling_conv_channels": 8,
        "conv_kernel_size": 5,
        "dropout": 0.0,
        "layerdrop": 0.0,
    }
    folder = tmp_path / "checkpoint"
    checkpoint = teach(save(folder, "parakeet_ctc", "ctc", encoder_config=encoder))
    words = {1.0: "TEA", 2.8: "EAT", 4.52: "AT", 6.4: "E"}
    sound = noise(np.random.default_rng(1), 8 * SAMPLE_RATE)
    for onset_s, word in words.items():
        first = round(onset_s * SAMPLE_RATE)
        sound[first : first + len(word) * LETTER] += spoken(word)

    events = export_and_replay(checkpoint, sound, tmp_path)
    ends = [event for event in events if event["type"] == "end"]
    assert [(e["label"], e["name"]) for e in ends] == [(w.lower(), w) for w in words.values()]
    onsets = [datetime.fromisoformat(e["onset"]).timestamp() for e in ends]
    assert onsets == pytest.approx(list(words), abs=0.1)
    assert [e["duration_s"] for e in ends] == pytest.approx(
        [0.2 * len(word) for word in words.values()], abs=0.15
    )
