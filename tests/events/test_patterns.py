"""Events that follow from other events: groups, rhythms, and what is loud and has no name."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.config import RHYTHMS
from detector.events.group import Group
from detector.events.rhythm import Repetition, Rhythm
from detector.events.streams import Heard, Hop, InOrder
from detector.events.telling import MODEL, Subject
from detector.events.unlabelled import Limits, LoudUnlabelled
from detector.records import SAMPLE_RATE, Event
from export.train.alarms import Alarm, beeps, carbon_monoxide, smoke
from tests.events.scores import Segment, lives

Span = tuple[float, float]
"""Seconds: onset and offset."""

FRAME_S = 0.04
Synthesise = Callable[[np.random.Generator], Alarm]

LATENCY_S = 0.6
"""What a model with 40 ms frames and a hop of 0.2 s knows late, and some to spare."""


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def subject(update_s: float = 1000) -> Subject:
    return Subject("pattern", "Pattern", at(update_s))


def event(
    kind: str, onset: int, offset: int | None = None, label: str = "beep", *, cut: bool = False
) -> Event:
    assert kind in ("start", "update", "end")
    return Event(
        type="end" if kind == "end" else "update" if kind == "update" else "start",
        model="model@1",
        label=label,
        name=label,
        onset_sample=onset,
        offset_sample=offset,
        peak=0.9,
        mean=0.8,
        level_dbfs=-20.0,
        truncated=cut,
    )


def heard(
    spans: Iterable[Span], until_s: float, hop_s: float = 0.2, label: str = "beep"
) -> list[Heard]:
    """What a stream tells of these sounds, hop by hop, up to a cut."""
    end = at(until_s)
    moments: list[tuple[int, int, Event]] = []
    for onset_s, offset_s in spans:
        onset, offset = at(onset_s), min(at(offset_s), end)
        moments.append((onset, 1, event("start", onset, label=label)))
        moments.append((offset, 0, event("end", onset, offset, label, cut=at(offset_s) > end)))
    moments.sort(key=lambda moment: moment[:2])
    told: list[Heard] = []
    for until in [*range(at(hop_s), end, at(hop_s)), end]:
        due = list(takewhile(lambda moment: moment[0] < until or until == end, moments))  # noqa: B023
        del moments[: len(due)]
        told.append(Heard(until, tuple(e for *_, e in due), cut=until == end))
    return told


def feed(machine: Group | Repetition | LoudUnlabelled, stream: Iterable[Heard]) -> list[Event]:
    """The events of a pattern that listens to one stream."""
    events = []
    for item in stream:
        events += machine.take(item, item.until)
        if item.cut:
            events += machine.cut(item.until)
    return events


def seconds(segments: Iterable[Segment]) -> list[Span]:
    return [(s.onset / SAMPLE_RATE, s.offset / SAMPLE_RATE) for s in segments]


# In the order of the sound.


def test_streams_are_given_out_in_the_order_of_the_sound() -> None:
    order = InOrder(2)
    assert list(order.push(0, Heard(10))) == []
    assert list(order.push(0, Heard(20))) == []
    assert list(order.push(1, Heard(15))) == [(Heard(10), 0), (Heard(15), 10)]
    assert list(order.push(1, Heard(30))) == [(Heard(20), 15)]


def test_of_equals_the_first_stream_comes_first_and_each_keeps_its_own_order() -> None:
    order = InOrder(2)
    first, second, cut = Heard(10), Heard(10, (event("start", 5),)), Heard(10, cut=True)
    assert list(order.push(1, first)) == []
    assert list(order.push(0, second)) == [(second, 0)]
    assert list(order.push(0, cut)) == [(cut, 0), (first, 10)]
    assert list(order.push(1, cut)) == [(cut, 10)]


@given(st.data())
def test_streams_may_tell_in_any_order(data: st.DataObject) -> None:
    steps = st.lists(st.integers(0, 3), max_size=12)
    streams = [np.cumsum(data.draw(steps)).tolist() for _ in range(3)]
    ends = [Heard(until, cut=True) for until in (100, 100, 100)]
    streams_told = [[*map(Heard, untils), end] for untils, end in zip(streams, ends, strict=True)]

    def run(turns: Sequence[int]) -> list[tuple[Heard, int]]:
        order, queues = InOrder(3), [iter(stream) for stream in streams_told]
        return [told for turn in turns for told in order.push(turn, next(queues[turn]))]

    turns = [index for index, stream in enumerate(streams_told) for _ in stream]
    expected = run(turns)
    assert len(expected) == len(turns)
    assert run(data.draw(st.permutations(turns))) == expected


def test_a_stream_that_hangs_is_not_waited_for_without_end() -> None:
    order = InOrder(2)
    found = [item for until in range(10_000) for item in order.push(0, Heard(until + 1))]
    assert 5000 < len(found) < 6000
    assert found[-1] == (Heard(len(found)), len(found))


# Groups.

GROUP = ("smoke", "siren")


def group(merge_s: float = 1.0, update_s: float = 1000) -> Group:
    return Group(subject(update_s), GROUP, at(merge_s))


def test_a_group_lasts_while_any_of_its_labels_is_heard() -> None:
    told = heard([(1, 3)], 10, label="smoke")
    siren = heard([(2, 5)], 10, label="siren")
    both = [replace(a, events=a.events + b.events) for a, b in zip(told, siren, strict=True)]
    events = feed(group(), both)
    assert [e.type for e in events] == ["start", "end"]
    assert seconds(lives(events)) == [(1, 5)]
    assert {(e.model, e.label, e.name) for e in events} == {(MODEL, "pattern", "Pattern")}


def test_a_group_is_told_when_its_first_label_is() -> None:
    [*before, at_start] = [
        item for item in heard([(1.1, 3)], 10, label="smoke") if item.until < 21_000
    ]
    assert before
    machine = group()
    assert [e for item in before for e in machine.take(item, item.until)] == []
    [start] = machine.take(at_start, at_start.until)
    assert (start.type, start.onset_sample, start.offset_sample) == ("start", at(1.1), None)


@pytest.mark.parametrize(
    ("merge_s", "found"),
    [(0.0, [(1, 3), (4, 5)]), (0.5, [(1, 3), (4, 5)]), (1.0, [(1, 5)]), (2.0, [(1, 5)])],
)
def test_labels_that_follow_closely_are_one(merge_s: float, found: list[Span]) -> None:
    spans = [(1.0, 2.0), (2.0, 3.0), (4.0, 5.0)]  # the first two adjoin
    assert seconds(lives(feed(group(merge_s), heard(spans, 10, label="siren")))) == found


def test_other_labels_are_no_concern_of_a_group() -> None:
    assert feed(group(), heard([(1, 3)], 10, label="dog")) == []


def test_a_group_that_goes_on_is_updated() -> None:
    events = feed(group(update_s=2), heard([(1, 8)], 20, label="siren"))
    assert [e.type for e in events] == ["start", "update", "update", "update", "end"]


def test_a_gap_cuts_a_group() -> None:
    [cut] = lives(feed(group(), heard([(1, 8)], 4, label="siren")))
    assert (cut.offset, cut.truncated) == (at(4), True)
    [whole] = lives(feed(group(), heard([(1, 3.8)], 4, label="siren")))
    assert (whole.offset, whole.truncated) == (at(3.8), False)


def test_a_group_says_the_score_and_the_level_of_its_labels() -> None:
    machine = group()
    short = replace(event("start", 0, label="smoke"), peak=1.0, mean=1.0, level_dbfs=-10.0)
    long = replace(event("start", at(1), label="siren"), peak=0.6, mean=0.5, level_dbfs=-30.0)
    begun = Heard(at(1.1), (short, replace(short, type="end", offset_sample=at(1)), long))
    ended = Heard(at(9), (replace(long, type="end", offset_sample=at(4)),))
    *_, end = feed(machine, [begun, ended])
    assert (end.type, end.offset_sample, end.peak) == ("end", at(4), 1.0)
    assert end.mean == pytest.approx((1.0 + 3 * 0.5) / 4)
    assert end.level_dbfs == pytest.approx(10 * np.log10((0.1 + 3 * 0.001) / 4))


def test_a_label_told_of_late_begins_no_event_in_the_one_before() -> None:
    machine = group(merge_s=0)
    events = feed(machine, heard([(1, 3)], 4, label="siren")[:-1])
    late = event("start", at(2), label="smoke")
    ended = replace(late, type="end", offset_sample=at(4.5))
    events += feed(machine, [Heard(at(4), (late,)), Heard(at(5), (ended,))])
    assert seconds(lives(events)) == [(1, 3), (3, 4.5)]


# Rhythms.


def repetition(name: str = "t3", update_s: float = 1000, **changes: float | Span) -> Repetition:
    ranges = {**RHYTHMS[name], **changes}

    def span(key: str) -> tuple[int, int]:
        least, most = ranges[key]
        return at(least), at(most)

    rhythm = Rhythm(ranges["count"], span("on_s"), span("off_s"), span("pause_s"))
    return Repetition(subject(update_s), "beep", rhythm)


def train(count: int, on: float, off: float, begin: float = 0.0) -> list[Span]:
    return [(begin + i * (on + off), begin + i * (on + off) + on) for i in range(count)]


def cycles(cycle: Sequence[Span], period: float, number: int, begin: float = 1.0) -> list[Span]:
    return [
        (begin + i * period + a, begin + i * period + b) for i in range(number) for a, b in cycle
    ]


T3 = train(3, 0.5, 0.5)
T4 = train(4, 0.1, 0.1)


def t3(number: int, begin: float = 1.0) -> list[Span]:
    return cycles(T3, 4.0, number, begin)


def t4(number: int, begin: float = 1.0) -> list[Span]:
    return cycles(T4, 5.7, number, begin)


def first_told(machine: Repetition, stream: Iterable[Heard]) -> tuple[Event, float] | None:
    for item in stream:
        for found in machine.take(item, item.until):
            return found, item.until / SAMPLE_RATE
    return None


@pytest.mark.parametrize(("name", "alarm"), [("t3", t3(5, 2.3)), ("t4", t4(4, 2.3))])
def test_an_alarm_is_told_within_five_seconds_of_its_first_beep(
    name: str, alarm: list[Span]
) -> None:
    told = first_told(repetition(name), heard(alarm, 60))
    assert told is not None
    start, moment = told
    assert (start.type, start.onset_sample) == ("start", at(2.3))
    assert moment + LATENCY_S - 2.3 <= 5


@pytest.mark.parametrize(("name", "alarm"), [("t3", t3(5)), ("t4", t4(4))])
def test_all_its_cycles_are_one_event_that_ends_with_the_last_beep(
    name: str, alarm: list[Span]
) -> None:
    [found] = seconds(lives(feed(repetition(name), heard(alarm, 60))))
    assert found == pytest.approx((alarm[0][0], alarm[-1][1]))


def test_an_alarm_that_comes_back_is_another_event() -> None:
    alarm = [*t3(2), *t3(3, 20.0)]
    assert seconds(lives(feed(repetition(), heard(alarm, 60)))) == [(1, 7.5), (20, 30.5)]


def test_a_cycle_that_breaks_off_still_belongs_to_it() -> None:
    [found] = seconds(lives(feed(repetition(), heard(t3(3)[:-1], 60))))
    assert found == (1, 10.5)


def test_an_alarm_that_goes_on_is_updated() -> None:
    events = feed(repetition(update_s=10), heard(t3(8), 60))
    assert [e.type for e in events] == ["start", "update", "update", "end"]


def test_beeps_of_another_label_are_not_counted() -> None:
    assert feed(repetition(), heard(t3(5), 60, label="dog")) == []


@pytest.mark.parametrize(
    "beeping",
    [
        pytest.param(train(60, 0.5, 0.5, 1.0), id="goes on for ever, a lorry that backs"),
        pytest.param(train(4, 0.5, 0.5, 1.0), id="one beep too many"),
        pytest.param(train(2, 0.5, 0.5, 1.0), id="one too few"),
        pytest.param(cycles(train(4, 0.5, 0.5), 6, 5), id="four and a pause, again and again"),
        pytest.param(cycles(T4, 1.0, 30), id="alarm clock: four short beeps each second"),
        pytest.param(cycles(T4, 2.5, 20), id="alarm clock with a longer pause"),
        pytest.param(t4(8), id="carbon monoxide"),
        pytest.param(cycles(train(3, 0.1, 0.1), 2, 20), id="three short beeps"),
        pytest.param(cycles(train(3, 1.0, 0.5), 6, 9), id="three long beeps"),
        pytest.param(cycles(train(3, 0.5, 0.1), 4, 9), id="three beeps close together"),
        pytest.param(train(30, 0.5, 1.5, 1.0), id="a beep every two seconds"),
        pytest.param([(1.0, 40.0)], id="a tone that does not end"),
        pytest.param([], id="nothing"),
    ],
)
def test_what_is_no_smoke_alarm_makes_none(beeping: list[Span]) -> None:
    assert feed(repetition(), heard(beeping, 70)) == []


@pytest.mark.parametrize(
    "beeping",
    [
        pytest.param(t3(8), id="smoke"),
        pytest.param(cycles(T4, 0.8, 30), id="alarm clock: beeps in fours"),
        pytest.param(cycles(T4, 1.0, 30), id="alarm clock: four short beeps each second"),
        pytest.param(cycles(T4, 2.5, 20), id="alarm clock with a longer pause"),
        pytest.param(train(99, 0.1, 0.1, 1.0), id="goes on for ever"),
        pytest.param(cycles(train(3, 0.1, 0.1), 5.7, 9), id="three beeps"),
        pytest.param(cycles(train(5, 0.1, 0.1), 5.7, 9), id="five beeps"),
    ],
)
def test_what_is_no_carbon_monoxide_alarm_makes_none(beeping: list[Span]) -> None:
    assert feed(repetition("t4"), heard(beeping, 70)) == []


def test_the_end_of_endless_beeping_is_no_cycle() -> None:
    """Only a pause before the first beep makes three beeps a cycle."""
    assert feed(repetition(), heard(train(17, 0.5, 0.5), 60)) == []


def test_an_alarm_is_found_after_other_beeps_and_heard_from_the_middle() -> None:
    other = train(4, 0.2, 0.2)
    [after] = seconds(lives(feed(repetition(), heard([*other, *t3(4, 5.0)], 60))))
    assert after == (5, 19.5)
    middle = [(a - 2.25, b - 2.25) for a, b in t3(4)][2:]
    [found] = seconds(lives(feed(repetition(), heard([(0.0, 0.25), *middle], 60))))
    assert found == (2.75, 13.25)


@pytest.mark.parametrize("hop_s", [0.04, 1.0, 2.5])
def test_it_does_not_matter_how_much_is_told_at_once(hop_s: float) -> None:
    beeping = [*train(4, 0.5, 0.5), *t3(3, 6.0), *t3(2, 30.0)]
    found = seconds(lives(feed(repetition(), heard(beeping, 60, hop_s))))
    assert found == [(6, 16.5), (30, 36.5)]


def test_endless_beeping_is_not_remembered() -> None:
    machine = repetition()
    for item in heard(train(500, 0.5, 0.5), 499):
        if not item.cut:
            machine.take(item, item.until)
    assert len(machine._train) == 1


def test_drop_outs_and_glitches_are_overlooked() -> None:
    torn = [part for a, b in t3(3) for part in ((a, a + 0.2), (a + 0.24, b))]
    glitches = [(b + 0.25, b + 0.33) for _, b in t3(3)]
    events = feed(repetition(), heard(sorted([*torn, *glitches]), 60))
    assert seconds(lives(events)) == [(1, 11.5)]


def test_a_tone_that_covers_the_rest_of_an_alarm_ends_it() -> None:
    events = feed(repetition(), heard([*t3(2), (9.0, 50.0)], 40))
    ended = [item.until for item in heard([*t3(2), (9.0, 50.0)], 40) if item.until > at(7.5 + 2)]
    [found] = lives(events)
    assert (seconds([found]), found.truncated) == ([(1, 7.5)], False)
    assert ended


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0))
@settings(max_examples=60)
def test_a_smoke_alarm_is_heard_through_edges_that_are_a_frame_or_two_off(
    seed: int, hop_s: float
) -> None:
    rng = np.random.default_rng(seed)
    on, off, pause = np.array([0.5, 0.5, 1.5]) * rng.uniform(0.93, 1.07, 3)
    exact = cycles(train(3, on, off), 3 * on + 2 * off + pause, 4)
    moved = [(a + rng.uniform(-0.04, 0.04), b + rng.uniform(-0.04, 0.08)) for a, b in exact]
    told = heard(moved, 40, round(hop_s / FRAME_S + 1) * FRAME_S)
    [found] = seconds(lives(feed(repetition(), told)))
    assert found == pytest.approx((exact[0][0], exact[-1][1]), abs=0.1)


def spans_of(on: np.ndarray, rng: np.random.Generator) -> list[Span]:
    """The frames of 40 ms that are on for at least half, of a mask with one of 10 ms."""
    begin = int(rng.integers(4))
    frames = on[begin : begin + (len(on) - begin) // 4 * 4].reshape(-1, 4).sum(axis=1) >= 2
    edges = np.flatnonzero(np.diff(np.concatenate(([0], frames.astype(int), [0]))))
    return [(a * FRAME_S, b * FRAME_S) for a, b in edges.reshape(-1, 2).tolist()]


@pytest.mark.parametrize(
    ("name", "alarm", "other"), [("t3", smoke, carbon_monoxide), ("t4", carbon_monoxide, smoke)]
)
def test_synthesised_alarms_are_heard_in_time_and_not_taken_for_each_other(
    name: str, alarm: Synthesise, other: Synthesise
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        beeping = spans_of(alarm(rng).on, rng)
        told = first_told(repetition(name), heard(beeping, 14))
        assert told is not None
        start, moment = told
        assert start.onset_sample == at(beeping[0][0])
        assert moment + LATENCY_S - beeping[0][0] <= 5
        assert feed(repetition(name), heard(spans_of(other(rng).on, rng), 14)) == []


def test_synthesised_beeps_of_other_things_are_no_alarm() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        stream = heard(spans_of(beeps(rng, 14).on, rng), 14)
        assert feed(repetition("t3"), stream) == []
        assert feed(repetition("t4"), stream) == []


# Loud, and without a name.

QUIET, LOUD = 1e-5, 1e-2
"""Mean squares: -50 and -20 dBFS."""


def loud(update_s: float = 1000, **changes: float) -> LoudUnlabelled:
    limits = {"threshold_dbfs": -30.0, "stretch": 0.5, "margin": 1.0, "least": 1.0, "merge": 1.0}
    limits |= changes
    return LoudUnlabelled(
        subject(update_s),
        Limits(
            threshold_dbfs=limits["threshold_dbfs"],
            stretch=at(limits["stretch"]),
            margin=at(limits["margin"]),
            least=at(limits["least"]),
            merge=at(limits["merge"]),
        ),
    )


def with_level(stream: Sequence[Heard], spans: Sequence[Span]) -> list[Heard]:
    """The same with the level: loud in these spans, which begin and end with hops."""
    told, before = [], 0
    for item in stream:
        is_loud = any(at(a) <= before and item.until <= at(b) for a, b in spans)
        hop = Hop(item.until, item.until - before, LOUD if is_loud else QUIET)
        told.append(replace(item, hop=hop))
        before = item.until
    return told


def test_what_is_loud_and_has_no_name_is_an_event() -> None:
    events = feed(loud(), with_level(heard([], 20), [(5, 9)]))
    assert [e.type for e in events] == ["start", "end"]
    assert seconds(lives(events)) == [(5, 9)]
    assert events[-1].level_dbfs == pytest.approx(-20)
    assert events[-1].peak == events[-1].mean == 1


def test_what_a_label_accounts_for_is_none() -> None:
    assert feed(loud(), with_level(heard([(5, 9)], 20), [(5, 9)])) == []
    near = heard([(5.8, 8.2)], 20)
    assert feed(loud(), with_level(near, [(5, 9)])) == []
    assert len(feed(loud(margin=0.0, least=0.0), with_level(near, [(5, 9)]))) == 4


def test_what_goes_on_after_a_label_is_one() -> None:
    events = feed(loud(), with_level(heard([(5, 6)], 20), [(5, 12)]))
    assert seconds(lives(events)) == [(7, 12)]


def test_it_is_told_only_when_a_label_could_have_been() -> None:
    machine = loud()
    for item in with_level(heard([], 20), [(5, 9)]):
        if machine.take(item, item.until):
            assert item.until == at(5 + 1 + 1)  # its least duration, and the margin
            return
    pytest.fail("nothing was told")


@pytest.mark.parametrize("level_s", [(5.0, 5.2), (5.0, 5.4)])
def test_a_short_bang_is_none_unless_asked_for(level_s: Span) -> None:
    assert feed(loud(), with_level(heard([], 20), [level_s])) == []
    assert len(feed(loud(least=0.0), with_level(heard([], 20), [level_s]))) == 2


def test_loud_sounds_that_follow_closely_are_one() -> None:
    spans = [(5.0, 7.0), (7.5, 10.0), (12.0, 14.0)]
    assert seconds(lives(feed(loud(), with_level(heard([], 20, 0.1), spans)))) == [
        (5, 10),
        (12, 14),
    ]


def test_a_loud_sound_that_goes_on_is_updated_and_cut_by_a_gap() -> None:
    events = feed(loud(update_s=2), with_level(heard([], 12), [(5, 99)]))
    assert [e.type for e in events] == ["start", "update", "update", "update", "end"]
    [found] = lives(events)
    assert (seconds([found]), found.truncated) == ([(5, 12)], True)


def test_the_sound_behind_a_gap_is_judged_anew() -> None:
    machine = loud()
    before = with_level(heard([], 12), [(5, 9)])
    after = [
        replace(
            item,
            until=item.until + at(20.13),
            hop=replace(item.hop, end_sample=item.until + at(20.13)),
        )
        for item in before
        if item.hop
    ]
    assert seconds(lives(feed(machine, [*before, *after]))) == [(5, 9), (25.13, 29.13)]
