"""Thresholds that keep false alarms to a rate, from scores made by hand."""

import tomllib
from collections.abc import Sequence

import numpy as np
import pytest

from detector.configured_model import ConfiguredModel
from detector.evaluation.detections import TrueEvent
from detector.evaluation.tables import as_toml
from detector.evaluation.thresholds import (
    GRID,
    LOWEST,
    Threshold,
    TuningRecording,
    recorder,
    tune,
)
from detector.events.scores.steps import Step
from detector.inference.bundle import load_bundle
from detector.records import SAMPLE_RATE
from detector.settings.config import Config
from detector.settings.models import LabelSettings, ModelSettings
from detector.spec import BundleSpec
from tests.bundles import tone_bundle

MINUTES = 60


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> BundleSpec:
    """Of a model with the labels "low" and "high"."""
    return load_bundle(str(tone_bundle(tmp_path_factory.mktemp("tones")))).spec


def configured(spec: BundleSpec, **labels: LabelSettings) -> ConfiguredModel:
    return ConfiguredModel("tones", spec, ModelSettings(bundle="tones", labels=labels))


Hour = tuple[Step, ...]


def hour(low: Sequence[float], high: Sequence[float] | None = None) -> Hour:
    """In which a step takes a minute."""
    table = np.array([low, high or [0.0] * len(low)], np.float32).T
    hop = MINUTES * SAMPLE_RATE
    return tuple(
        Step(i * hop, (i + 1) * hop, (i + 1) * hop, new=True, scores=scores)
        for i, scores in enumerate(table)
    )


def recording(steps: Hour, model: ConfiguredModel) -> TuningRecording:
    recorded = recorder(model)
    for step in steps:
        recorded.add(step)
    return TuningRecording(steps[-1].end_sample, recorded)


def scores(*peaks: tuple[int, float]) -> list[float]:
    """An hour with a score at each of these minutes."""
    values = [0.01] * 60
    for minute, value in peaks:
        values[minute] = value
    return values


def minute(at: int, label: str = "low") -> TrueEvent:
    return (at * 60.0, at * 60.0 + 60.0, label)


def choose(
    spec: BundleSpec, steps: Hour, truth: Sequence[TrueEvent], rate: float, **labels: LabelSettings
) -> dict[str, Threshold]:
    model = configured(spec, **labels)
    chosen = tune(model, {"a": recording(steps, model)}, {"a": truth}, rate)
    return {threshold.slug: threshold for threshold in chosen}


NOISE = scores((5, 0.9), (15, 0.8), (25, 0.7), (35, 0.6), (45, 0.4), (55, 0.3))
"""Two sounds, at 15 and 45; what stands at the other four is none."""
TRUTH = (minute(15), minute(45))


@pytest.mark.parametrize(
    ("rate", "below", "above", "heard_events"),
    [
        (0, 1.0, 0.9, 0),
        (1, 0.8, 0.7, 1),
        (2, 0.7, 0.6, 1),
        (3, 0.4, 0.3, 2),
        (4, 0.3, 0, 2),
    ],
)
def test_the_rate_wanted_is_reached_and_no_event_more_is_lost(
    spec: BundleSpec, rate: float, below: float, above: float, heard_events: int
) -> None:
    """The threshold lies right above the false alarm that would be one too many."""
    low = choose(spec, hour(NOISE), TRUTH, rate)["low"]
    assert above < low.onset <= below
    assert (low.false_alarms, low.heard_events, low.reference_events) == (rate, heard_events, 2)
    assert low.reached
    assert not [threshold for threshold in GRID if above < threshold < low.onset]


def test_the_rate_counts_by_the_hours_of_all_recordings(spec: BundleSpec) -> None:
    model = configured(spec)
    two = {"a": recording(hour(NOISE), model), "b": recording(hour(scores()), model)}
    [low, _] = tune(model, two, {"a": TRUTH}, 1)
    assert (low.false_alarms, low.heard_events) == (2, 1)


def test_labels_are_tuned_each_by_itself(spec: BundleSpec) -> None:
    steps = hour(NOISE, scores((10, 0.5), (20, 0.2)))
    chosen = choose(spec, steps, [*TRUTH, minute(10, "high")], 1)
    alone = choose(spec, hour(NOISE), TRUTH, 1)
    assert chosen["low"] == alone["low"]
    assert chosen["high"].onset < 0.2
    assert (chosen["high"].heard_events, chosen["high"].false_alarms) == (1, 1)


def test_a_label_without_events_is_not_made_to_hear_more(spec: BundleSpec) -> None:
    """Only a rate that is too high is brought down."""
    quiet = choose(spec, hour(scores()), [], 1, low=LabelSettings(onset_threshold=0.5))
    assert quiet["low"].onset == pytest.approx(0.5, abs=0.02)
    assert quiet["low"].onset >= 0.5
    loud = choose(spec, hour(NOISE), [], 1, low=LabelSettings(onset_threshold=0.5))
    assert 0.8 < loud["low"].onset <= 0.9
    assert loud["low"].false_alarms == 1


def test_a_score_that_no_threshold_keeps_out_is_told(spec: BundleSpec) -> None:
    sure = choose(spec, hour(scores((5, 1.0), (15, 1.0))), [], 1)["low"]
    assert (sure.onset, sure.false_alarms, sure.reached) == (GRID[0], 2, False)


def test_the_offset_threshold_stays_the_same_part_of_the_onset_threshold(
    spec: BundleSpec,
) -> None:
    own = LabelSettings(onset_threshold=0.8, offset_threshold=0.2)
    low = choose(spec, hour(NOISE), TRUTH, 1, low=own)["low"]
    assert low.offset == pytest.approx(low.onset / 4, abs=1e-3)


def test_events_that_run_together_at_a_low_threshold_do_not_pass_for_few(
    spec: BundleSpec,
) -> None:
    """One alarm without end is no way to have few: a threshold that is reached by way of too many
    is not considered, nor one that makes one event of two."""
    steady = [0.3 if i % 2 else 0.2 for i in range(60)]  # 30 alarms above 0.2, one below
    steady[10] = steady[40] = 0.9
    low = choose(spec, hour(steady), [minute(10), minute(40)], 2)["low"]
    assert 0.3 < low.onset <= 0.9
    steps = hour(scores((10, 0.9), (11, 0.5), (12, 0.9)))
    low = choose(spec, steps, [minute(10), minute(12)], 2)["low"]
    assert low.heard_events == 2
    assert low.offset > 0.5


def test_thresholds_tried_are_probabilities_worth_believing() -> None:
    assert GRID[-1] == LOWEST
    assert list(GRID) == sorted(set(GRID), reverse=True)
    assert GRID[0] < 1
    assert len([threshold for threshold in GRID if threshold > 0.9]) > 20


class TestTables:
    CHOSEN = (
        Threshold("low", 0.61, 0.366, 4, 3, 1, reached=True),
        Threshold("high", 0.999, 0.9, 0, 0, 7, reached=False),
    )

    def test_are_a_configuration_where_there_is_none(self) -> None:
        text = as_toml({"sounds": self.CHOSEN}, Config(), 0.5, 2, alone=True)
        config = Config.model_validate(tomllib.loads(text))
        assert config.models["sounds"].bundle == "sounds"
        assert config.models["sounds"].labels["low"] == LabelSettings(
            onset_threshold=0.61, offset_threshold=0.366
        )

    def test_keep_what_else_is_set_of_a_label(self) -> None:
        own = {"low": LabelSettings(enabled=True, merge_gap_s=2.0, onset_threshold=0.2)}
        config = Config(models={"tones": ModelSettings(bundle="tones", labels=own)})
        text = as_toml({"tones": self.CHOSEN}, config, 0.5, 2, alone=False)
        tables = tomllib.loads(text)["models"]["tones"]
        assert "bundle" not in tables
        assert tables["labels"]["low"] == {
            "enabled": True,
            "onset_threshold": 0.61,
            "offset_threshold": 0.366,
            "merge_gap_s": 2.0,
        }

    def test_say_what_they_reach_and_that_others_must_judge(self) -> None:
        text = as_toml({"sounds": self.CHOSEN}, Config(), 0.5, 2, alone=True)
        assert "at most 2 false alarms an hour of each label, on 0.50 h" in text
        assert "detector evaluate OTHER_DIR OTHER.csv --config FILE" in text
        assert "# 3 of 4 events heard; 2.00 false alarms an hour\n" in text
        assert "# no events here; 14.00 false alarms an hour, still" in text
