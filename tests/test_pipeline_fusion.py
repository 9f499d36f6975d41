"""Frames time and clips confirm, through real models, however their answers arrive."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.lane import check
from detector.loading import load_models
from detector.pipeline import Pipeline, replay, work_of
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Event, Gap, Scores, Window
from detector.settings.config import Config
from detector.settings.models import ModelSettings
from tests.bundles import HIGH_HZ, LOW_HZ, loudness_bundle, tone_bundle
from tests.events.scores import lives
from tests.features.ragged import blocks, sizes
from tests.test_pipeline import FRAME_S, HOP_S, LEAD_S, all_work, close, only_events, scene, seconds

SCENE = scene(7.3, (LOW_HZ, 1.3, 2.8), (HIGH_HZ, 2.1, 2.4), (HIGH_HZ, 5.05, 5.15), (LOW_HZ, 6, 7))
LOW = [("low", 1.3, 2.8), ("low", 6, 7)]
BOTH = [("high", 2.1, 2.4), ("low", 1.3, 2.8), ("high", 5.05, 5.15), ("low", 6, 7)]
FINE = FRAME_S + LEAD_S
"""Seconds: how exactly frames time."""

Change = Callable[[str, Scores], Scores]


def as_it_is(name: str, scores: Scores) -> Scores:
    return scores


def deaf_to_high(name: str, scores: Scores) -> Scores:
    """A tagger that scores the window, but never "high"."""
    if scores.clip is None:
        return scores
    clip = scores.clip * np.array([1, 0], np.float32)
    return Scores(
        scores.first_sample,
        scores.end_sample,
        scores.new_samples,
        scores.power,
        clip,
        scores.frames,
    )


class Models:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = {
            "tagger": tone_bundle(folder / "tagger", "tagger", hop_s=HOP_S),
            "framer": tone_bundle(
                folder / "framer", "framer", outputs=("frames",), window_s=1.28, hop_s=0.2
            ),
            "pair": tone_bundle(folder / "pair", "pair", outputs=("clip", "frames"), hop_s=HOP_S),
            "loudness": loudness_bundle(folder / "loudness"),
        }
        bundles = {name: load_bundle(str(path)) for name, path in paths.items()}
        self.specs = {name: bundle.spec for name, bundle in bundles.items()}
        self._sessions = {name: Session(bundle, "cpu") for name, bundle in bundles.items()}

    def configured(self, name: str, **settings: object) -> ConfiguredModel:
        asked = ModelSettings.model_validate({"bundle": name, **settings})
        return ConfiguredModel(name, self.specs[name], asked)

    def hear(self, *configured_models: ConfiguredModel, change: Change = as_it_is) -> list[Event]:
        """What the configured_models tell of the scene."""

        def score(name: str, window: Window) -> Scores:
            return change(name, self._sessions[name].score([window])[0])

        return list(replay(Pipeline(configured_models), blocks(SCENE), score))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("bundles"))


def of(events: Sequence[Event], name: str) -> list[Event]:
    return [event for event in events if event.model == f"{name}@1"]


class TestOneModelWithBothOutputs:
    @pytest.mark.parametrize("decided_by", ["frames", "both", None])
    def test_is_timed_by_its_frames(self, models: Models, decided_by: str | None) -> None:
        found = seconds(lives(models.hear(models.configured("pair", decided_by=decided_by))))
        assert close(found, BOTH, FINE), found

    def test_decided_by_its_clip_is_a_tagger(self, models: Models) -> None:
        events = models.hear(models.configured("pair", decided_by="clip"))
        tagged = models.hear(models.configured("tagger"))
        assert lives(events) == lives(tagged)
        assert [event.mean for event in events] == pytest.approx([event.mean for event in tagged])

    @pytest.mark.parametrize(
        ("decided_by", "expected"), [("both", LOW), (None, LOW), ("frames", BOTH)]
    )
    def test_what_the_clip_does_not_hear_is_no_event_where_it_has_a_word(
        self, models: Models, decided_by: str | None, expected: list[tuple[str, float, float]]
    ) -> None:
        configured = models.configured("pair", decided_by=decided_by)
        found = seconds(lives(models.hear(configured, change=deaf_to_high)))
        assert close(found, expected, FINE), found

    @pytest.mark.parametrize(
        ("decided_by", "trailing"), [("clip", True), ("frames", False), ("both", False)]
    )
    def test_trailing_windows_are_scored_only_for_a_clip(
        self, models: Models, decided_by: str, *, trailing: bool
    ) -> None:
        configured = models.configured("pair", decided_by=decided_by)
        assert configured.window_request.trailing is trailing

    def test_is_refused_what_its_bundle_lacks(self, models: Models) -> None:
        configured = models.configured("tagger", decided_by="both")
        for use in (check, lambda configured: Pipeline([configured])):
            with pytest.raises(ConfigError, match="decided_by = 'both': tagger@1 has only"):
                use(configured)


class TestTwoModels:
    def test_what_the_tagger_confirms_is_as_the_frame_classifier_says(self, models: Models) -> None:
        alone = models.hear(models.configured("framer"))
        together = models.hear(
            models.configured("framer", confirmed_by="tagger"), models.configured("tagger")
        )
        assert of(together, "framer") == alone
        assert close(seconds(lives(alone)), BOTH, FINE)

    def test_what_the_tagger_does_not_hear_is_no_event(self, models: Models) -> None:
        configured_models = (
            models.configured("framer", confirmed_by="tagger"),
            models.configured("tagger"),
        )
        events = models.hear(*configured_models, change=deaf_to_high)
        found = seconds(lives(of(events, "framer")))
        assert close(found, LOW, FINE), found

    def test_the_tagger_goes_on_making_events_of_its_own(self, models: Models) -> None:
        framer = models.configured("framer", confirmed_by="tagger")
        own = of(models.hear(framer, models.configured("tagger")), "tagger")
        assert own == models.hear(models.configured("tagger"))

    def test_a_tagger_without_labels_only_confirms(self, models: Models) -> None:
        framer = models.configured("framer", confirmed_by="tagger")
        events = models.hear(framer, models.configured("tagger", only=()), change=deaf_to_high)
        assert {event.model for event in events} == {"framer@1"}
        assert {event.label for event in events} == {"low"}

    def test_a_model_with_both_outputs_is_confirmed_by_its_own_clip_and_the_other(
        self, models: Models
    ) -> None:
        pair = models.configured("pair", confirmed_by="tagger")
        for deaf, expected in (("pair", LOW), ("tagger", LOW), ("nobody", BOTH)):

            def change(name: str, scores: Scores, deaf: str = deaf) -> Scores:
                return deaf_to_high(name, scores) if name == deaf else scores

            events = models.hear(pair, models.configured("tagger"), change=change)
            found = seconds(lives(of(events, "pair")))
            assert close(found, expected, FINE), (deaf, found)

    @pytest.mark.parametrize(
        ("configured_models", "told"),
        [
            (["framer"], "does not listen to the same source"),
            (["framer", "tagger:framer"], "does not listen to the same source"),
            (["framer:tagger", "tagger:framer"], "tagger@1 is decided by its clip"),
            (["pair:framer", "framer"], "framer@1 has no clip output"),
            (["framer:loudness", "loudness"], "loudness@1 has no label of framer@1"),
        ],
    )
    def test_that_do_not_fit_are_refused(
        self, models: Models, configured_models: list[str], told: str
    ) -> None:
        parsed = [
            (name, other or None)
            for name, _, other in (x.partition(":") for x in configured_models)
        ]
        if parsed[0][1] is None:
            parsed[0] = (parsed[0][0], "elsewhere")
        made = [models.configured(name, confirmed_by=other) for name, other in parsed]
        with pytest.raises(ConfigError, match=rf"models\.\w+\.confirmed_by = '\w+': .*{told}"):
            Pipeline(made)


class TestLoading:
    @staticmethod
    def config(models: Models, **confirmed_by: str) -> Config:
        return Config(
            models={
                name: ModelSettings(
                    bundle=str(models.folder / name), provider="cpu", confirmed_by=other or None
                )
                for name, other in confirmed_by.items()
            }
        )

    def test_takes_models_that_fit_each_other(self, models: Models) -> None:
        config = self.config(models, framer="tagger", tagger="")
        assert list(load_models(config, None)) == ["framer", "tagger"]

    def test_refuses_those_that_do_not_naming_the_file_and_the_setting(
        self, models: Models
    ) -> None:
        config = self.config(models, framer="loudness", loudness="")
        told = r"home\.toml: models\.framer\.confirmed_by = 'loudness': loudness@1 has no label of"
        with pytest.raises(ConfigError, match=told):
            load_models(config, Path("home.toml"))


Stretches = list[tuple[int, int, bool]]
"""Samples that are heard and then not, and whether the sound is cut between."""


def heard(stretches: Stretches, lengths: Sequence[int]) -> Iterator[AudioBlock | Gap | Cut]:
    """Silence, in blocks of these lengths, with cuts and gaps."""
    first = 0
    for length, missing, cut in stretches:
        yield from blocks(np.zeros(length, np.float32), lengths, first)
        first += length
        if cut:
            yield Cut(first)
        if missing:
            yield Gap(first, missing, "overflow")
            first += missing


def answers(
    configured_models: Sequence[ConfiguredModel],
    work: Sequence[tuple[int, Window | Scores | Cut]],
    skipped: int,
) -> list[list[Scores | Cut]]:
    """Of each model in its order: scores that are random, but the same for the same window.

    Of `skipped` windows in a hundred there is no answer, as when models are too slow.
    """
    told: list[list[Scores | Cut]] = [[] for _ in configured_models]
    for index, task in work:
        if isinstance(task, Cut):
            told[index].append(task)
            continue
        span = (task.first_sample, task.end_sample, task.new_samples, task.power)
        rng = np.random.default_rng([index, *span[:3]])
        if rng.integers(100) < skipped:
            continue
        outputs = configured_models[index].spec.outputs
        clip = rng.random(2, np.float32) if outputs.clip else None
        frames = None
        if outputs.frames:
            window = configured_models[index].window.samples
            frames = rng.random((window // outputs.frames.hop_samples, 2), np.float32)
        told[index].append(Scores(*span, clip, frames))
    return told


def in_turn(
    told: Sequence[Sequence[Scores | Cut]], turns: Sequence[int]
) -> Iterator[tuple[int, Scores | Cut]]:
    """Mix the models' answers: each in its own order, the models as `turns` has it."""
    left = [list(own) for own in told]
    for turn in turns:
        if left[turn % len(left)]:
            yield turn % len(left), left[turn % len(left)].pop(0)
    for index, own in enumerate(left):
        yield from ((index, answer) for answer in own)


def tell(pipeline: Pipeline, mixed: Iterator[tuple[int, Scores | Cut]]) -> list[Event]:
    return only_events(
        told for index, answer in mixed for told in pipeline.resolve(pipeline.lanes[index], answer)
    )


def indexed_work(
    pipeline: Pipeline, items: Iterator[AudioBlock | Gap | Cut]
) -> list[tuple[int, Window | Scores | Cut]]:
    return [(pipeline.lanes.index(lane), task) for lane, task in all_work(pipeline, items)]


@given(
    stretches=st.lists(
        st.tuples(st.integers(1, 40_000), st.sampled_from([0, 1, 5_000, 10**7]), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    lengths=sizes,
    turns=st.lists(st.integers(0, 2), max_size=120),
    skipped=st.sampled_from([0, 0, 30, 90]),
    turned=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_events_depend_on_what_each_model_said_and_not_on_who_spoke_first(
    models: Models,
    stretches: Stretches,
    lengths: list[int],
    turns: list[int],
    skipped: int,
    *,
    turned: bool,
) -> None:
    """And not on how the audio was cut up."""
    configured_models = [
        models.configured("framer", confirmed_by="tagger", hop_s=0.2),
        models.configured("tagger", hop_s=0.5),
        models.configured("pair", confirmed_by="tagger", hop_s=0.3),
    ]
    if turned:
        configured_models.reverse()
    whole, cut_up = Pipeline(configured_models), Pipeline(configured_models)
    one_after_the_other = in_turn(
        answers(configured_models, indexed_work(whole, heard(stretches, [])), skipped), []
    )
    expected = tell(whole, one_after_the_other)
    told = answers(configured_models, indexed_work(cut_up, heard(stretches, lengths)), skipped)
    events = tell(cut_up, in_turn(told, turns))
    for name in ("framer", "tagger", "pair"):
        assert of(events, name) == of(expected, name)
        lives(of(events, name))
    assert whole.stop() == cut_up.stop() == []


def test_two_models_may_confirm_each_other(models: Models) -> None:
    specs = models.specs["pair"]
    configured_models = [
        ConfiguredModel("one", specs, ModelSettings(bundle="one", confirmed_by="two", hop_s=0.3)),
        ConfiguredModel(
            "two",
            specs.model_copy(update={"name": "other"}),
            ModelSettings(bundle="two", confirmed_by="one", hop_s=0.4),
        ),
    ]
    pipeline = Pipeline(configured_models)
    told = answers(
        configured_models,
        indexed_work(pipeline, heard([(60_000, 500, False), (30_000, 0, False)], [])),
        0,
    )
    events = [
        tell(Pipeline(configured_models), in_turn(told, turns))
        for turns in ([], [1] * 99, [0, 1] * 99)
    ]
    for name in ("pair", "other"):
        first, *others = [of(found, name) for found in events]
        assert len(first) > 3
        assert all(found == first for found in others)


def test_stop_tells_nothing_that_is_not_confirmed_and_ends_what_is(models: Models) -> None:
    configured_models = [
        models.configured("framer", confirmed_by="tagger"),
        models.configured("tagger"),
    ]
    for name, ended in (("framer", []), ("both", ["low", "high"])):
        pipeline = Pipeline(configured_models)
        events = []
        for lane, task in list(work_of(pipeline, [AudioBlock(0, SCENE[:20_000])])):
            assert isinstance(task, Window)
            span = (task.first_sample, task.end_sample, task.new_samples, task.power)
            hot = np.ones((64, 2), np.float32)
            framed = lane.name == "framer"
            answer = Scores(*span, None, hot) if framed else Scores(*span, hot[0], None)
            if framed or name == "both":
                events += only_events(pipeline.resolve(lane, answer))
        found = lives(of([*events, *pipeline.stop()], "framer"))
        assert [s.label for s in found] == ended
        assert all(15_000 < s.offset <= 16_000 and s.truncated for s in found)
        assert pipeline.stop() == []


def test_an_event_waits_at_most_a_hop_of_the_tagger(models: Models) -> None:
    """Answers come at once here: what is left is the wait for the sound itself."""
    framer, tagger = models.configured("framer", confirmed_by="tagger"), models.configured("tagger")
    began: dict[str, list[tuple[int, str, str]]] = {}
    for name, configured_models in {
        "alone": [models.configured("framer")],
        "both": [framer, tagger],
    }.items():
        pipeline = Pipeline(configured_models)
        for end in range(160, len(SCENE), 160):
            pipeline.push(AudioBlock(end - 160, SCENE[end - 160 : end]))
            for lane, task in pipeline.work():
                session = models._sessions[lane.name]
                answer = session.score([task])[0] if isinstance(task, Window) else task
                for event in of(only_events(pipeline.resolve(lane, answer)), "framer"):
                    began.setdefault(name, []).append((end, event.type, event.label))
    waits = [b[0] - a[0] for a, b in zip(began["alone"], began["both"], strict=True)]
    assert [b[1:] for b in began["both"]] == [a[1:] for a in began["alone"]]
    assert 0 <= min(waits) <= max(waits) < HOP_S * SAMPLE_RATE
