"""What evaluation keeps of a recording: little, however long it is."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detector.evaluation.recording_result import run_recording
from detector.evaluation.score_track import ScoreTrack
from detector.evaluation.thresholds import recorder
from detector.events.scores.steps import Step
from detector.loading import LoadedModel, load_model
from detector.records import SAMPLE_RATE
from detector.settings.models import ModelSettings
from tests.bundles import tone_bundle

MINUTES = 4
BYTES_A_MINUTE = 250_000
"""At 50 steps a second of two labels."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    bundle = tone_bundle(
        tmp_path_factory.mktemp("bundles") / "tones",
        "tones",
        outputs=("frames",),
        window_s=10.24,
        hop_s=5.12,
    )
    return load_model("tones", ModelSettings(bundle=str(bundle)), None)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of a minute, and one of some more."""
    folder = tmp_path_factory.mktemp("recordings")
    noise = np.random.default_rng(0).normal(0, 0.01, 60 * SAMPLE_RATE)
    paths = [folder / "short.wav", folder / "long.wav"]
    for path, minutes in zip(paths, (1, 1 + MINUTES), strict=True):
        soundfile.write(path, np.tile(noise, minutes), SAMPLE_RATE)
    return paths


def scores_of(model: LoadedModel) -> Callable[[Step], object]:
    """As `evaluate` keeps them."""
    return ScoreTrack([model.configured], ["low", "high"]).on_step["tones"]


def steps_of(model: LoadedModel) -> Callable[[Step], object]:
    """As `tune` keeps them."""
    return recorder(model.configured).add


@pytest.mark.parametrize("keep", [scores_of, steps_of])
def test_a_minute_more_takes_little_more_memory(
    model: LoadedModel,
    recordings: list[Path],
    keep: Callable[[LoadedModel], Callable[[Step], object]],
) -> None:
    def peak(path: Path) -> int:
        on_step = keep(model)
        tracemalloc.start()
        run_recording([model], path, on_step={"tones": on_step})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(recordings[0])  # what is loaded once is loaded
    short, long = (peak(path) for path in recordings)
    assert long - short < MINUTES * BYTES_A_MINUTE
