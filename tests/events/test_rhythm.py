"""Beeps in a rhythm are an alarm, and others are none."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.train.alarms import Alarm, beeps, carbon_monoxide, smoke
from tests.events.rhythms import (
    LATENCY_S,
    T4,
    cycles,
    first_event,
    repetition,
    t3,
    t4,
    train,
)
from tests.events.scores import lives
from tests.events.streams import Span, at, feed, seconds, updates

FRAME_S = 0.04
Synthesise = Callable[[np.random.Generator], Alarm]


@pytest.mark.parametrize(("name", "alarm"), [("t3", t3(5, 2.3)), ("t4", t4(4, 2.3))])
def test_an_alarm_is_told_within_five_seconds_of_its_first_beep(
    name: str, alarm: list[Span]
) -> None:
    told = first_event(repetition(name), updates(alarm, 60))
    assert told is not None
    start, moment = told
    assert (start.type, start.onset_sample) == ("start", at(2.3))
    assert moment + LATENCY_S - 2.3 <= 5


@pytest.mark.parametrize(("name", "alarm"), [("t3", t3(5)), ("t4", t4(4))])
def test_all_its_cycles_are_one_event_that_ends_with_the_last_beep(
    name: str, alarm: list[Span]
) -> None:
    [found] = seconds(lives(feed(repetition(name), updates(alarm, 60))))
    assert found == pytest.approx((alarm[0][0], alarm[-1][1]))


def test_an_alarm_that_comes_back_is_another_event() -> None:
    alarm = [*t3(2), *t3(3, 20.0)]
    assert seconds(lives(feed(repetition(), updates(alarm, 60)))) == [(1, 7.5), (20, 30.5)]


def test_a_cycle_that_breaks_off_still_belongs_to_it() -> None:
    [found] = seconds(lives(feed(repetition(), updates(t3(3)[:-1], 60))))
    assert found == (1, 10.5)


def test_an_alarm_that_goes_on_is_updated() -> None:
    events = feed(repetition(update_s=10), updates(t3(8), 60))
    assert [e.type for e in events] == ["start", "update", "update", "end"]


def test_beeps_of_another_label_are_not_counted() -> None:
    assert feed(repetition(), updates(t3(5), 60, label="dog")) == []


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
    assert feed(repetition(), updates(beeping, 70)) == []


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
    assert feed(repetition("t4"), updates(beeping, 70)) == []


def test_the_end_of_endless_beeping_is_no_cycle() -> None:
    """Only a pause before the first beep makes three beeps a cycle."""
    assert feed(repetition(), updates(train(17, 0.5, 0.5), 60)) == []


def test_an_alarm_is_found_after_other_beeps_and_heard_from_the_middle() -> None:
    other = train(4, 0.2, 0.2)
    [after] = seconds(lives(feed(repetition(), updates([*other, *t3(4, 5.0)], 60))))
    assert after == (5, 19.5)
    middle = [(a - 2.25, b - 2.25) for a, b in t3(4)][2:]
    [found] = seconds(lives(feed(repetition(), updates([(0.0, 0.25), *middle], 60))))
    assert found == (2.75, 13.25)


@pytest.mark.parametrize("hop_s", [0.04, 1.0, 2.5])
def test_it_does_not_matter_how_much_is_told_at_once(hop_s: float) -> None:
    beeping = [*train(4, 0.5, 0.5), *t3(3, 6.0), *t3(2, 30.0)]
    found = seconds(lives(feed(repetition(), updates(beeping, 60, hop_s))))
    assert found == [(6, 16.5), (30, 36.5)]


def test_endless_beeping_is_not_remembered() -> None:
    machine = repetition()
    for item in updates(train(500, 0.5, 0.5), 499):
        if not item.cut:
            machine.push(item, item.known_until)
    assert len(machine._train) == 1


def test_drop_outs_and_glitches_are_overlooked() -> None:
    torn = [part for a, b in t3(3) for part in ((a, a + 0.2), (a + 0.24, b))]
    glitches = [(b + 0.25, b + 0.33) for _, b in t3(3)]
    events = feed(repetition(), updates(sorted([*torn, *glitches]), 60))
    assert seconds(lives(events)) == [(1, 11.5)]


def test_a_tone_that_covers_the_rest_of_an_alarm_ends_it() -> None:
    events = feed(repetition(), updates([*t3(2), (9.0, 50.0)], 40))
    ended = [
        item.known_until
        for item in updates([*t3(2), (9.0, 50.0)], 40)
        if item.known_until > at(7.5 + 2)
    ]
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
    told = updates(moved, 40, round(hop_s / FRAME_S + 1) * FRAME_S)
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
        told = first_event(repetition(name), updates(beeping, 14))
        assert told is not None
        start, moment = told
        assert start.onset_sample == at(beeping[0][0])
        assert moment + LATENCY_S - beeping[0][0] <= 5
        assert feed(repetition(name), updates(spans_of(other(rng).on, rng), 14)) == []


def test_synthesised_beeps_of_other_things_are_no_alarm() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        stream = updates(spans_of(beeps(rng, 14).on, rng), 14)
        assert feed(repetition("t3"), stream) == []
        assert feed(repetition("t4"), stream) == []
