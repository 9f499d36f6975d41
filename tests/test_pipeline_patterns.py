"""Rules over labels, from audio through real models: the same events whoever answers first."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.events.patterns.plan import check_patterns
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.loading import load_models
from detector.pipeline import Pipeline, pattern_input, replay, work_of
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Event, FloatArray, Gap, Scores, Window
from detector.settings.config import Config
from detector.settings.load import load_config
from detector.settings.models import LabelSettings, ModelSettings
from detector.settings.patterns import PatternSettings
from tests.bundles import HIGH_HZ, LOW_HZ, tone_bundle
from tests.events.scores import lives
from tests.features.ragged import blocks, sizes
from tests.test_pipeline import all_work, only_events

Patterns = Mapping[str, PatternSettings]

SILENT = LabelSettings(enabled=False)


def patterns(**tables: dict[str, Any]) -> Patterns:
    return TypeAdapter(dict[str, PatternSettings]).validate_json(json.dumps(tables))


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def scene(
    seconds: float, *tones: tuple[float, float, float], bursts: Iterable[tuple[float, float]] = ()
) -> FloatArray:
    """Faint noise, tones (hertz, onset, offset), and bursts of loud noise (onset, offset)."""
    rng = np.random.default_rng(0)
    samples = 0.003 * rng.standard_normal(at(seconds))
    for hz, onset, offset in tones:
        time = np.arange(at(offset) - at(onset)) / SAMPLE_RATE
        samples[at(onset) : at(offset)] += 0.3 * np.sin(2 * np.pi * hz * time)
    for onset, offset in bursts:
        samples[at(onset) : at(offset)] += 0.2 * rng.standard_normal(at(offset) - at(onset))
    return samples.astype(np.float32)


class Models:
    """The bundles of these tests, each loaded once."""

    def __init__(self, folder: Path) -> None:
        self.folders = {
            "tagger": tone_bundle(folder / "tagger", "tagger"),
            "framer": tone_bundle(
                folder / "framer", "framer", outputs=("frames",), window_s=1.28, hop_s=0.2
            ),
        }
        bundles = {name: load_bundle(str(path)) for name, path in self.folders.items()}
        self.specs = {name: bundle.spec for name, bundle in bundles.items()}
        self.sessions = {name: Session(bundle, "cpu") for name, bundle in bundles.items()}

    def configured(self, name: str, **labels: LabelSettings) -> ConfiguredModel:
        return ConfiguredModel(name, self.specs[name], ModelSettings(bundle=name, labels=labels))

    def listen(
        self,
        configured_models: Sequence[ConfiguredModel],
        rules: Patterns,
        items: Iterable[AudioBlock | Gap | Cut],
    ) -> list[Event]:
        def score(name: str, window: Window) -> Scores:
            return self.sessions[name].score([window])[0]

        return list(replay(Pipeline(configured_models, patterns=rules), items, score))

    def answers(
        self, configured_models: Sequence[ConfiguredModel], items: Iterable[AudioBlock | Gap | Cut]
    ) -> list[list[Scores | Cut]]:
        """What each model says, in its own order."""
        pipeline = Pipeline(configured_models)
        said: dict[str, list[Scores | Cut]] = {
            configured.name: [] for configured in configured_models
        }
        for lane, task in all_work(pipeline, items):
            session = self.sessions[lane.name]
            answer = session.score([task])[0] if isinstance(task, Window) else task
            said[lane.name].append(answer)
        return list(said.values())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("bundles"))


def of(events: Iterable[Event], slug: str) -> list[Event]:
    return [event for event in events if event.label == slug]


def spans(events: Iterable[Event]) -> list[tuple[float, float]]:
    return [(s.onset / SAMPLE_RATE, s.offset / SAMPLE_RATE) for s in lives(events)]


SMOKE = patterns(smoke_alarm={"kind": "repetition", "label": "high", "rhythm": "t3"})
T3 = [(1.0 + 4 * n + i, 1.5 + 4 * n + i) for n in range(2) for i in range(3)]
ALARM = scene(14, *((HIGH_HZ, onset, offset) for onset, offset in T3), (LOW_HZ, 8, 9))


def test_three_beeps_in_rhythm_make_a_smoke_alarm(models: Models) -> None:
    events = models.listen([models.configured("framer")], SMOKE, blocks(ALARM))
    alarm = of(events, "smoke_alarm")
    assert spans(alarm) == [pytest.approx((1.0, 7.5), abs=0.06)]
    assert {(e.model, e.name) for e in alarm} == {("patterns@1", "Smoke alarm")}
    assert len(lives(of(events, "high"))) == 6
    assert alarm[0].level_dbfs == pytest.approx(10 * np.log10(0.3**2 / 2), abs=2)


def test_a_label_that_is_not_published_is_heard_for_a_pattern(models: Models) -> None:
    everything = models.listen([models.configured("framer")], SMOKE, blocks(ALARM))
    silent = models.listen([models.configured("framer", high=SILENT)], SMOKE, blocks(ALARM))
    assert {event.label for event in silent} == {"smoke_alarm", "low"}
    assert of(silent, "smoke_alarm") == of(everything, "smoke_alarm")


def test_what_a_label_merges_for_its_own_events_is_still_counted(models: Models) -> None:
    merging = LabelSettings(merge_gap_s=5, min_duration_s=3)
    events = models.listen([models.configured("framer", high=merging)], SMOKE, blocks(ALARM))
    assert len(lives(of(events, "high"))) == 1
    assert spans(of(events, "smoke_alarm")) == [pytest.approx((1.0, 7.5), abs=0.06)]


def test_patterns_change_nothing_of_other_events(models: Models) -> None:
    configured_models = [models.configured("tagger"), models.configured("framer")]
    with_patterns = models.listen(configured_models, RULES, blocks(ALARM))
    without = models.listen(configured_models, {}, blocks(ALARM))
    assert [event for event in with_patterns if event.model != "patterns@1"] == without


RULES = patterns(
    any={"kind": "group", "labels": ["smoke_alarm", "low"]},
    tones={"kind": "group", "labels": ["high", "low"], "merge_gap_s": 0.3, "name": "Any tone"},
    noise={"kind": "loud_unlabelled", "threshold_dbfs": -20, "update_interval_s": 1},
    smoke_alarm={"kind": "repetition", "label": "high", "rhythm": "t3", "model": "framer"},
)
SCENE = scene(
    18,
    *((HIGH_HZ, onset, offset) for onset, offset in T3),
    (LOW_HZ, 8, 9),
    (LOW_HZ, 11.3, 11.4),
    bursts=[(13, 17)],
)


def test_a_group_can_have_patterns_in_it(models: Models) -> None:
    events = models.listen([models.configured("framer", high=SILENT)], RULES, blocks(SCENE))
    [first, second] = spans(of(events, "any"))
    assert first == pytest.approx((1.0, 9.0), abs=0.06)  # half a second between the two
    assert second == pytest.approx((11.3, 11.4), abs=0.06)


def test_a_group_follows_what_each_model_publishes_and_what_none_does(models: Models) -> None:
    configured_models = [
        models.configured("tagger", low=SILENT, high=SILENT),
        models.configured("framer"),
    ]
    own = patterns(tones={"kind": "group", "labels": ["high", "low"], "merge_gap_s": 0.3})
    events = models.listen(
        configured_models, own, blocks(scene(8, (HIGH_HZ, 2, 3), (LOW_HZ, 2.5, 5)))
    )
    [found] = spans(of(events, "tones"))
    assert found == pytest.approx((2, 5), abs=0.53)  # a hop of the tagger
    assert {event.label for event in events} == {"high", "low", "tones"}


def test_loud_noise_that_is_no_tone_is_told(models: Models) -> None:
    events = models.listen([models.configured("framer")], RULES, blocks(SCENE))
    [found] = spans(of(events, "noise"))
    assert found == pytest.approx((13, 17), abs=0.5)


def test_a_label_that_the_user_silenced_still_has_a_name(models: Models) -> None:
    tone = scene(10, (HIGH_HZ, 3, 7))
    silent = models.configured("framer", high=SILENT)
    assert models.listen([silent], patterns(noise=RULES["noise"].model_dump()), blocks(tone)) == []


@given(lengths=sizes)
@settings(max_examples=5, deadline=None)
def test_any_chunking_gives_the_same_patterns(models: Models, lengths: list[int]) -> None:
    configured_models = [models.configured("tagger", high=SILENT), models.configured("framer")]
    expected = models.listen(configured_models, RULES, blocks(SCENE))
    assert {e.label for e in expected if e.model == "patterns@1"} == set(RULES)
    assert models.listen(configured_models, RULES, blocks(SCENE, lengths)) == expected


@pytest.fixture(scope="module")
def said(models: Models) -> tuple[list[ConfiguredModel], list[list[Scores | Cut]]]:
    configured_models = [models.configured("tagger", high=SILENT), models.configured("framer")]
    gap = Gap(len(SCENE), 3000, "overflow")
    items: list[AudioBlock | Gap | Cut] = [
        *blocks(SCENE[: at(5.2)]),
        Cut(at(5.2)),
        *blocks(SCENE[at(5.2) :], [], at(5.2)),
        Cut(gap.first_sample),
        gap,
        *blocks(SCENE[: at(7)], [], gap.end_sample),
    ]
    return configured_models, models.answers(configured_models, items)


@given(seed=st.integers(0, 2**32), eager=st.floats(0, 4))
@settings(max_examples=8, deadline=None)
def test_models_may_answer_in_any_order(
    said: tuple[list[ConfiguredModel], list[list[Scores | Cut]]], seed: int, eager: float
) -> None:
    configured_models, answers = said

    def run(turns: Iterable[int]) -> list[Event]:
        pipeline = Pipeline(configured_models, patterns=RULES)
        queues = [iter(own) for own in answers]
        events = [
            e
            for turn in turns
            for e in only_events(pipeline.resolve(pipeline.lanes[turn], next(queues[turn])))
        ]
        return sorted((e for e in events if e.model == "patterns@1"), key=lambda e: e.label)

    expected = run([0] * len(answers[0]) + [1] * len(answers[1]))
    lives(expected)
    assert {event.label for event in expected} == set(RULES)
    # Who is ahead, and by how much, changes now and then.
    rng = np.random.default_rng(seed)
    pace = np.cumsum(rng.exponential(1, (2, max(map(len, answers)))) ** eager, axis=1)
    turns = [(pace[i, n] / len(own), i) for i, own in enumerate(answers) for n in range(len(own))]
    assert run([turn for _, turn in sorted(turns)]) == expected


def test_a_gap_ends_what_goes_on_and_the_sound_behind_it_is_heard_anew(models: Models) -> None:
    first, second = SCENE[: at(5.2)], SCENE[at(5.7) :]
    gap = Gap(len(first), at(0.5), "stall")
    items: list[AudioBlock | Gap] = [*blocks(first), gap, *blocks(second, [], gap.end_sample)]
    events = models.listen([models.configured("framer", high=SILENT)], RULES, items)
    alarm, *_ = lives(of(events, "smoke_alarm"))
    assert (alarm.offset, alarm.truncated) == (len(first), True)
    before, after, *_ = lives(of(events, "any"))
    assert (before.offset, before.truncated) == (len(first), True)
    assert after.onset >= gap.end_sample
    cut = [items[0], Cut(len(first)), *items[1:]]
    assert models.listen([models.configured("framer", high=SILENT)], RULES, cut) == events


def test_stop_ends_patterns_too(models: Models) -> None:
    configured = models.configured("framer", high=SILENT)
    rules = patterns(tones=RULES["tones"].model_dump())
    pipeline = Pipeline([configured], patterns=rules)
    events = []
    for lane, window in work_of(pipeline, [AudioBlock(0, scene(3, (HIGH_HZ, 1, 3)))]):
        assert isinstance(window, Window)
        answer = models.sessions["framer"].score([window])[0]
        events += only_events(pipeline.resolve(lane, answer))
    events += pipeline.stop()
    [found] = lives(events)
    assert (found.label, found.truncated) == ("tones", True)
    assert at(2.95) < found.offset <= at(3)  # the last frame that was scored
    assert pipeline.stop() == []


def test_the_rules_of_a_source_are_among_its_labels(models: Models) -> None:
    configured_models = [
        models.configured("tagger", high=SILENT),
        models.configured("framer", high=SILENT),
    ]
    labels = Pipeline(configured_models, patterns=RULES).labels
    assert sorted(labels) == ["any", "low", "noise", "smoke_alarm", "tones"]


def test_a_pattern_of_labels_that_no_model_of_the_source_has_is_not_there(models: Models) -> None:
    rules = patterns(
        birds={"kind": "group", "labels": ["wren"]},
        calls={"kind": "repetition", "label": "wren", "rhythm": "t3"},
        all={"kind": "group", "labels": ["calls", "low"]},
    )
    pipeline = Pipeline([models.configured("framer")], patterns=rules)
    assert pipeline.labels == ("low", "high", "all")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            {"a": {"kind": "group", "labels": ["low", "hihg"]}},
            "patterns.a.labels: no model has a label 'hihg'; did you mean 'high'?",
        ),
        (
            {"a": {"kind": "group", "labels": ["zebra"]}},
            "patterns.a.labels: no model has a label 'zebra', only high, low",
        ),
        (
            {
                "a": {"kind": "group", "labels": ["low"]},
                "b": {"kind": "group", "labels": ["a", "high"]},
            },
            "patterns.b.labels: 'a' is a group; list its labels instead",
        ),
        (
            {"a": {"kind": "repetition", "label": "lwo", "rhythm": "t3"}},
            "patterns.a.label: no model has a label 'lwo'; did you mean 'low'?",
        ),
        (
            {"a": {"kind": "repetition", "label": "low", "rhythm": "t3", "model": "framre"}},
            "patterns.a.model: there is no model 'framre'; did you mean 'framer'?",
        ),
        (
            {"a": {"kind": "repetition", "label": "lwo", "rhythm": "t3", "model": "framer"}},
            "patterns.a.label: framer has no label 'lwo'; did you mean 'low'?",
        ),
    ],
)
def test_what_no_model_has_is_refused(
    models: Models, rules: dict[str, dict[str, Any]], told: str
) -> None:
    inputs = [pattern_input(models.configured(name)) for name in ("tagger", "framer")]
    with pytest.raises(ConfigError) as raised:
        check_patterns(patterns(**rules), inputs)
    assert str(raised.value) == told


def test_a_pattern_may_have_the_name_of_a_label_that_is_not_published(models: Models) -> None:
    rules = patterns(high={"kind": "repetition", "label": "high", "rhythm": "t3"})
    events = models.listen([models.configured("framer", high=SILENT)], rules, blocks(ALARM))
    assert spans(of(events, "high")) == [pytest.approx((1.0, 7.5), abs=0.06)]
    with pytest.raises(
        ConfigError,
        match=r"patterns\.high: framer@1 has events of that name; "
        r"set models\.framer\.labels\.high\.enabled = false",
    ):
        Pipeline([models.configured("framer")], patterns=rules)


def test_whose_beeps_are_meant_must_be_clear(models: Models) -> None:
    configured_models = [models.configured("tagger"), models.configured("framer")]
    with pytest.raises(ConfigError, match="tagger and framer have a label 'high'; say with model"):
        Pipeline(configured_models, patterns=SMOKE)


def test_a_configuration_is_refused_before_anything_is_started(
    models: Models, tmp_path: Path
) -> None:
    def refusal(text: str) -> str:
        path = tmp_path / "detector.toml"
        path.write_text(f'[models.framer]\nbundle = "{models.folders["framer"]}"\n{text}')
        with pytest.raises(ConfigError) as raised:
            load_models(load_config(path), path)
        return str(raised.value).removeprefix(f"{path}: ")

    assert refusal('[patterns.a]\nkind = "group"\nlabels = ["lwo"]').startswith(
        "patterns.a.labels: no model has a label 'lwo'"
    )
    assert refusal('[patterns.low]\nkind = "group"\nlabels = ["high"]').startswith(
        "patterns.low: framer@1 has events of that name"
    )
    assert Config().patterns == {}
