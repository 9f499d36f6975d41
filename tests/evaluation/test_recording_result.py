"""What evaluation detects in a recording is what the service reports of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detector.capture.recording import open_audio
from detector.errors import AudioFileError
from detector.evaluation.level_steps import LevelSteps, detections_with
from detector.evaluation.recording_result import RecordingResult, run_recording
from detector.evaluation.score_track import ScoreTrack
from detector.evaluation.scoring import TimedScores
from detector.events.segments.label_rules import label_rules
from detector.loading import LoadedModel, load_model
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, Scores, Window
from detector.settings.models import LabelSettings, ModelSettings
from detector.settings.patterns import GroupSettings
from tests.bundles import LOW_HZ, loudness_bundle, tone_bundle
from tests.events.scores import lives
from tests.test_pipeline import SCENE, scene


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[LoadedModel]:
    folder = tmp_path_factory.mktemp("bundles")
    bundles = {
        "tagger": tone_bundle(folder / "tagger", "tagger"),
        "framer": tone_bundle(
            folder / "framer", "framer", outputs=("frames",), window_s=1.28, hop_s=0.2
        ),
        "loudness": loudness_bundle(folder / "loudness"),
    }
    return [
        load_model(name, ModelSettings(bundle=str(path)), None) for name, path in bundles.items()
    ]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "scene.wav"
    soundfile.write(path, SCENE, SAMPLE_RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def result(models: list[LoadedModel], recording: Path) -> RecordingResult:
    return run_recording(models, recording)


def timed_scores(models: Sequence[LoadedModel], path: Path, labels: Sequence[str]) -> TimedScores:
    track = ScoreTrack([model.configured for model in models], labels)
    result = run_recording(models, path, on_step=track.on_step)
    return track.timed_scores(result.duration_samples)


def test_segments_are_those_of_replay(
    models: Sequence[LoadedModel], recording: Path, result: RecordingResult
) -> None:
    sessions = {model.configured.name: model.session for model in models}

    def score(name: str, window: Window) -> Scores:
        return sessions[name].score([window])[0]

    with open_audio(recording) as blocks:
        events = list(replay(Pipeline([model.configured for model in models]), blocks, score))
    expected = [
        (segment.onset / SAMPLE_RATE, segment.offset / SAMPLE_RATE, segment.label)
        for model in models
        for segment in lives([e for e in events if e.model == model.configured.spec.id])
    ]
    assert sorted(detection[:3] for detection in result.detections) == sorted(expected)
    assert len(expected) >= 11
    assert result.duration_samples == len(SCENE)


def test_what_patterns_report_is_detected_too(
    models: Sequence[LoadedModel], recording: Path
) -> None:
    group = GroupSettings(kind="group", labels=("low", "high"), merge_gap_s=0)
    result = run_recording(models[1:2], recording, {"tone": group})
    tones = [event for event in result.detections if event.label == "tone"]
    assert len(tones) == 3  # of four tones two sound at once
    assert {event.label for event in result.detections} == {"low", "high", "tone"}
    assert all(event.reported_s is not None for event in tones)


def test_a_tagger_reports_a_start_at_the_end_of_the_hop_in_which_it_is(
    models: Sequence[LoadedModel], recording: Path
) -> None:
    starts = [(e.onset_s, e.reported_s) for e in run_recording(models[:1], recording).detections]
    assert (1.0, 1.5) in starts  # of the tone from 1.3 s on, in hops of 0.5 s
    assert all(reported == onset + 0.5 for onset, reported in starts)


def test_a_frame_classifier_reports_a_start_once_it_has_seen_around_it(
    models: Sequence[LoadedModel], recording: Path
) -> None:
    for event in run_recording(models[1:2], recording).detections:
        assert event.reported_s is not None
        assert 0.02 <= event.reported_s - event.onset_s <= 2 * 0.2 + 0.02


class TestScores:
    def test_of_frames_are_high_while_the_tone_sounds(
        self, models: Sequence[LoadedModel], recording: Path
    ) -> None:
        timed = timed_scores(models[1:2], recording, ["low", "high"])
        assert (timed.times_s[0], timed.times_s[-1]) == (0, pytest.approx(9.3))
        assert (np.diff(timed.times_s) > 0).all()
        middle = (timed.times_s[:-1] + timed.times_s[1:]) / 2
        for label, tones in (("low", [(1.3, 2.8), (8, 9)]), ("high", [(2.1, 2.4), (5.05, 5.15)])):
            inside = np.zeros(len(middle), bool)
            near = np.zeros(len(middle), bool)
            for onset, offset in tones:
                inside |= (middle > onset + 0.05) & (middle < offset - 0.05)
                near |= (middle > onset - 0.05) & (middle < offset + 0.05)
            assert timed.scores[label][inside].min(initial=1) > 0.9
            assert timed.scores[label][~near].max(initial=0) < 0.1

    def test_of_a_tagger_stand_at_the_hop_that_a_window_ends_with(
        self, models: Sequence[LoadedModel], recording: Path
    ) -> None:
        timed = timed_scores(models[:1], recording, ["low"])
        assert timed.times_s[:-1].tolist() == pytest.approx(np.arange(0, 9.3, 0.5).tolist())
        high = timed.scores["low"] > 0.5
        assert timed.times_s[:-1][high][0] == 1.0

    def test_of_several_models_are_the_highest(
        self, models: Sequence[LoadedModel], recording: Path
    ) -> None:
        both = timed_scores(models, recording, ["low", "loud"])
        assert set(both.scores) == {"low", "loud"}
        alone = timed_scores(models[1:2], recording, ["low"])
        at = np.searchsorted(both.times_s, alone.times_s[:-1], side="right") - 1
        assert (both.scores["low"][at] >= alone.scores["low"]).all()
        assert all(len(values) == len(both.times_s) - 1 for values in both.scores.values())

    def test_of_what_is_too_short_to_score_are_nothing(
        self, models: Sequence[LoadedModel], tmp_path: Path
    ) -> None:
        path = tmp_path / "short.wav"
        soundfile.write(path, SCENE[:100], SAMPLE_RATE)
        timed = timed_scores(models[:1], path, ["low"])
        assert timed.times_s.tolist() == [0, 100 / SAMPLE_RATE]
        assert timed.scores["low"].tolist() == [0]


def test_an_empty_recording_is_refused(models: Sequence[LoadedModel], tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0), SAMPLE_RATE)
    with pytest.raises(AudioFileError, match=r"empty\.wav"):
        run_recording(models, path)


@pytest.mark.parametrize("name", ["tagger", "framer"])
@pytest.mark.parametrize("length", [1, 5])
def test_tuning_with_the_thresholds_there_are_detects_what_was_detected(
    tmp_path: Path, name: str, length: int
) -> None:
    """Up to the sound that the end of the recording cuts, and with a filter over the scores."""
    kind = {"outputs": ("frames",), "window_s": 1.28, "hop_s": 0.2} if name == "framer" else {}
    settings = ModelSettings(
        bundle=str(tone_bundle(tmp_path / name, name, **kind)),  # type: ignore[arg-type]
        smoothing_windows=length,
        labels={"low": LabelSettings(merge_gap_s=1.5, min_duration_s=0.3)},
    )
    model = load_model(name, settings, None)
    path = tmp_path / "scene.wav"
    soundfile.write(
        path, scene(8.2, (LOW_HZ, 1, 1.6), (LOW_HZ, 2, 2.6), (LOW_HZ, 7, 8.2)), SAMPLE_RATE
    )
    rules = label_rules(model.configured.spec, settings)
    steps = LevelSteps({rule: [rule] for rule in rules})
    result = run_recording([model], path, on_step={name: steps.add})
    again = detections_with(rules, steps, result.duration_samples)
    assert sorted(e[:3] for e in again) == sorted(e[:3] for e in result.detections)
    assert len(again) >= 2
