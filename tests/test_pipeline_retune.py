"""Labels, thresholds and patterns that change while a source is heard, through real models."""

import contextlib
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.events.explain.segment_log import SegmentLog
from detector.explanations import PatternFacts
from detector.pipeline import Pipeline, replay, work_of
from detector.records import AudioBlock, Cut, Event, FloatArray, Gap, Scores, Window
from detector.settings.models import LabelSettings
from tests.bundles import HIGH_HZ, LOW_HZ
from tests.events.scores import lives
from tests.features.ragged import blocks
from tests.test_pipeline import only_events
from tests.test_pipeline_patterns import SILENT, Models, Patterns, at, of, patterns, scene, spans

NEVER = LabelSettings(onset_threshold=1.0)
"""No score is as high."""

TONES = patterns(tones={"kind": "group", "labels": ["low", "high"], "merge_gap_s": 0.0})
BEEPS = patterns(beeps={"kind": "repetition", "label": "high", "rhythm": "t3", "model": "framer"})
NOISE = patterns(noise={"kind": "loud_unlabelled", "threshold_dbfs": -20})
ALL = {**TONES, **BEEPS, **NOISE}
OTHERS = patterns(
    tones={"kind": "group", "labels": ["low"]},
    high={"kind": "group", "labels": ["high", "noise"]},
    noise={"kind": "loud_unlabelled", "threshold_dbfs": -25},
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("bundles"))


class Said:
    """What each model says of a scene, in its own order; too long to be shown when a test fails."""

    def __init__(self, answers: list[list[Scores | Cut]]) -> None:
        self.answers = answers


@pytest.fixture(scope="module")
def said(models: Models) -> Said:
    configured_models = [models.configured("tagger"), models.configured("framer")]
    return Said(models.answers(configured_models, blocks(SCENE)))


class Listening:
    """A source that is heard, with what followed."""

    def __init__(
        self, models: Models, configured_models: Sequence[ConfiguredModel], rules: Patterns
    ) -> None:
        self._models = models
        self.pipeline = Pipeline(configured_models, patterns=rules)
        self.segments = SegmentLog()
        self.events: list[Event] = []
        self._end = 0

    def hear(self, samples: FloatArray) -> list[Event]:
        events: list[Event] = []
        for lane, window in work_of(self.pipeline, [AudioBlock(self._end, samples)]):
            assert isinstance(window, Window)
            answer = self._models.sessions[lane.name].score([window])[0]
            events += only_events(self.pipeline.resolve(lane, answer))
        self._end += len(samples)
        return self._told(events)

    def retune(self, configured_models: Sequence[ConfiguredModel], rules: Patterns) -> list[Event]:
        return self._told(self.pipeline.retune(configured_models, rules))

    def stop(self) -> list[Event]:
        return self._told(self.pipeline.stop())

    def _told(self, events: list[Event]) -> list[Event]:
        self.events += events
        for event in events:
            self.segments.add(event, None, self._end)
        return events

    def why(self, begin_s: float, end_s: float) -> dict[str, PatternFacts]:
        stretch = at(begin_s), at(end_s)
        found = self.pipeline.explain_patterns(*stretch, list(self.segments.between(*stretch)))
        return {one.facts.pattern: one.facts for one in found}

    def onsets(self, begin_s: float, end_s: float) -> dict[str, int | None]:
        stretch = at(begin_s), at(end_s)
        found = self.pipeline.explain_patterns(*stretch, list(self.segments.between(*stretch)))
        return {one.facts.pattern: one.onset_sample for one in found}


def moved(events: Iterable[Event], samples: int) -> list[tuple[str, str, int, int | None, bool]]:
    return [
        (
            e.type,
            e.label,
            e.onset_sample - samples,
            None if e.offset_sample is None else e.offset_sample - samples,
            e.truncated,
        )
        for e in events
    ]


BEFORE = scene(3.3, (LOW_HZ, 1, 3.3), bursts=[(2, 3)])
AFTER = scene(
    9,
    *((HIGH_HZ, 1.0 + i, 1.5 + i) for i in range(3)),
    (LOW_HZ, 3.2, 4.5),
    bursts=[(6, 8)],
)


@pytest.mark.parametrize("before", ["plain", "silent", "deaf", "without", "others"])
@pytest.mark.parametrize("after", ["plain", "silent", "deaf", "without", "others"])
def test_what_was_retuned_hears_as_what_starts_so(models: Models, before: str, after: str) -> None:
    framer = models.configured("framer")
    ways: dict[str, tuple[ConfiguredModel, Patterns]] = {
        "plain": (framer, ALL),
        "silent": (models.configured("framer", low=SILENT, high=SILENT), ALL),
        "deaf": (models.configured("framer", high=NEVER), ALL),
        "without": (framer, {}),
        "others": (models.configured("framer", low=SILENT), {**NOISE, **patterns(
            tones={"kind": "group", "labels": ["low"]},
            high_ones={"kind": "group", "labels": ["high", "noise"]},
        )}),
    }  # fmt: skip
    (was, rules), (is_now, new_rules) = ways[before], ways[after]
    source = Listening(models, [was], rules)
    source.hear(BEFORE)
    source.retune([is_now], new_rules)
    [*events] = source.events
    gap = Gap(len(BEFORE), 1600, "stall")
    session = models.sessions["framer"]

    def score(_: str, window: Window) -> Scores:
        return session.score([window])[0]

    for lane, work in work_of(source.pipeline, [gap]):
        answer = score(lane.name, work) if isinstance(work, Window) else work
        events += only_events(source.pipeline.resolve(lane, answer))
    lives(events)
    retuned = list(replay(source.pipeline, blocks(AFTER, [], gap.end_sample), score))
    fresh = list(replay(Pipeline([is_now], patterns=new_rules), blocks(AFTER), score))
    assert fresh
    assert moved(retuned, gap.end_sample) == moved(fresh, 0)


SCENE = np.concatenate((BEFORE, AFTER))


@given(seed=st.integers(0, 2**32), eager=st.floats(0, 4))
@example(seed=72, eager=1.0)  # a rule that is new when one model has ended and the other has not
@settings(max_examples=25, deadline=None)
def test_whole_segments_are_told_however_often_and_whenever_it_changes(
    models: Models, said: Said, seed: int, eager: float
) -> None:
    """Also while windows wait for a model."""
    rng = np.random.default_rng(seed)

    def configured_models() -> list[ConfiguredModel]:
        ways = [SILENT, LabelSettings(), NEVER]
        return [
            models.configured(name, **{label: ways[rng.integers(3)] for label in ("low", "high")})
            for name in ("tagger", "framer")
        ]

    pipeline = Pipeline(configured_models())
    for _ in work_of(pipeline, [AudioBlock(0, SCENE)]):
        pass  # the answers come below
    # Who is ahead, and by how much, changes now and then.
    pace = np.cumsum(rng.exponential(1, (2, max(map(len, said.answers)))) ** eager, axis=1)
    turns = [(pace[i, n] / len(own), i, answer) for i, own in enumerate(said.answers)
             for n, answer in enumerate(own)]  # fmt: skip
    events = []
    for _, index, answer in sorted(turns, key=lambda turn: turn[:2]):
        if rng.random() < 0.1:
            rules = [ALL, TONES, OTHERS, {}][rng.integers(4)]
            # A pattern may have the name of a label that is published now.
            with contextlib.suppress(ConfigError):
                events += pipeline.retune(configured_models(), rules)
        events += only_events(pipeline.resolve(pipeline.lanes[index], answer))
    for model in ("tagger@1", "framer@1", "patterns@1"):
        lives(event for event in events if event.model == model)


def test_a_group_goes_on_through_a_change_that_is_none_of_its_own(models: Models) -> None:
    source = Listening(models, [models.configured("framer", low=SILENT, high=SILENT)], TONES)
    source.hear(scene(2, (LOW_HZ, 1, 2)))
    other = LabelSettings(enabled=False, onset_threshold=0.9)
    assert source.retune([models.configured("framer", low=SILENT, high=other)], TONES) == []
    source.hear(scene(2, (LOW_HZ, 0, 1)))
    assert spans(source.events) == [pytest.approx((1, 3), abs=0.06)]


@pytest.mark.parametrize("changed", ["a member", "itself"])
def test_a_group_that_changes_ends_and_begins_with_what_goes_on(
    models: Models, changed: str
) -> None:
    source = Listening(models, [models.configured("framer")], TONES)
    source.hear(scene(2, (LOW_HZ, 1, 2)))
    if changed == "a member":
        [end] = source.retune([models.configured("framer", high=SILENT)], TONES)
    else:
        rules = patterns(tones={"kind": "group", "labels": ["low"]})
        [end] = source.retune([models.configured("framer")], rules)
    assert (end.type, end.label, end.truncated) == ("end", "tones", True)
    [start] = source.hear(scene(1, (LOW_HZ, 0, 1)))
    assert (start.type, start.label) == ("start", "tones")
    assert end.offset_sample is not None
    assert at(1.7) < end.offset_sample <= start.onset_sample <= at(2)
    source.stop()
    assert [s.label for s in lives(source.events)] == ["tones", "low", "tones"]


def test_a_group_follows_a_member_that_is_silenced_while_it_sounds(models: Models) -> None:
    source = Listening(models, [models.configured("framer")], TONES)
    source.hear(scene(2, (LOW_HZ, 1, 2)))
    ends = source.retune([models.configured("framer", low=SILENT)], TONES)
    assert sorted((e.label, e.type, e.truncated) for e in ends) == [
        ("low", "end", True),
        ("tones", "end", True),
    ]
    source.hear(scene(2, (LOW_HZ, 0, 1)))
    source.stop()
    assert {e.label for e in source.events[len(ends) + 2 :]} == {"tones"}
    [_, last] = lives(of(source.events, "tones"))
    assert last.offset == pytest.approx(at(3), abs=at(0.06))
    assert not last.truncated


def test_what_was_over_before_a_change_is_not_heard_again(models: Models) -> None:
    """A window shows it still."""
    configured = models.configured("framer", low=SILENT)
    source = Listening(models, [configured], {})
    source.hear(scene(2, (LOW_HZ, 1, 1.5)))
    source.retune([configured], TONES)
    source.hear(scene(2))
    assert source.events == []


def test_a_threshold_reaches_what_only_patterns_hear(models: Models) -> None:
    alarm = scene(6, *((HIGH_HZ, 1.0 + i, 1.5 + i) for i in range(3)))
    deaf = LabelSettings(enabled=False, onset_threshold=1.0)
    for was, is_now, alarms in ((SILENT, deaf, 0), (deaf, SILENT, 1)):
        source = Listening(models, [models.configured("framer", high=was)], BEEPS)
        assert source.retune([models.configured("framer", high=is_now)], BEEPS) == []
        source.hear(alarm)
        source.stop()
        assert len(lives(of(source.events, "beeps"))) == alarms


def test_a_rhythm_that_is_no_longer_wanted_ends(models: Models) -> None:
    source = Listening(models, [models.configured("framer")], BEEPS)
    source.hear(scene(5.5, *((HIGH_HZ, 1.0 + i, 1.5 + i) for i in range(3))))
    [end] = source.retune([models.configured("framer")], {})
    assert (end.type, end.label, end.truncated) == ("end", "beeps", True)
    assert source.pipeline.labels == ("low", "high")


def test_a_label_that_goes_on_accounts_for_what_is_loud_after_a_change(models: Models) -> None:
    tone = scene(4, (LOW_HZ, 0, 4))
    source = Listening(models, [models.configured("framer")], {})
    source.hear(tone)
    source.retune([models.configured("framer")], NOISE)
    source.hear(tone)
    source.retune([models.configured("framer")], patterns(
        noise={"kind": "loud_unlabelled", "threshold_dbfs": -25}
    ))  # fmt: skip
    source.hear(tone)
    source.stop()
    assert {e.label for e in source.events} == {"low"}


def test_a_tagger_confirms_by_its_new_thresholds(models: Models) -> None:
    framer, tagger = models.configured("framer"), models.configured("tagger")
    confirmed = ConfiguredModel(
        "framer", framer.spec, framer.settings.model_copy(update={"confirmed_by": "tagger"})
    )
    pipeline = Pipeline([confirmed, tagger])
    pipeline.retune([confirmed, models.configured("tagger", low=NEVER)], {})
    half = Scores(0, at(2.56), at(2.56), 0.1, np.array([0.6, 0.6], np.float32), None)
    frames = np.full((100, 2), 0.6, np.float32)
    own, other = pipeline.lanes
    assert pipeline.resolve(own, Scores(0, at(1.28), at(1.28), 0.1, None, frames[:64])) == []
    events = only_events(pipeline.resolve(other, half))
    # Of "low" 0.6 is not enough any more, so its frames count less.
    assert {e.label for e in events if e.model == "framer@1"} == {"high"}


def test_what_does_not_fit_changes_nothing(models: Models) -> None:
    source = Listening(models, [models.configured("framer", high=SILENT)], BEEPS)
    for configured, rules, told in (
        (
            models.configured("framer"),
            patterns(high={"kind": "group", "labels": ["low"]}),
            "of that name",
        ),
        (
            models.configured("framer", high=LabelSettings(enabled=False, onset_threshold=0.1)),
            BEEPS,
            "offset_threshold 0.3 is above",
        ),
        (models.configured("framer", low=LabelSettings(onset_threshold=0.1)), BEEPS, "is above"),
    ):
        with pytest.raises(ConfigError, match=told):
            source.retune([configured], rules)
    source.hear(scene(6, (LOW_HZ, 4, 5), *((HIGH_HZ, 1.0 + i, 1.5 + i) for i in range(3))))
    source.stop()
    assert sorted(s.label for s in lives(source.events)) == ["beeps", "low"]


def test_patterns_are_explained(models: Models) -> None:
    source = Listening(models, [models.configured("framer", high=SILENT)], ALL)
    beeps = [(HIGH_HZ, 1.0 + i, 1.5 + i) for i in range(3)]
    source.hear(scene(16, *beeps, (HIGH_HZ, 9, 9.5), bursts=[(12, 12.5), (13.5, 15.5)]))
    alarm = source.why(0.5, 4)
    assert (alarm["beeps"].why, alarm["beeps"].heard) == ("event", {"high": 3})
    assert source.onsets(0.5, 4)["beeps"] == pytest.approx(at(1), abs=at(0.06))
    assert alarm["noise"].why == "labelled"
    assert alarm["noise"].level_dbfs == pytest.approx(-13.5, abs=1)
    alone = source.why(8, 10)
    assert (alone["beeps"].why, alone["beeps"].heard) == ("no_rhythm", {"high": 1})
    assert (alone["tones"].why, alone["tones"].heard) == ("event", {"high": 1})
    quiet = source.why(6, 7)
    assert {slug: (said.why, said.heard) for slug, said in quiet.items()} == {
        "beeps": ("not_heard", {}),
        "tones": ("not_heard", {}),
        "noise": ("not_loud", {}),
    }
    assert source.why(12, 12.5)["noise"].why == "shorter_than_min_duration"
    told = source.why(14.5, 15)["noise"]
    assert (told.why, told.kind, told.name) == ("merged", "loud_unlabelled", "Noise")


def test_of_a_pattern_that_came_later_it_is_said_so(models: Models) -> None:
    configured = models.configured("framer")
    source = Listening(models, [configured], {})
    source.hear(scene(5, (LOW_HZ, 1, 2)))
    source.retune([configured], TONES)
    source.hear(scene(5, (LOW_HZ, 1, 2)))
    assert source.why(1, 2)["tones"].why == "not_set_up"
    assert source.why(6, 7)["tones"].why == "event"
    assert source.why(8, 9)["tones"].why == "not_heard"
