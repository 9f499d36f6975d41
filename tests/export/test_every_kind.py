"""Each kind of model end to end: a checkpoint becomes a bundle, and a sound becomes events."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from transformers import HubertModel

from detector.inference.bundle import load_bundle
from detector.records import SAMPLE_RATE
from tests.export.checkpoints import config_of, extractor_of, save
from tests.export.tones import tone_folders

pytestmark = [pytest.mark.export, pytest.mark.slow]

SECONDS = 6


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Noise, a tone, silence: whatever a network with random weights makes of it."""
    rng = np.random.default_rng(3)
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    parts = (0.1 * rng.standard_normal(len(t)), 0.3 * np.sin(2 * np.pi * 700 * t), 0 * t)
    path = tmp_path / "sound.wav"
    sf.write(path, np.concatenate(parts), SAMPLE_RATE)
    return path


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def replay(bundle: Path, sound: Path) -> list[dict[str, str]]:
    """The events of `sound`, with thresholds that random weights reach."""
    spec = load_bundle(str(bundle)).spec
    config = bundle.with_suffix(".toml")
    config.write_text(
        f'[models.m]\nbundle = "{bundle}"\n'
        + "".join(
            f"[models.m.labels.{label.slug}]\nonset_threshold = 0.2\noffset_threshold = 0.1\n"
            for label in spec.labels
        )
    )
    lines = run("detector", "replay", sound, "--json", "--config", config).splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("model", "audio-spectrogram-transformer"),
        ("model", "wav2vec2"),
        ("frames", "wav2vec2"),
        ("ctc", "wav2vec2"),
    ],
)
def test_a_checkpoint_becomes_events(tmp_path: Path, sound: Path, command: str, kind: str) -> None:
    task = {"model": "clip", "frames": "frames", "ctc": "ctc"}[command]
    checkpoint = save(tmp_path / "checkpoint", kind, task)  # type: ignore[arg-type]
    bundle = tmp_path / "made"
    run("export.cli", command, checkpoint, "--out", bundle)
    events = replay(bundle, sound)
    check(events)


def test_any_encoder_with_a_new_head_becomes_events(tmp_path: Path, sound: Path) -> None:
    encoder = tmp_path / "encoder"
    torch.manual_seed(1)
    HubertModel(config_of("hubert")).save_pretrained(encoder)
    extractor_of("hubert").save_pretrained(encoder)
    sounds = tone_folders(tmp_path / "sounds", each=4)
    bundle = tmp_path / "made"
    run("export.cli", "head", encoder, "--data", sounds, "--out", bundle, "--epochs", "5")
    events = replay(bundle, sound)
    check(events)
    assert {event["label"] for event in events} <= {"low", "middle", "high"}


def check(events: list[dict[str, str]]) -> None:
    """There are some, every start has its end, and they say which model they come from."""
    starts = [event["id"] for event in events if event["type"] == "start"]
    ends = [event["id"] for event in events if event["type"] == "end"]
    assert starts
    assert sorted(starts) == sorted(ends)
    assert {event["model"] for event in events} == {"made@1"}
