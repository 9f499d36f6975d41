"""Audio in, events out, through real models: the same events however the audio arrives."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.lane import Lane
from detector.pipeline import Pipeline, replay, work_of
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Event, FloatArray, Gap, Scores, Window
from detector.settings.models import LabelSettings, ModelSettings
from tests.bundles import HIGH_HZ, LOW_HZ, loudness_bundle, tone_bundle
from tests.events.scores import Segment, lives
from tests.features.ragged import blocks, evenly, sizes

HOP_S = 0.5
FRAME_S = 0.02
LEAD_S = 0.025
"""Seconds: a frame of log-mel looks this far around."""


def tone(hz: float, seconds: float, amplitude: float = 0.3) -> FloatArray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * time), np.float32)


def scene(seconds: float, *tones: tuple[float, float, float]) -> FloatArray:
    """Faint noise, and tones (hertz, onset, offset)."""
    size = round(seconds * SAMPLE_RATE)
    samples = 0.003 * np.random.default_rng(0).standard_normal(size).astype(np.float32)
    for hz, onset, offset in tones:
        first = round(onset * SAMPLE_RATE)
        added = tone(hz, offset - onset)
        samples[first : first + len(added)] += added
    return samples


SCENE = scene(9.3, (LOW_HZ, 1.3, 2.8), (HIGH_HZ, 2.1, 2.4), (HIGH_HZ, 5.05, 5.15), (LOW_HZ, 8, 9))


class Models:
    """The bundles of these tests, each loaded once."""

    def __init__(self, folder: Path) -> None:
        self._folders = {
            "tagger": tone_bundle(folder / "tagger", "tagger", hop_s=HOP_S),
            "framer": tone_bundle(
                folder / "framer", "framer", outputs=("frames",), window_s=1.28, hop_s=0.2
            ),
            "loudness": loudness_bundle(folder / "loudness"),
        }
        bundles = {name: load_bundle(str(path)) for name, path in self._folders.items()}
        self.specs = {name: bundle.spec for name, bundle in bundles.items()}
        self._sessions = {name: Session(bundle, "cpu") for name, bundle in bundles.items()}

    def configured(self, name: str, settings: ModelSettings | None = None) -> ConfiguredModel:
        return ConfiguredModel(name, self.specs[name], settings or ModelSettings(bundle=name))

    def listen(
        self,
        names: Sequence[str],
        items: Iterable[AudioBlock | Gap | Cut],
        settings: ModelSettings | None = None,
    ) -> list[Event]:
        pipeline = Pipeline([self.configured(name, settings) for name in names])

        def score(name: str, window: Window) -> Scores:
            return self._sessions[name].score([window])[0]

        return list(replay(pipeline, items, score))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def whole(models: Models) -> list[Event]:
    return models.listen(["tagger", "framer", "loudness"], blocks(SCENE))


def only_events(told: Iterable[Event | Gap]) -> list[Event]:
    return [item for item in told if isinstance(item, Event)]


def all_work(
    pipeline: Pipeline, items: Iterable[AudioBlock | Gap | Cut]
) -> Iterator[tuple[Lane, Window | Scores | Cut]]:
    """What there is to do for the models, to the end of the sound."""
    yield from work_of(pipeline, items)
    pipeline.finish()
    yield from pipeline.work()


def seconds(segments: Iterable[Segment]) -> list[tuple[str, float, float]]:
    return [(s.label, s.onset / SAMPLE_RATE, s.offset / SAMPLE_RATE) for s in segments]


def of_model(events: Iterable[Event], name: str) -> list[Event]:
    return [event for event in events if event.model == f"{name}@1"]


def close(
    found: Sequence[tuple[str, float, float]], truth: Sequence[tuple[str, float, float]], by: float
) -> bool:
    return [label for label, *_ in found] == [label for label, *_ in truth] and np.allclose(
        [edges for _, *edges in found], [edges for _, *edges in truth], rtol=0, atol=by
    )


def test_a_tagger_times_tones_within_one_hop(whole: list[Event]) -> None:
    found = seconds(lives(of_model(whole, "tagger")))
    truth = [("high", 2.1, 2.4), ("low", 1.3, 2.8), ("high", 5.05, 5.15), ("low", 8, 9)]
    assert close(found, truth, HOP_S + LEAD_S), found


def test_a_frame_classifier_times_them_within_a_frame(whole: list[Event]) -> None:
    found = seconds(lives(of_model(whole, "framer")))
    truth = [("high", 2.1, 2.4), ("low", 1.3, 2.8), ("high", 5.05, 5.15), ("low", 8, 9)]
    assert close(found, truth, FRAME_S + LEAD_S), found


def test_a_model_of_the_waveform_hears_beside_them(whole: list[Event]) -> None:
    found = seconds(lives(of_model(whole, "loudness")))
    assert close(found, [("loud", 1.3, 2.8), ("loud", 5.05, 5.15), ("loud", 8, 9)], 0.25), found


def test_events_tell_how_loud_a_tone_was(whole: list[Event]) -> None:
    ends = [e for e in of_model(whole, "framer") if e.type == "end" and e.label == "low"]
    levels = [event.level_dbfs for event in ends]
    assert levels == pytest.approx([10 * np.log10(0.3**2 / 2)] * 2, abs=1.5)


def test_models_that_listen_together_hear_what_each_hears_alone(
    models: Models, whole: list[Event]
) -> None:
    for name in ("tagger", "framer", "loudness"):
        assert models.listen([name], blocks(SCENE)) == of_model(whole, name)


@given(lengths=sizes)
@settings(max_examples=10)
def test_any_chunking_gives_the_same_events(
    models: Models, whole: list[Event], lengths: list[int]
) -> None:
    events = models.listen(["tagger", "framer", "loudness"], blocks(SCENE, lengths))
    for name in ("tagger", "framer", "loudness"):
        assert of_model(events, name) == of_model(whole, name)
    assert events == whole


def test_audio_sample_by_sample_gives_the_same_events(models: Models) -> None:
    part = SCENE[SAMPLE_RATE : 3 * SAMPLE_RATE]
    names = ["tagger", "framer", "loudness"]
    expected = models.listen(names, blocks(part))
    assert models.listen(names, blocks(part, evenly(1))) == expected
    assert len(expected) >= 6


@pytest.mark.parametrize("names", [["tagger"], ["framer"], ["loudness"]])
def test_faint_noise_and_silence_are_no_events(models: Models, names: list[str]) -> None:
    assert models.listen(names, blocks(scene(4))) == []
    assert models.listen(names, blocks(np.zeros(4 * SAMPLE_RATE, np.float32))) == []


class TestGap:
    BEFORE = scene(4.2, (LOW_HZ, 3, 4.2))
    AFTER = scene(4, (LOW_HZ, 0, 0.9), (HIGH_HZ, 2, 2.5))
    MISSING = 7777

    def items(self) -> list[AudioBlock | Gap]:
        gap = Gap(len(self.BEFORE), self.MISSING, "overflow")
        return [*blocks(self.BEFORE), gap, *blocks(self.AFTER, [3000], gap.end_sample)]

    @pytest.mark.parametrize("name", ["tagger", "framer", "loudness"])
    def test_ends_what_sounds_and_says_that_it_was_cut(self, models: Models, name: str) -> None:
        first, *_ = lives(models.listen([name], self.items()))
        assert first.truncated
        assert first.offset == len(self.BEFORE)
        assert abs(first.onset - 3 * SAMPLE_RATE) <= (HOP_S + LEAD_S) * SAMPLE_RATE

    @pytest.mark.parametrize("name", ["tagger", "framer", "loudness"])
    def test_what_comes_after_it_is_heard_as_if_alone_at_its_own_index(
        self, models: Models, name: str
    ) -> None:
        begin = len(self.BEFORE) + self.MISSING
        alone = lives(models.listen([name], blocks(self.AFTER)))
        after = [s for s in lives(models.listen([name], self.items())) if s.onset >= begin]
        assert len(after) == 2
        assert [(s.label, s.onset - begin, s.offset - begin, s.truncated) for s in after] == [
            (s.label, s.onset, s.offset, s.truncated) for s in alone
        ]

    def test_two_in_a_row_and_one_at_the_very_beginning_do_no_harm(self, models: Models) -> None:
        gaps = [Gap(0, 100, "restart"), Gap(100, 50, "stall")]
        found = lives(models.listen(["tagger"], [*gaps, *blocks(self.AFTER, [], 150)]))
        assert [(s.label, s.onset) for s in found] == [("low", 150), ("high", 150 + 32_000)]


class TestCut:
    """The sound stops, and nobody knows for how long."""

    BEFORE, AFTER = TestGap.BEFORE, TestGap.AFTER
    NAMES = ("tagger", "framer", "loudness")

    @pytest.mark.parametrize("name", NAMES)
    def test_ends_what_sounds_before_anything_else_comes(self, models: Models, name: str) -> None:
        pipeline = Pipeline([models.configured(name)])
        events = []
        items: list[AudioBlock | Cut] = [*blocks(self.BEFORE), Cut(len(self.BEFORE))]
        for lane, task in work_of(pipeline, items):
            session = models._sessions[name]
            answer = session.score([task])[0] if isinstance(task, Window) else task
            events += only_events(pipeline.resolve(lane, answer))
        *_, last = lives(events)
        assert (last.offset, last.truncated) == (len(self.BEFORE), True)
        assert pipeline.stop() == []

    @given(lengths=sizes)
    @settings(max_examples=10)
    def test_and_then_the_gap_tell_what_the_gap_alone_would(
        self, models: Models, lengths: list[int]
    ) -> None:
        end = len(self.BEFORE)
        gap = Gap(end, TestGap.MISSING, "stall")
        after = list(blocks(self.AFTER, lengths, gap.end_sample))
        alone = models.listen(self.NAMES, [*blocks(self.BEFORE), gap, *after])
        cuts = [Cut(end), Cut(end)]
        cut = models.listen(self.NAMES, [*blocks(self.BEFORE, lengths), *cuts, gap, *after])
        assert cut == alone

    @given(lengths=sizes)
    @settings(max_examples=10)
    def test_with_nothing_lost_is_followed_by_the_sound_as_if_alone(
        self, models: Models, lengths: list[int]
    ) -> None:
        end = len(self.BEFORE)
        before_it, after_it = blocks(self.BEFORE, lengths), blocks(self.AFTER, lengths, end)
        items: list[AudioBlock | Cut] = [*before_it, Cut(end), *after_it]
        for name in self.NAMES:
            before = lives(models.listen([name], blocks(self.BEFORE)))
            alone = lives(models.listen([name], blocks(self.AFTER)))
            after = [
                Segment(s.label, s.onset + end, s.offset + end, truncated=s.truncated)
                for s in alone
            ]
            assert lives(models.listen([name], items)) == before + after
            assert before[-1].truncated


class TestFinish:
    @pytest.mark.parametrize("name", ["tagger", "framer"])
    def test_scores_a_recording_shorter_than_a_hop(self, models: Models, name: str) -> None:
        [found] = lives(models.listen([name], blocks(tone(LOW_HZ, 0.3))))
        assert (found.label, found.offset, found.truncated) == ("low", 4800, True)
        assert found.onset <= LEAD_S * SAMPLE_RATE

    @pytest.mark.parametrize("name", ["tagger", "framer"])
    def test_scores_a_recording_shorter_than_the_window(self, models: Models, name: str) -> None:
        recording = scene(2, (HIGH_HZ, 0.6, 1.2))
        [found] = lives(models.listen([name], blocks(recording)))
        assert close(seconds([found]), [("high", 0.6, 1.2)], HOP_S + LEAD_S)
        assert not found.truncated

    @pytest.mark.parametrize("name", ["tagger", "framer"])
    def test_hears_what_is_only_in_the_tail(self, models: Models, name: str) -> None:
        recording = scene(4.2, (HIGH_HZ, 4.05, 4.2))
        [found] = lives(models.listen([name], blocks(recording)))
        assert (found.label, found.truncated) == ("high", True)
        assert found.offset == len(recording)
        assert found.onset >= round(3.5 * SAMPLE_RATE)

    @pytest.mark.parametrize("size", [0, 1, 399])
    def test_has_no_answer_to_less_than_a_frame(self, models: Models, size: int) -> None:
        assert models.listen(["tagger", "framer"], blocks(tone(LOW_HZ, 1)[:size])) == []

    def test_gives_every_model_a_cut_after_its_last_window(self, models: Models) -> None:
        pipeline = Pipeline([models.configured("tagger"), models.configured("framer")])
        work = list(all_work(pipeline, [AudioBlock(0, SCENE[:20_000])]))
        for name in ("tagger", "framer"):
            own = [item for lane, item in work if lane.name == name]
            assert own[-1] == Cut(20_000)
            assert all(isinstance(item, Window) for item in own[:-1])
            assert len(own) > 3


def test_stop_ends_what_is_open_where_it_was_last_scored(models: Models) -> None:
    pipeline = Pipeline([models.configured("tagger")])
    hot = np.array([1.0, 0.0], np.float32)
    events = []
    for lane, work in work_of(pipeline, [AudioBlock(0, SCENE[:20_000])]):
        assert isinstance(work, Window)
        span = (work.first_sample, work.end_sample, work.new_samples, work.power)
        events += only_events(pipeline.resolve(lane, Scores(*span, hot, None)))
    events += pipeline.stop()
    assert lives(events) == [Segment("low", 0, 16_000, truncated=True)]
    assert pipeline.stop() == []


class TestSettings:
    def test_hop_of_the_configuration_counts(self, models: Models) -> None:
        fine = ModelSettings(bundle="tagger", hop_s=0.1)
        found = seconds(lives(models.listen(["tagger"], blocks(SCENE), fine)))
        truth = [("high", 2.1, 2.4), ("low", 1.3, 2.8), ("high", 5.05, 5.15), ("low", 8, 9)]
        assert close(found, truth, 0.1 + LEAD_S), found

    @pytest.mark.parametrize("hop_s", [0.005, 0.1234, 2.57, 1e-9])
    def test_hop_that_does_not_fit_is_refused(self, models: Models, hop_s: float) -> None:
        settings = ModelSettings(bundle="tagger", hop_s=hop_s)
        with pytest.raises(ConfigError, match=rf"hop_s = {hop_s}: tagger@1 .* 0\.01 s, .* 2\.56 s"):
            Pipeline([models.configured("tagger", settings)])

    def test_a_waveform_takes_any_hop_up_to_its_window(self, models: Models) -> None:
        settings = ModelSettings(bundle="loudness", hop_s=0.1234)
        assert models.configured("loudness", settings).window.hop_samples == 1974
        with pytest.raises(ConfigError, match="at most its window of 1 s"):
            Pipeline([models.configured("loudness", ModelSettings(bundle="loudness", hop_s=1.01))])

    def test_labels_of_the_configuration_count(self, models: Models) -> None:
        only = ModelSettings(bundle="tagger", only=("high",))
        assert {e.label for e in models.listen(["tagger"], blocks(SCENE), only)} == {"high"}
        merged = ModelSettings(bundle="framer", labels={"high": LabelSettings(merge_gap_s=5)})
        found = lives(of_model(models.listen(["framer"], blocks(SCENE), merged), "framer"))
        assert sum(segment.label == "high" for segment in found) == 1

    def test_unknown_label_is_refused(self, models: Models) -> None:
        settings = ModelSettings(bundle="tagger", only=("hihg",))
        with pytest.raises(ConfigError, match="did you mean 'high'"):
            Pipeline([models.configured("tagger", settings)])

    def test_long_sounds_are_updated_at_the_interval(self, models: Models) -> None:
        settings = ModelSettings(bundle="tagger", update_interval_s=2)
        events = models.listen(["tagger"], blocks(scene(12, (LOW_HZ, 1, 9.6))), settings)
        kinds = [event.type for event in events]
        assert kinds == ["start", *["update"] * (len(kinds) - 2), "end"]
        assert 4 <= len(kinds) - 2 <= 5
        lives(events)

    def test_smoothing_removes_what_is_shorter_than_half_the_filter(self, models: Models) -> None:
        smooth = ModelSettings(bundle="framer", smoothing_windows=15)  # of 20 ms
        found = seconds(lives(models.listen(["framer"], blocks(SCENE), smooth)))
        truth = [("high", 2.1, 2.4), ("low", 1.3, 2.8), ("low", 8, 9)]
        assert close(found, truth, FRAME_S + LEAD_S), found


def test_a_model_with_both_outputs_is_timed_by_its_frames(tmp_path: Path, models: Models) -> None:
    bundle = load_bundle(str(tone_bundle(tmp_path / "both", outputs=("clip", "frames"))))
    pipeline = Pipeline([ConfiguredModel("both", bundle.spec, ModelSettings(bundle="both"))])
    session = Session(bundle, "cpu")
    events = replay(pipeline, blocks(SCENE), lambda _, window: session.score([window])[0])
    found = seconds(lives(events))
    assert close(found[:2], [("high", 2.1, 2.4), ("low", 1.3, 2.8)], FRAME_S + LEAD_S), found
