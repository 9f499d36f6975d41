"""What a model did not score was not heard: whatever fails or is left out, the account is right."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detector.configured_model import ConfiguredModel
from detector.features.windows import pieces
from detector.inference.bundle import load_bundle
from detector.pipeline import Pipeline
from detector.records import (
    SAMPLE_RATE,
    AudioBlock,
    Cut,
    Event,
    FloatArray,
    Gap,
    Scores,
    Unscored,
    Window,
)
from detector.settings.models import ModelSettings
from tests.bundles import tone_bundle
from tests.events.scores import Segment, lives
from tests.features.ragged import noise

WINDOW_S, HOP_S = 1.28, 0.32
LOW = np.array([1, 0], np.float32)
QUIET = np.array([0, 0], np.float32)
FRAMES = 64


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ConfiguredModel]:
    folder = tmp_path_factory.mktemp("bundles")
    outputs = {"tagger": ("clip",), "framer": ("frames",)}
    return {
        name: ConfiguredModel(
            name,
            load_bundle(
                str(tone_bundle(folder / name, name, outputs=o, window_s=WINDOW_S, hop_s=HOP_S))  # type: ignore[arg-type]
            ).spec,
            ModelSettings(bundle=name),
        )
        for name, o in outputs.items()
    }


def scores(window: Window, values: FloatArray) -> Scores:
    """The same answer for all of a window."""
    span = (window.first_sample, window.end_sample, window.new_samples, window.power)
    return Scores(*span, values, np.tile(values, (FRAMES, 1)))


class Source:
    """One model that listens to one source."""

    def __init__(self, model: ConfiguredModel) -> None:
        self.pipeline = Pipeline([model])
        [self.lane] = self.pipeline.lanes
        self.told: list[Event | Gap] = []
        self.scored: list[Window] = []
        self.sound: list[tuple[int, int]] = []
        self.end = 0

    def hear(self, seconds: float) -> None:
        """Some sound that waits for the model."""
        samples = noise(seconds)
        self.sound.append((self.end, self.end + len(samples)))
        for piece in pieces(samples):
            self.pipeline.push(AudioBlock(self.end, piece))
            self.end += len(piece)

    def miss(self, seconds: float) -> None:
        gap = Gap(self.end, round(seconds * SAMPLE_RATE), "stall")
        self.pipeline.push(gap)
        self.end = gap.end_sample

    def do(self, deed: str) -> None:
        """One thing that may happen, if there is room for it."""
        if deed == "skip all":
            self.lane.skip(9)
        elif deed == "cut":
            self.pipeline.push(Cut(self.end))
        elif deed in ("hear", "miss"):
            if self.pipeline.has_room:
                self.hear(0.7) if deed == "hear" else self.miss(0.25)
        else:
            deeds: dict[str, Callable[[], object]]
            deeds = {"score": self.score, "fail": self.fail, "skip": lambda: self.lane.skip(1)}
            deeds[deed]()

    def finish(self) -> None:
        self.pipeline.finish()

    def score(self, values: FloatArray = LOW) -> Window | Scores | Cut | None:
        work = self.lane.next()
        if isinstance(work, Window):
            self.scored.append(work)
            self.told += self.pipeline.resolve(self.lane, scores(work, values))
        elif work:
            self.told += self.pipeline.resolve(self.lane, work)
        return work

    def fail(self) -> bool:
        work = self.lane.next()
        if isinstance(work, Cut):
            self.told += self.pipeline.resolve(self.lane, work)
        elif work:
            lost = Unscored(work.first_sample, work.end_sample, "unscored")
            self.told += self.pipeline.resolve(self.lane, lost)
        return work is not None

    def all_of_it(self) -> None:
        while self.score():
            pass

    @property
    def gaps(self) -> list[tuple[int, int, str]]:
        return [(g.first_sample, g.end_sample, g.reason) for g in self.told if isinstance(g, Gap)]

    @property
    def segments(self) -> list[Segment]:
        return lives(event for event in self.told if isinstance(event, Event))


@pytest.fixture(params=["tagger", "framer"])
def source(models: dict[str, ConfiguredModel], request: pytest.FixtureRequest) -> Source:
    return Source(models[request.param])


def seconds(samples: int) -> float:
    return samples / SAMPLE_RATE


def test_an_onset_lies_in_the_window_that_shows_it(source: Source) -> None:
    """However many windows before it were left out."""
    for _ in range(10):
        source.hear(1)
        source.score(QUIET)
        source.lane.skip(3)
    source.hear(1)
    while source.score():
        pass
    source.finish()
    source.all_of_it()
    [segment] = source.segments
    first = next(window for window in source.scored if window.end_sample > 10 * SAMPLE_RATE)
    assert segment.onset >= first.first_sample


def test_no_segment_goes_on_through_what_no_model_saw(source: Source) -> None:
    for _ in range(3):
        source.hear(1)
        source.all_of_it()
    heard_until = source.lane.scored_until
    for _ in range(28):
        source.hear(1)
        while source.fail():
            pass
    for _ in range(3):
        source.hear(1)
        source.all_of_it()
    source.finish()
    source.all_of_it()
    before, after = source.segments
    [(first, end, reason)] = source.gaps
    assert (first, reason) == (heard_until, "unscored")
    assert before.offset <= first
    assert before.truncated
    assert after.onset >= end
    assert seconds(end - first) == pytest.approx(28, abs=WINDOW_S)
    assert source.lane.failed > 28 / HOP_S - 2


def test_a_window_that_failed_is_no_gap_if_the_next_shows_its_sound(source: Source) -> None:
    source.hear(1)
    assert source.score()
    assert source.fail()
    source.hear(1)
    source.all_of_it()
    source.finish()
    source.all_of_it()
    assert source.gaps == []
    assert len(source.segments) == 1
    assert source.lane.failed == 1


def test_a_tail_that_failed_is_a_gap_to_its_end(source: Source) -> None:
    source.hear(1)
    source.all_of_it()
    scored_until = source.lane.scored_until
    source.hear(0.5)
    source.miss(3)
    while source.fail():
        pass
    assert source.gaps == [(scored_until, round(1.5 * SAMPLE_RATE), "unscored")]
    assert source.lane.skipped == 0


def test_stop_ends_a_segment_where_it_was_last_scored(source: Source) -> None:
    """Whatever was captured since, and however long a gap was."""
    source.hear(1)
    source.hear(1)
    while (work := source.score()) and work.end_sample < 1.5 * SAMPLE_RATE:
        pass
    source.miss(600)
    source.told += source.pipeline.stop()
    [segment] = source.segments
    assert segment.truncated
    assert seconds(segment.offset) == pytest.approx(1.6, abs=0.05)


def test_a_model_that_is_silent_leaves_nothing_open_and_goes_on_where_it_was(
    source: Source,
) -> None:
    source.hear(1)
    source.all_of_it()
    source.told += source.pipeline.interrupt(source.lane)
    [silent] = source.segments
    assert silent.truncated
    source.hear(1)
    source.all_of_it()
    source.finish()
    source.all_of_it()
    first, second = source.segments
    assert first == silent
    assert second.onset >= first.offset
    assert source.gaps == []


def test_a_source_that_stutters_while_its_model_hangs_takes_no_more_memory(
    source: Source,
) -> None:
    source.hear(1)
    assert source.score()
    for _ in range(200):
        source.hear(0.4)
        source.miss(0.1)
        while not source.pipeline.has_room:
            source.lane.skip(1)
        assert source.lane.backlog <= 6 * SAMPLE_RATE
    source.finish()
    source.all_of_it()
    lost = sum(end - first for first, end, _ in source.gaps)
    assert 70 < seconds(lost) < 100
    assert {reason for *_, reason in source.gaps} == {"overrun"}
    assert source.segments


def test_a_window_in_flight_that_fails_after_later_ones_were_left_out_is_in_the_gap(
    source: Source,
) -> None:
    """As a model that hangs, and then fails."""
    source.hear(1)
    source.all_of_it()
    scored_until = source.lane.scored_until
    source.hear(1)
    work = source.lane.next()
    assert isinstance(work, Window)
    source.hear(1)
    source.lane.skip(5)
    lost = Unscored(work.first_sample, work.end_sample, "not_finite")
    assert source.pipeline.resolve(source.lane, lost) == []
    for _ in range(3):
        source.hear(1)
        source.all_of_it()
    [(first, _, reason)] = source.gaps
    assert (first, reason) == (scored_until, "not_finite")


def test_what_was_lost_when_it_stops_is_told(source: Source) -> None:
    source.hear(1)
    source.all_of_it()
    scored_until = source.lane.scored_until
    source.hear(1)
    source.lane.skip(3)
    source.pipeline.stop()
    [gap] = source.pipeline.lost_at_stop()
    assert (gap.first_sample, gap.end_sample, gap.reason) == (scored_until, source.end, "overrun")


def test_nothing_is_lost_at_a_stop_of_a_model_that_keeps_up(source: Source) -> None:
    source.hear(1)
    source.all_of_it()
    source.hear(0.1)
    source.pipeline.stop()
    assert source.pipeline.lost_at_stop() == []


def test_what_a_new_stretch_brings_is_not_left_out_for_the_one_before(source: Source) -> None:
    source.hear(1)
    source.lane.skip(50)
    source.miss(1)
    source.hear(1)
    source.all_of_it()
    source.hear(1)
    source.all_of_it()
    assert source.lane.skipped <= 1 / HOP_S + 8
    assert len([w for w in source.scored if w.first_sample >= 2 * SAMPLE_RATE]) >= 4


def test_an_onset_in_the_last_windows_lies_in_what_they_show(
    models: dict[str, ConfiguredModel],
) -> None:
    """The last full window of a tagger may have been left out."""
    source = Source(models["tagger"])
    source.hear(1)
    source.all_of_it()
    for _ in range(3):
        source.hear(1)
        source.lane.skip(3)
    source.hear(0.2)
    source.finish()
    source.lane.skip(2)
    source.all_of_it()
    for window in source.scored:
        assert window.new_samples <= window.end_sample - window.first_sample


DEEDS = ("hear", "hear", "score", "score", "score", "fail", "skip", "cut", "miss")


def told_once(told: Sequence[Event | Gap]) -> Iterator[tuple[int, int]]:
    end = 0
    for gap in told:
        if isinstance(gap, Gap):
            assert gap.first_sample >= end
            end = gap.end_sample
            yield gap.first_sample, gap.end_sample


@given(
    deeds=st.lists(st.sampled_from(DEEDS) | st.just("skip all"), max_size=80),
    name=st.sampled_from(["tagger", "framer"]),
)
@example(["hear", "skip all", "cut", "hear", "cut", "skip all"], "tagger")
@example(["hear", "skip all", "cut", *["hear", "cut", "skip all"] * 3], "framer")
@settings(max_examples=150, deadline=None)
def test_what_was_heard_was_scored_or_is_a_gap(
    models: dict[str, ConfiguredModel], deeds: list[str], name: str
) -> None:
    source = Source(models[name])
    for deed in deeds:
        source.do(deed)
    source.finish()
    source.all_of_it()
    covered = np.zeros(source.end, bool)
    for window in source.scored:
        covered[window.first_sample : window.end_sample] = True
    for first, end in told_once(source.told):
        covered[first:end] = True
    for first, end in source.sound:
        assert covered[first:end].all()
    assert all(g.model == f"{name}@1" for g in source.told if isinstance(g, Gap))
    for segment in source.segments:
        for first, end, _ in source.gaps:
            assert segment.offset <= first or segment.onset >= end
