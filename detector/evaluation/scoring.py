"""Figures of merit, by the field's own library (sed_scores_eval).

`score` needs no detector: any list of events can be held against any other. Times are seconds from
the beginning of a recording. What the library cannot say, since it knows no user (false alarms in
the plain sense, latency), is counted here.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from statistics import fmean, median
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.evaluation.chunks import chunks
from detector.evaluation.detections import (
    COLLAR_S,
    Detection,
    Detections,
    Reference,
    TrueEvent,
    false_alarms,
    is_near,
    matched_pairs,
    merge_overlapping,
)
from detector.evaluation.optional import require

OFFSET_COLLAR_RATE: Final = 0.2
"""As a part of the true event's length, an offset may lie so far off, if that is more."""
SEGMENT_S: Final = 1.0
"""Length of the segments of segment-based scoring."""
PSDS1: Final = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0, "alpha_st": 1.0}
"""Scenario 1 of DCASE task 4: to react fast and time events well."""
MAX_EFPR: Final = 100.0
"""False positives an hour up to which the PSD-ROC counts."""

_ADDED: Final = ""
"""The name of a recording that is added, since no file has it."""
_ADDED_S: Final = SEGMENT_S


class TimedScores(NamedTuple):
    """The scores of a recording over time, without holes."""

    times_s: NDArray[np.floating]
    """(n + 1,) seconds, ascending: step i goes from times_s[i] to times_s[i + 1]."""
    scores: Mapping[str, NDArray[np.floating]]
    """Label -> (n,) scores in 0..1; the same labels in every recording."""


@dataclass(frozen=True, slots=True)
class FScore:
    true_positives: int
    false_positives: int
    false_negatives: int
    precision: float | None
    """None where nothing was detected."""
    recall: float | None
    """None where there was nothing to detect."""
    f1: float | None
    """None where both hold."""

    @classmethod
    def of(cls, tp: int, fp: int, fn: int) -> "FScore":
        """The scores that belong to counts of true and false positives and false negatives."""

        def part(of: float) -> float | None:
            return tp / of if of else None

        return cls(tp, fp, fn, part(tp + fp), part(tp + fn), part(tp + (fp + fn) / 2))


@dataclass(frozen=True, slots=True)
class LabelResult:
    """What was reached for one label, or for all."""

    label: str
    reference_events: int
    detected_events: int
    heard_events: int
    """Reference events during which, or within 0.2 s of which, the label was detected."""
    event_based: FScore
    """Onset within 0.2 s, offset within 0.2 s or 20 % of the event's length."""
    segment_based: FScore
    """In seconds of which each is positive or negative as a whole."""
    psds1: float | None
    """PSDS of DCASE scenario 1; None without scores or without reference events."""
    false_alarms: int
    """Detected events during which, and within 0.2 s of which, there is no reference event."""
    false_alarms_per_hour: float
    latency_s: float | None
    """Median time from a true onset until its start could be reported, over the heard events."""
    onset_error_s: float | None
    """Median distance between a true onset and the detected one, over the heard events."""


@dataclass(frozen=True, slots=True)
class Result:
    hours: float
    """Of all recordings together."""
    labels: tuple[LabelResult, ...]
    """In alphabetical order."""
    overall: LabelResult
    """Counts and scores over all events (micro average); PSDS over all labels with reference
    events, less their standard deviation, as its definition has it."""
    event_based_macro_f1: float | None
    """Mean over the labels that have reference events; None if there is none."""
    segment_based_macro_f1: float | None


def score(
    reference: Reference,
    detected: Detections,
    durations: Mapping[str, float],
    scores: Mapping[str, TimedScores] | None = None,
    labels: Iterable[str] | None = None,
) -> Result:
    """Hold detected events against the true ones.

    Events of a label that overlap or touch in one file count as one, in both lists.

    Args:
        reference: the true events of each file; a file that is absent has none.
        detected: what was detected in each file; likewise.
        durations: seconds, of every file; says which files there are.
        scores: the scores of every file over time, for the PSDS; left out, there is no PSDS.
        labels: those that count, events of others are ignored; all that occur if left out.

    Raises:
        ValueError: a file without duration or without scores, or an event that ends before it
            begins.
        MissingExtraError: the libraries of the extra `evaluate` are not installed.
    """
    library = _library()
    _check(reference, detected, durations, scores)
    if labels is None:
        lists = [*reference.values(), *detected.values()]
        labels = {event[2] for events in lists for event in events}
    counted = sorted(set(labels))
    truth = {file: merge_overlapping(reference.get(file, ()), counted) for file in durations}
    found = {file: merge_overlapping(detected.get(file, ()), counted) for file in durations}
    hours = sum(durations.values()) / 3600
    present = {event.label for events in truth.values() for event in events}
    event_based, segment_based = _counts(library, truth, found, durations, counted)
    psds, psds_of = _psds(library, truth, durations, scores, present)
    counts = {label: _EventCounts() for label in counted}
    whole = _EventCounts()
    for file in durations:
        for label in counted:
            pair = _of(label, truth[file]), _of(label, found[file])
            counts[label].add(*pair)
            whole.add(*pair)
    results = tuple(
        counts[label].result(
            label, event_based[label], segment_based[label], psds_of.get(label), hours
        )
        for label in counted
    )
    overall = whole.result(
        "all", _micro(event_based.values()), _micro(segment_based.values()), psds, hours
    )
    return Result(
        hours=hours,
        labels=results,
        overall=overall,
        event_based_macro_f1=_macro(event_based, present),
        segment_based_macro_f1=_macro(segment_based, present),
    )


@dataclass(slots=True)
class _EventCounts:
    """What counts for one who listens to events, whatever their exact edges."""

    reference: int = 0
    detected: int = 0
    heard: int = 0
    false_alarms: int = 0
    latencies_s: list[float] = field(default_factory=list)
    onset_errors_s: list[float] = field(default_factory=list)

    def add(self, truth: Sequence[Detection], found: Sequence[Detection]) -> None:
        """Count the events of one label in one file."""
        self.reference += len(truth)
        self.detected += len(found)
        self.heard += sum(any(is_near(true, event) for event in found) for true in truth)
        self.false_alarms += false_alarms(truth, found)
        for true, event in matched_pairs(truth, found):
            self.onset_errors_s.append(abs(event.onset_s - true.onset_s))
            if event.reported_s is not None:
                self.latencies_s.append(event.reported_s - true.onset_s)

    def result(
        self, label: str, event: FScore, segment: FScore, psds: float | None, hours: float
    ) -> LabelResult:
        return LabelResult(
            label=label,
            reference_events=self.reference,
            detected_events=self.detected,
            heard_events=self.heard,
            event_based=event,
            segment_based=segment,
            psds1=psds,
            false_alarms=self.false_alarms,
            false_alarms_per_hour=self.false_alarms / hours,
            latency_s=median(self.latencies_s) if self.latencies_s else None,
            onset_error_s=median(self.onset_errors_s) if self.onset_errors_s else None,
        )


def _of(label: str, events: Iterable[Detection]) -> list[Detection]:
    return [event for event in events if event.label == label]


def _check(
    reference: Reference,
    detected: Detections,
    durations: Mapping[str, float],
    scores: Mapping[str, TimedScores] | None,
) -> None:
    for name, lists in (("reference", reference), ("detected", detected)):
        for file, events in lists.items():
            if file not in durations:
                raise ValueError(f"{file}: has {name} events and no duration")
            for onset, offset, label, *_ in events:
                if not 0 <= onset < offset:
                    raise ValueError(f"{file}: {label} from {onset} s to {offset} s is no event")
    if not durations or min(durations.values()) <= 0:
        raise ValueError("nothing to score: no recordings, or one of no length")
    if scores is not None and (missing := durations.keys() - scores.keys()):
        raise ValueError(f"{min(missing)}: has no scores")


def _library() -> Any:  # noqa: ANN401 (publishes no types)
    return require("sed_scores_eval")


def _counts(
    library: Any,  # noqa: ANN401
    truth: Mapping[str, Sequence[Detection]],
    found: Mapping[str, Sequence[Detection]],
    durations: Mapping[str, float],
    labels: Sequence[str],
) -> tuple[dict[str, FScore], dict[str, FScore]]:
    """Event-based and segment-based scores of each label.

    The library takes scores, so events are given to it as scores of 0 and 1.
    """
    binary = _LazyFrames(
        {file: partial(_binary, found[file], durations[file], labels) for file in durations}
    )
    # It takes no label without true events: in one more recording there is one of every label, for
    # a second, and none is detected. They are taken off again below.
    binary[_ADDED] = partial(_binary, [], _ADDED_S, labels)
    true = {file: [tuple(event[:3]) for event in truth[file]] for file in durations}
    true[_ADDED] = [(0.0, _ADDED_S, label) for label in labels]
    *_, events = library.collar_based.fscore(
        binary,
        true,
        0.5,
        onset_collar=COLLAR_S,
        offset_collar=COLLAR_S,
        offset_collar_rate=OFFSET_COLLAR_RATE,
    )
    *_, segments = library.segment_based.fscore(
        binary, true, {**durations, _ADDED: _ADDED_S}, 0.5, segment_length=SEGMENT_S
    )
    return _without_added(events, labels), _without_added(segments, labels)


def _without_added(stats: Mapping[str, Any], labels: Sequence[str]) -> dict[str, FScore]:
    scores = {}
    for label in labels:
        true, false = int(stats[label]["tps"]), int(stats[label]["fps"])
        scores[label] = FScore.of(true, false, int(stats[label]["n_ref"]) - 1 - true)
    return scores


def _binary(events: Sequence[Detection], duration_s: float, labels: Sequence[str]) -> TimedScores:
    """Events as scores of 0 and 1."""
    edges = {0.0, duration_s, *(e.onset_s for e in events), *(e.offset_s for e in events)}
    times = np.array(sorted(edges))
    scores = {label: np.zeros(len(times) - 1) for label in labels}
    for event in events:
        begin, end = np.searchsorted(times, [event.onset_s, event.offset_s])
        scores[event.label][begin:end] = 1
    return TimedScores(times, scores)


class _LazyFrames(dict[str, Callable[[], TimedScores]]):
    """Scores of recordings as the library wants them, each made when it is asked for.

    The library accepts nothing but a dict, and looks at one recording at a time.
    """

    def __getitem__(self, file: str) -> Any:  # noqa: ANN401
        return _frame(super().__getitem__(file)())


def _frame(timed: TimedScores) -> Any:  # noqa: ANN401
    """A pandas.DataFrame."""
    times = np.asarray(timed.times_s, float)
    columns = {"onset": times[:-1], "offset": times[1:]}
    return require("pandas").DataFrame(columns | dict(timed.scores))


def _micro(scores: Iterable[FScore]) -> FScore:
    counts = [(s.true_positives, s.false_positives, s.false_negatives) for s in scores]
    return FScore.of(*(sum(column) for column in zip(*counts, strict=True)))


def _macro(scores: Mapping[str, FScore], present: Collection[str]) -> float | None:
    values = [scores[label].f1 or 0.0 for label in sorted(present)]
    return fmean(values) if values else None


def _psds(
    library: Any,  # noqa: ANN401
    truth: Mapping[str, Sequence[Detection]],
    durations: Mapping[str, float],
    scores: Mapping[str, TimedScores] | None,
    present: Collection[str],
) -> tuple[float | None, dict[str, float]]:
    """PSDS of all labels that have true events and scores, and of each."""
    if scores is None:
        return None, {}
    known = [label for label in sorted(present) if all(label in s.scores for s in scores.values())]
    if not known:
        return None, {}

    @lru_cache(maxsize=1)
    def table(file: str) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Its edges and (steps, labels) scores."""
        timed = scores[file]
        values = np.stack([timed.scores[label] for label in known], axis=1)
        return np.asarray(timed.times_s, float), values

    def part(file: str, first: int, end: int) -> TimedScores:
        times_s, values = table(file)
        own = dict(zip(known, values[first:end].T, strict=True))
        return TimedScores(times_s[first : end + 1] - times_s[first], own)

    frames = _LazyFrames()
    true: dict[str, list[TrueEvent]] = {}
    seconds: dict[str, float] = {}
    for file, duration_s in durations.items():
        times_s, values = table(file)
        events = [event for event in truth[file] if event.label in known]
        for first, end in chunks(times_s, values, [event[:2] for event in events]):
            begin_s = float(times_s[first])
            end_s = duration_s if end == len(values) else float(times_s[end])
            name = f"{file}\0{first}"
            frames[name] = partial(part, file, first, end)
            seconds[name] = end_s - begin_s
            true[name] = [
                (event.onset_s - begin_s, event.offset_s - begin_s, event.label)
                for event in events
                if begin_s <= event.onset_s < end_s
            ]
    value, of_label, *_ = library.intersection_based.psds(
        frames, true, seconds, **PSDS1, unit_of_time="hour", max_efpr=MAX_EFPR
    )
    return float(value), {label: float(of_label[label]) for label in known}
