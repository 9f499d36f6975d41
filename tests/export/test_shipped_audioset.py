"""The bundle `audioset` is YAMNet, and its labels work as people ask for them."""

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile

from detector.features.fbank import LogMel
from detector.inference.bundle import BUILT_IN, load_bundle
from detector.records import SAMPLE_RATE
from detector.spec import BundleSpec
from export.audioset.front_end import FRAMES, FRONT_END, HOP_FRAMES
from export.audioset.labels import USEFUL
from export.audioset.ontology import ontology
from export.train.teacher import Yamnet
from tests.recordings import FOLDER, held_out_clips, needs_recordings, read
from tests.yamnet import FILE, needs_yamnet

AUDIOSET = BUILT_IN / "audioset"
NAMED = {
    "dog": "bark",
    "cat": "cat",
    "coughing": "cough",
    "crying_baby": "baby_cry_infant_cry",
    "door_wood_knock": "knock",
    "glass_breaking": "glass",
    "siren": "siren",
    "snoring": "snoring",
    "rooster": "chicken_rooster",
}
"""What the first clip of a category is called."""
FRIGATES = ("bark", "fire_alarm", "scream", "speech", "yell")
"""What Frigate listens to unless its user says otherwise."""


@pytest.fixture(scope="module")
def spec() -> BundleSpec:
    return load_bundle("audioset").spec


def replay(folder: Path, only: Sequence[str], files: Sequence[Path]) -> list[dict[str, Any]]:
    """The events that begin, with a configuration of three lines."""
    config = folder / "detector.toml"
    config.write_text(f'[models.audioset]\nbundle = "audioset"\nonly = {json.dumps(list(only))}\n')
    command = [sys.executable, "-m", "detector", "replay", "--json", "--config", str(config)]
    done = subprocess.run([*command, *map(str, files)], check=True, capture_output=True, text=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event for event in events if event["type"] == "start"]


def test_bundle_is_small_and_answers_as_its_layers_do(spec: BundleSpec) -> None:
    model = (AUDIOSET / spec.onnx.file).read_bytes()
    assert hashlib.sha256(model).hexdigest() == spec.onnx.sha256
    assert len(model) < 4e6
    assert spec.parity["max_probability_difference"] <= 1e-4
    assert spec.parity["tflite"]["mean_of_the_largest_of_a_window"] <= 0.04


def test_labels_are_audiosets_and_the_useful_ones_are_enabled(spec: BundleSpec) -> None:
    assert len(spec.labels) == 521
    assert all(ontology()[str(label.mid)].name == label.name for label in spec.labels)
    assert {label.slug for label in spec.labels if label.enabled} == USEFUL


def test_notice_says_whose_names_and_weights_they_are(spec: BundleSpec) -> None:
    notice = (BUILT_IN.parents[1] / "NOTICE").read_text("utf-8")
    for words in ("AudioSet ontology", "CC BY-SA 4.0", "YAMNet", "github.com/audioset/ontology"):
        assert words in spec.attribution
        assert words in notice


@needs_yamnet
@needs_recordings
@pytest.mark.recordings
def test_scores_are_those_of_yamnets_own_file(spec: BundleSpec) -> None:
    """As near as its arithmetic in 8 bits lets them be: its logits come in steps of 0.35."""
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'yamnet'")
    yamnet = Yamnet(FILE)
    session = onnxruntime.InferenceSession(
        AUDIOSET / spec.onnx.file, providers=["CPUExecutionProvider"]
    )
    apart = []
    for category in NAMED:
        samples = read(held_out_clips()[category][0])
        theirs = yamnet.scores(samples, HOP_FRAMES * FRONT_END.shift_samples)
        frames = LogMel(FRONT_END, SAMPLE_RATE).push(samples)
        begins = [HOP_FRAMES * i for i in range(len(theirs))]
        patches = np.stack([frames[begin : begin + FRAMES] for begin in begins])
        ours = 1 / (1 + np.exp(-session.run(None, {"input": patches})[0]))
        apart.append(np.abs(ours - theirs).max(axis=1))
    largest = np.concatenate(apart)
    assert largest.mean() <= 0.04
    assert largest.max() <= 0.13


@needs_recordings
@pytest.mark.recordings
def test_ten_recordings_are_named(tmp_path: Path) -> None:
    files = {held_out_clips()[category][0]: label for category, label in NAMED.items()}
    with (FOLDER / "speech" / "speech.csv").open(newline="", encoding="utf-8") as rows:
        speech = next(iter(csv.DictReader(rows)))["filename"]
    files[FOLDER / "speech" / "audio" / speech] = "speech"
    events = replay(tmp_path, sorted(set(files.values())), list(files))
    found: dict[str, set[str]] = {}
    for event in events:
        found.setdefault(event["source"], set()).add(event["label"])
    assert len(found) == len(files) == 10
    for labels, expected in zip(found.values(), files.values(), strict=True):
        assert expected in labels


@needs_recordings
@pytest.mark.recordings
def test_a_dog_is_one_event_whose_score_is_that_of_its_bark(tmp_path: Path) -> None:
    clip = held_out_clips()["dog"][0]
    [dog] = replay(tmp_path, ["dog"], [clip])
    both = {event["label"]: event for event in replay(tmp_path, ["dog", "bark"], [clip])}
    assert dog == both["dog"] | {"sequence": dog["sequence"]}
    assert both["dog"]["score"]["peak"] >= both["bark"]["score"]["peak"]


def test_frigates_labels_are_a_configuration_of_three_lines(tmp_path: Path) -> None:
    file = tmp_path / "silence.wav"
    soundfile.write(file, np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    assert replay(tmp_path, FRIGATES, [file]) == []


@needs_recordings
@pytest.mark.recordings
def test_what_frigate_calls_bark_and_speech_is_heard(tmp_path: Path) -> None:
    speech = min((FOLDER / "speech" / "audio").iterdir())
    events = replay(tmp_path, FRIGATES, [held_out_clips()["dog"][0], speech])
    assert {event["label"] for event in events} == {"bark", "speech"}


@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-2, 0.1])
def test_silence_and_steady_noise_start_no_event(tmp_path: Path, level: float) -> None:
    noise = np.random.default_rng(4).standard_normal(5 * SAMPLE_RATE)
    file = tmp_path / "noise.wav"
    soundfile.write(file, (level * noise).astype(np.float32), SAMPLE_RATE, subtype="FLOAT")
    assert replay(tmp_path, sorted(USEFUL), [file]) == []
