"""A rhythm of which another sound covers a part."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.events.patterns.repetition import Repetition, low_threshold_slug
from detector.events.patterns.streams import StreamUpdate
from detector.records import Event
from tests.events.rhythms import (
    LATENCY_S,
    cycles,
    first_event,
    repetition,
    t3,
    train,
)
from tests.events.scores import lives
from tests.events.streams import Span, at, feed, seconds, updates

WHOLE = train(3, 0.5, 0.5)


def moment(event: Event) -> int:
    return event.onset_sample if event.offset_sample is None else event.offset_sample


def doubtful(
    beeps: list[Span], faints: list[Span], until_s: float, hop_s: float = 0.2
) -> list[StreamUpdate]:
    """A stream of beeps, and of stretches in which no more than a faint one is heard."""
    sure = updates(beeps, until_s, hop_s)
    weak = updates(faints, until_s, hop_s, label=low_threshold_slug("beep"))
    return [
        StreamUpdate(a.known_until, tuple(sorted((*a.events, *b.events), key=moment)), cut=a.cut)
        for a, b in zip(sure, weak, strict=True)
    ]


def without(place: int, *parts: Span) -> list[Span]:
    """A cycle of which there are only these parts of one beep, in seconds from its beginning."""
    begin = WHOLE[place][0]
    torn = [(begin + a, begin + b) for a, b in parts]
    return [*WHOLE[:place], *torn, *WHOLE[place + 1 :]]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([(0.0, 0.16)], id="its beginning"),
        pytest.param([(0.34, 0.5)], id="its end"),
        pytest.param([(0.0, 0.15), (0.3, 0.5)], id="two pieces"),
        pytest.param([(0.0, 0.28)], id="enough, but it seems far from the next"),
        pytest.param([(-0.1, 0.6)], id="more than there was"),
    ],
)
def test_a_beep_that_is_covered_in_part_costs_no_time(place: int, parts: list[Span]) -> None:
    alarm = cycles(without(place, *parts), 4.0, 1, 1.0) + t3(3, 5.0)
    told = first_event(repetition(), doubtful(alarm, [], 30))
    assert told is not None
    start, moment_s = told
    assert start.onset_sample == pytest.approx(at(1), abs=at(0.4))
    assert moment_s + LATENCY_S - 1 <= 5
    [found] = seconds(lives(feed(repetition(), doubtful(alarm, [], 30))))
    assert found == pytest.approx((1, 15.5), abs=0.4)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_beep_that_is_faint_is_enough_where_one_must_be(place: int) -> None:
    alarm = cycles(without(place), 4.0, 3)
    faints = cycles([WHOLE[place]], 4.0, 3)
    assert feed(repetition(), doubtful(alarm, [], 30)) == []
    told = first_event(repetition(), doubtful(alarm, faints, 30))
    assert told is not None
    assert told[0].onset_sample == at(1)
    assert told[1] + LATENCY_S - 1 <= 5
    assert seconds(lives(feed(repetition(), doubtful(alarm, faints, 30)))) == [(1, 11.5)]


@pytest.mark.parametrize(
    ("beeps", "faints"),
    [
        pytest.param([(0, 0.16), (1, 1.16), (2, 2.5)], [], id="two are short"),
        pytest.param([(0, 0.5), (1.7, 1.86), (2, 2.5)], [], id="one is short and out of place"),
        pytest.param([(0, 0.5), (2, 2.5)], [(1.5, 1.8)], id="one is faint and out of place"),
        pytest.param([(0, 0.5)], [(1, 1.5), (2, 2.5)], id="two are faint"),
        pytest.param([(0, 0.5), (1, 2.5)], [], id="two without a pause"),
        pytest.param([(0, 0.5), (0.7, 1.2), (2, 2.16)], [], id="short, and none is regular"),
        pytest.param(WHOLE, [(3, 3.5)], id="a fourth is faint"),
        pytest.param(WHOLE, [(-1, -0.5)], id="one before is faint"),
        pytest.param(
            [(0, 0.5), (1, 1.16), (2, 2.5), (3, 3.5)], [], id="there is one too many, one is short"
        ),
    ],
)
def test_what_may_have_been_another_rhythm_is_none(beeps: list[Span], faints: list[Span]) -> None:
    told = doubtful(cycles(beeps, 6.0, 3, 2.0), cycles(faints, 6.0, 3, 2.0), 30)
    assert feed(repetition(), told) == []


def test_steady_beeping_of_which_a_beep_is_faint_is_none() -> None:
    beeps = train(60, 0.5, 0.5, 1.0)
    left = [beep for i, beep in enumerate(beeps) if i % 4 != 3]
    assert len(lives(feed(repetition(), doubtful(left, [], 70)))) > 0
    assert feed(repetition(), doubtful(left, [b for b in beeps if b not in left], 70)) == []


def test_what_is_faint_for_a_moment_or_for_long_is_no_beep() -> None:
    faints = [(1.7, 1.8), (4.0, 4.1), *[(b[0] - 0.1, b[1] + 0.2) for b in t3(3)], (11.9, 50.0)]
    assert seconds(lives(feed(repetition(), doubtful(t3(3), sorted(faints), 60)))) == [(1, 11.5)]
    machine = repetition()
    for item in doubtful(t3(3), sorted(faints), 60):
        if any(event.type == "end" for event in machine.push(item, item.known_until)):
            assert item.known_until < at(16)
            return
    pytest.fail("a faint sound that does not end keeps the alarm on")


def test_a_faint_sound_after_an_alarm_is_no_part_of_it() -> None:
    [found] = seconds(lives(feed(repetition(), doubtful(t3(2), [(8.9, 9.4)], 30))))
    assert found == (1, 7.5)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 3.0))
@settings(max_examples=60)
def test_how_much_is_told_at_once_never_matters(seed: int, hop_s: float) -> None:
    rng = np.random.default_rng(seed)
    beeps, faints = damaged(rng)
    expected = lives(feed(repetition(), doubtful(beeps, faints, 40, 0.04)))
    assert lives(feed(repetition(), doubtful(beeps, faints, 40, hop_s))) == expected


def damaged(rng: np.random.Generator) -> tuple[list[Span], list[Span]]:
    """Alarms and other beeping of which parts are missing or faint."""
    beeps: list[Span] = []
    faints: list[Span] = []
    cycle = WHOLE if rng.random() < 0.7 else train(int(rng.integers(1, 7)), 0.5, 0.5)
    for begin, end in cycles(cycle, cycle[-1][1] + 1.5, int(30 / (cycle[-1][1] + 1.5))):
        cut = rng.uniform(-0.3, 0.3) if rng.random() < 0.3 else 0.0
        left = (max(begin, begin + cut), min(end, end + cut))
        fate = rng.random()
        if fate > 0.2:
            beeps.append(left)
        if fate > 0.1:
            faints.append((begin - 0.05, end + 0.1))
        if rng.random() < 0.1:
            faints.append((end + 0.2, end + rng.uniform(0.3, 0.4)))
    return beeps, faints


def test_endless_beeping_that_is_faint_is_not_remembered() -> None:
    machine: Repetition = repetition()
    for item in doubtful([], train(500, 0.5, 0.5), 499):
        if not item.cut:
            machine.push(item, item.known_until)
    assert len(machine._train) == 1
