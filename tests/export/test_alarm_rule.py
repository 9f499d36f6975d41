"""The rhythm of a smoke alarm is heard over speech, and in nothing else that beeps."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")

from detector.loading import LoadedModel, load_model
from detector.records import FloatArray
from detector.settings.models import ModelSettings
from export.train.alarms import carbon_monoxide, smoke
from export.train.data import MONOXIDE, SMOKE, read, speech
from export.train.evaluate import held_out
from tests.recordings import FOLDER, needs_recordings

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = [pytest.mark.export, pytest.mark.recordings, needs_recordings]


@pytest.fixture
def alarms(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # benchmarks are scripts, not a package
    return SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "alarms.py")))


@pytest.fixture(scope="module")
def talk() -> FloatArray:
    return np.concatenate([read(row.path) for row in speech(FOLDER)[1:80:2]])


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("sounds", ModelSettings(bundle="sounds", provider="cpu"), None)


def test_alarms_in_a_room_over_speech_are_told_within_five_seconds(
    alarms: SimpleNamespace, model: LoadedModel, talk: FloatArray
) -> None:
    soon = 0
    for seed in range(alarms.SEED, alarms.SEED + 8):
        samples, first_s = alarms.over_speech(smoke, seed, talk)
        times = [t.at_s - first_s for t in alarms.told(model, samples) if t.label == alarms.T3]
        soon += bool(times) and times[0] <= alarms.WITHIN_S
    assert soon == 8


def test_carbon_monoxide_alarms_are_not_taken_for_smoke(
    alarms: SimpleNamespace, model: LoadedModel, talk: FloatArray
) -> None:
    labels: set[str] = set()
    for seed in range(alarms.SEED, alarms.SEED + 8):
        samples, _ = alarms.over_speech(carbon_monoxide, seed, talk)
        labels |= {told.label for told in alarms.told(model, samples)}
    assert MONOXIDE in labels
    assert not labels & {alarms.T3, SMOKE}


def test_alarm_clocks_are_no_alarms(alarms: SimpleNamespace, model: LoadedModel) -> None:
    clocks = [clip for clip in held_out(FOLDER) if clip.labels == ("clock_alarm",)]
    assert len(clocks) == 8
    for clip in clocks:
        labels = {told.label for told in alarms.told(model, read(clip.path))}
        assert not labels & set(alarms.LABELS), clip.path.name
