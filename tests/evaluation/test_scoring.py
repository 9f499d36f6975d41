"""The figures: by arithmetic on events made by hand, and as other programs compute them."""

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from detector.evaluation.detections import Detection, TrueEvent
from detector.evaluation.optional import MissingExtraError, require
from detector.evaluation.scoring import LabelResult, Result, TimedScores, score

COLLARS = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
DCASE_1 = {
    "dtc_threshold": 0.7,
    "gtc_threshold": 0.7,
    "cttc_threshold": None,
    "alpha_ct": 0.0,
    "alpha_st": 1.0,
    "max_efpr": 100.0,
}

README = """filename,onset,offset,event_label
test1.wav,3.98,4.86,class2
test1.wav,9.05,10.0,class3
test2.wav,0.0,4.07,class1
test2.wav,0.0,8.54,class2
test2.wav,5.43,7.21,class1
"""
"""The ground truth in the README of sed_scores_eval."""
DURATIONS = {"test1.wav": 10.0, "test2.wav": 9.7}


def published() -> dict[str, list[TrueEvent]]:
    events: dict[str, list[TrueEvent]] = {}
    for row in csv.DictReader(io.StringIO(README)):
        event = (float(row["onset"]), float(row["offset"]), row["event_label"])
        events.setdefault(row["filename"], []).append(event)
    return events


def only(result: Result) -> LabelResult:
    [label] = result.labels
    return label


class TestByArithmetic:
    """Three minutes, in which a dog barks three times."""

    TRUTH: Mapping[str, Sequence[TrueEvent]] = {
        "yard.wav": [(10.0, 11.0, "dog"), (20.0, 22.0, "dog"), (40.0, 41.0, "dog")]
    }
    FOUND: Mapping[str, Sequence[Detection]] = {
        "yard.wav": [
            Detection(10.1, 11.1, "dog", reported_s=10.5),
            Detection(20.5, 22.0, "dog", reported_s=21.0),  # half a second late
            Detection(50.0, 51.0, "dog", reported_s=50.5),  # nothing there
        ],
        "street.wav": [Detection(5.0, 6.0, "dog", reported_s=5.5)],  # nor there
    }
    SECONDS: Mapping[str, float] = {"yard.wav": 60.0, "street.wav": 120.0}

    @pytest.fixture
    def dog(self) -> LabelResult:
        return only(score(self.TRUTH, self.FOUND, self.SECONDS))

    def test_events_count_where_both_edges_are_right(self, dog: LabelResult) -> None:
        figures = dog.event_based
        counts = (figures.true_positives, figures.false_positives, figures.false_negatives)
        assert counts == (1, 3, 2)
        assert (figures.precision, figures.recall) == (1 / 4, 1 / 3)
        assert figures.f1 == pytest.approx(2 / 7)

    def test_segments_count_by_the_second(self, dog: LabelResult) -> None:
        figures = dog.segment_based  # true: 10, 20, 21, 40; told: 10, 11, 20, 21, 50, and 5
        counts = (figures.true_positives, figures.false_positives, figures.false_negatives)
        assert counts == (3, 3, 1)
        assert figures.f1 == pytest.approx(0.6)

    def test_a_false_alarm_is_where_the_sound_is_not(self, dog: LabelResult) -> None:
        assert dog.false_alarms == 2
        assert dog.false_alarms_per_hour == pytest.approx(2 / (180 / 3600))
        assert (dog.reference_events, dog.detected_events, dog.heard_events) == (3, 4, 2)

    def test_latency_and_onset_error_are_medians_over_what_was_heard(
        self, dog: LabelResult
    ) -> None:
        assert dog.latency_s == pytest.approx((0.5 + 1.0) / 2)
        assert dog.onset_error_s == pytest.approx((0.1 + 0.5) / 2)

    def test_there_is_no_psds_without_scores(self, dog: LabelResult) -> None:
        assert dog.psds1 is None

    def test_a_label_that_never_sounds_lowers_all_but_no_mean(self) -> None:
        cat_too = [*self.FOUND["street.wav"], Detection(7.0, 8.0, "cat")]
        found = {**self.FOUND, "street.wav": cat_too}
        result = score(self.TRUTH, found, self.SECONDS)
        cat, dog = result.labels
        assert (cat.label, cat.false_alarms, cat.event_based.f1) == ("cat", 1, 0.0)
        assert (cat.event_based.recall, cat.latency_s, cat.onset_error_s) == (None, None, None)
        assert result.overall.event_based.f1 == pytest.approx(2 * 1 / (2 * 1 + 4 + 2))
        assert result.event_based_macro_f1 == dog.event_based.f1
        assert result.overall.false_alarms_per_hour == pytest.approx(60)

    def test_labels_that_do_not_count_are_left_out(self) -> None:
        found = {"yard.wav": [(1.0, 2.0, "cat")]}
        result = score(self.TRUTH, found, self.SECONDS, labels=["dog", "owl"])
        assert [one.label for one in result.labels] == ["dog", "owl"]
        owl = result.labels[1]
        assert (owl.reference_events, owl.detected_events, owl.event_based.f1) == (0, 0, None)


@pytest.mark.parametrize(
    ("found", "hit"),
    [
        ((10.2, 15.0), True),
        ((10.21, 15.0), False),
        ((9.8, 16.0), True),  # a fifth of five seconds
        ((10.0, 16.01), False),
        ((10.0, 13.99), False),
    ],
)
def test_collars_are_200_ms_and_a_fifth_of_the_length(
    found: tuple[float, float], *, hit: bool
) -> None:
    result = score({"a": [(10.0, 15.0, "dog")]}, {"a": [(*found, "dog")]}, {"a": 60.0})
    assert only(result).event_based.true_positives == hit


@pytest.mark.parametrize(("onset", "alarms"), [(11.19, 0), (11.21, 1)])
def test_what_begins_just_after_a_sound_is_no_false_alarm(onset: float, alarms: int) -> None:
    result = score({"a": [(10.0, 11.0, "dog")]}, {"a": [(onset, 12.0, "dog")]}, {"a": 60.0})
    assert only(result).false_alarms == alarms


def test_one_long_event_is_the_hearing_of_all_in_it_but_the_onset_of_one() -> None:
    truth = {"a": [(1.0, 2.0, "dog"), (3.0, 5.0, "dog")]}
    one = only(score(truth, {"a": [Detection(1.0, 5.0, "dog", 1.5)]}, {"a": 60.0}))
    assert (one.heard_events, one.false_alarms) == (2, 0)
    assert one.onset_error_s == pytest.approx(2.0)  # it is meant for the one it shares most with


def test_events_that_overlap_or_touch_are_one() -> None:
    """Two models may tell of one sound; the first to do so counts for the latency."""
    twice = [Detection(1.0, 3.0, "dog", 2.5), Detection(2.0, 4.0, "dog", 2.2)]
    one = only(score({"a": [(1.0, 2.0, "dog"), (2.0, 4.0, "dog")]}, {"a": twice}, {"a": 9.0}))
    assert (one.reference_events, one.detected_events) == (1, 1)
    assert one.event_based.f1 == 1
    assert one.latency_s == pytest.approx(1.2)


def test_nothing_true_and_nothing_told_has_no_figures() -> None:
    result = score({}, {}, {"a": 10.0}, labels=["dog"])
    assert (only(result).event_based.f1, result.event_based_macro_f1) == (None, None)
    assert only(result).false_alarms_per_hour == 0


def step_function(*scores: float, step_s: float = 0.2) -> TimedScores:
    times = np.round(np.arange(len(scores) + 1) * step_s, 6)
    return TimedScores(times, {"a": np.array(scores)})


class TestPublishedExample:
    """The example with which the library's paper (arXiv 2201.13148) explains it, and its tests
    begin: scores that rise and fall around one event."""

    SCORES = step_function(0.3, 0.4, 0.5, 0.6, 0.7, 0.6, 0.5, 0.4, 0.3)
    TRUTH: Mapping[str, Sequence[TrueEvent]] = {"1": [(0.4, 1.4, "a")]}

    def events(self, threshold: float) -> list[TrueEvent]:
        hot = np.flatnonzero(self.SCORES.scores["a"] > threshold)
        times = self.SCORES.times_s
        return [(float(times[hot[0]]), float(times[hot[-1] + 1]), "a")] if len(hot) else []

    @pytest.mark.parametrize(
        ("threshold", "hits", "misses"), [(0.2, 0, 1), (0.3, 1, 0), (0.5, 1, 0), (0.6, 0, 1)]
    )
    def test_counts_are_those_that_it_publishes(
        self, threshold: float, hits: int, misses: int
    ) -> None:
        found = {"1": self.events(threshold)}
        figures = only(score(self.TRUTH, found, {"1": 1.8})).event_based
        assert (figures.true_positives, figures.false_positives) == (hits, misses)

    @pytest.mark.parametrize("threshold", [0.2, 0.35, 0.55, 0.65, 0.75])
    def test_agrees_with_the_library_on_the_scores_themselves(self, threshold: float) -> None:
        library = require("sed_scores_eval")
        frames = {"1": data_frame(self.SCORES)}
        result = only(score(self.TRUTH, {"1": self.events(threshold)}, {"1": 1.8}))
        f1, *_ = library.collar_based.fscore(frames, self.TRUTH, threshold, **COLLARS)
        assert result.event_based.f1 == pytest.approx(f1["a"])
        f1, *_ = library.segment_based.fscore(
            frames, self.TRUTH, {"1": 1.8}, threshold, segment_length=1.0
        )
        assert result.segment_based.f1 == pytest.approx(f1["a"])


def data_frame(timed: TimedScores) -> Any:
    scores = require("sed_scores_eval.base_modules.scores")
    labels = list(timed.scores)
    table = np.stack([timed.scores[label] for label in labels], axis=1)
    return scores.create_score_dataframe(table, np.asarray(timed.times_s), labels)


class TestAgainstOtherPrograms:
    """Events scattered around the truth that the library's README shows."""

    def scattered(self, seed: int) -> dict[str, list[TrueEvent]]:
        rng = np.random.default_rng(seed)
        found: dict[str, list[TrueEvent]] = {}
        for file, events in published().items():
            told = []
            for onset, offset, label in events:
                begin, end = onset + rng.uniform(0, 0.3), offset + rng.uniform(-0.4, 0.4)
                if rng.random() < 0.8:
                    told.append((begin, min(end, DURATIONS[file]), label))
            told.append((8.7, 8.9 + rng.uniform(0, 0.5), "class1"))
            found[file] = told
        return found

    @pytest.mark.parametrize("seed", range(4))
    def test_events_and_segments_agree_with_sed_eval(self, seed: int) -> None:
        truth, found = published(), self.scattered(seed)
        result = score(truth, found, DURATIONS)
        events, segments = sed_eval(truth, found)
        for metrics, name in ((events, "event_based"), (segments, "segment_based")):
            for one in result.labels:
                expected = metrics.results_class_wise_metrics()[one.label]["f_measure"]
                f1 = expected["f_measure"]
                assert getattr(one, name).f1 == pytest.approx(0 if np.isnan(f1) else f1)
            overall = metrics.results_overall_metrics()["f_measure"]["f_measure"]
            assert getattr(result.overall, name).f1 == pytest.approx(overall)
            mean = fmean(getattr(one, name).f1 for one in result.labels)
            assert getattr(result, f"{name}_macro_f1") == pytest.approx(mean)

    def test_psds_agrees_with_the_library_called_directly(self) -> None:
        truth, scores = published(), scores_around(published())
        library = require("sed_scores_eval")
        expected, of_label, *_ = library.intersection_based.psds(
            {file: data_frame(timed) for file, timed in scores.items()},
            truth,
            DURATIONS,
            unit_of_time="hour",
            **DCASE_1,
        )
        result = score(truth, {}, DURATIONS, scores)
        assert 0.05 < expected < 0.95
        assert result.overall.psds1 == pytest.approx(expected)
        assert {one.label: one.psds1 for one in result.labels} == pytest.approx(of_label)


def scores_around(truth: Mapping[str, Sequence[TrueEvent]]) -> dict[str, TimedScores]:
    rng = np.random.default_rng(3)
    scores = {}
    for file, events in truth.items():
        times = np.round(np.linspace(0, DURATIONS[file], 98), 6)
        middle = (times[:-1] + times[1:]) / 2
        of_label = {}
        for label in ("class1", "class2", "class3"):
            hot = np.zeros(len(middle))
            for onset, offset, slug in events:
                hot += (slug == label) & (onset <= middle) & (middle < offset)
            of_label[label] = 1 / (1 + np.exp(-(4 * hot - 2 + 1.1 * rng.standard_normal(len(hot)))))
        scores[file] = TimedScores(times, of_label)
    return scores


def sed_eval(
    truth: Mapping[str, Sequence[TrueEvent]], found: Mapping[str, Sequence[TrueEvent]]
) -> tuple[Any, Any]:
    """Event-based and segment-based metrics of another program, which takes lists of events."""
    program, containers = require("sed_eval"), require("dcase_util.containers")
    labels = ["class1", "class2", "class3"]
    events = program.sound_event.EventBasedMetrics(
        labels, t_collar=0.2, percentage_of_length=0.2, event_matching_type="optimal"
    )
    segments = program.sound_event.SegmentBasedMetrics(labels, time_resolution=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in truth:
            lists = [
                containers.MetaDataContainer(
                    [
                        {"filename": file, "onset": onset, "offset": offset, "event_label": label}
                        for onset, offset, label in source[file]
                    ]
                )
                for source in (truth, found)
            ]
            events.evaluate(*lists)
            segments.evaluate(*lists, evaluated_length_seconds=float(np.ceil(DURATIONS[file])))
    return events, segments


class TestPsds:
    TRUTH: Mapping[str, Sequence[TrueEvent]] = {"a": [(10.0, 20.0, "dog")]}

    def psds(self, hot: Sequence[tuple[int, int, float]], seconds: int = 60) -> float | None:
        scores = np.zeros(seconds)
        for begin, end, value in hot:
            scores[begin:end] = value
        timed = {"a": TimedScores(np.arange(seconds + 1.0), {"dog": scores})}
        return only(score(self.TRUTH, {}, {"a": float(seconds)}, timed)).psds1

    def test_is_one_where_the_sound_alone_scores(self) -> None:
        assert self.psds([(10, 20, 0.9)]) == pytest.approx(1)

    def test_is_nothing_where_something_else_scores(self) -> None:
        assert self.psds([(30, 40, 0.9)]) == 0

    def test_counts_a_false_alarm_that_scores_higher_by_its_rate_an_hour(self) -> None:
        """One in 60 s is 60 an hour: of the 100 that count, 40 are left."""
        assert self.psds([(10, 20, 0.5), (30, 40, 0.9)]) == pytest.approx(0.4)

    def test_of_a_long_recording_takes_little_memory_and_is_the_same(self) -> None:
        """Different scores in each of 20 000 steps."""
        rng = np.random.default_rng(0)
        times = np.arange(20_001) / 100
        scores = 0.3 * rng.random(20_000)
        scores[1000:2000] = 0.5 + 0.01 * rng.random(1000)
        scores[3000:4000] = 0.9 + 0.01 * rng.random(1000)
        timed = {"a": TimedScores(times, {"dog": scores})}
        psds = only(score(self.TRUTH, {}, {"a": 200.0}, timed)).psds1
        assert psds == pytest.approx(1 - 18 / 100, abs=0.02)

    def test_leaves_out_labels_without_true_events_and_without_scores(self) -> None:
        truth = {"a": [(10.0, 20.0, "dog"), (30.0, 31.0, "word")]}
        timed = {"a": step_function(*[0.0] * 50 + [0.9] * 50 + [0.0] * 200)}
        timed["a"] = timed["a"]._replace(
            scores={"dog": timed["a"].scores["a"], "cat": timed["a"].scores["a"]}
        )
        result = score(truth, {}, {"a": 60.0}, timed, labels=["cat", "dog", "word"])
        assert result.overall.psds1 == pytest.approx(1)
        assert [one.psds1 for one in result.labels] == [None, pytest.approx(1), None]


class TestRefuses:
    def test_events_of_a_file_without_duration(self) -> None:
        with pytest.raises(ValueError, match=r"b\.wav: has reference events and no duration"):
            score({"b.wav": [(1.0, 2.0, "dog")]}, {}, {"a.wav": 10.0})
        with pytest.raises(ValueError, match=r"b\.wav: has detected events and no duration"):
            score({}, {"b.wav": [(1.0, 2.0, "dog")]}, {"a.wav": 10.0})

    def test_an_event_that_ends_before_it_begins(self) -> None:
        with pytest.raises(ValueError, match=r"a: dog from 2\.0 s to 1\.0 s"):
            score({"a": [(2.0, 1.0, "dog")]}, {}, {"a": 10.0})

    def test_scores_that_are_missing(self) -> None:
        with pytest.raises(ValueError, match="a: has no scores"):
            score({}, {}, {"a": 10.0}, {})

    def test_no_recordings(self) -> None:
        with pytest.raises(ValueError, match="no recordings"):
            score({}, {}, {})


def test_a_library_that_is_absent_is_named_with_the_way_to_it() -> None:
    with pytest.raises(MissingExtraError, match=r"audio-event-detector\[evaluate\]") as caught:
        require("sed_scores_eval.no_such_module")
    assert caught.value.exit_code == 3
    assert "no_such_module" in str(caught.value)
