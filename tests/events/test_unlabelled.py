"""What is loud and has no name."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from detector.events.patterns.loud_unlabelled import LoudnessLimits, LoudUnlabelled
from detector.events.patterns.streams import Hop, StreamUpdate
from tests.events.scores import lives
from tests.events.streams import Span, at, feed, label, seconds, updates

QUIET, LOUD = 1e-5, 1e-2
"""Mean squares: -50 and -20 dBFS."""


def loud(update_s: float = 1000, **changes: float) -> LoudUnlabelled:
    limits = {"threshold_dbfs": -30.0, "stretch": 0.5, "margin": 1.0, "least": 1.0, "merge": 1.0}
    limits |= changes
    return LoudUnlabelled(
        label(update_s),
        LoudnessLimits(
            threshold_dbfs=limits["threshold_dbfs"],
            stretch_samples=at(limits["stretch"]),
            margin_samples=at(limits["margin"]),
            min_samples=at(limits["least"]),
            merge_samples=at(limits["merge"]),
        ),
    )


def with_level(stream: Sequence[StreamUpdate], spans: Sequence[Span]) -> list[StreamUpdate]:
    """The same with the level: loud in these spans, which begin and end with hops."""
    told, before = [], 0
    for item in stream:
        is_loud = any(at(a) <= before and item.known_until <= at(b) for a, b in spans)
        hop = Hop(item.known_until, item.known_until - before, LOUD if is_loud else QUIET)
        told.append(replace(item, hop=hop))
        before = item.known_until
    return told


def test_what_is_loud_and_has_no_name_is_an_event() -> None:
    events = feed(loud(), with_level(updates([], 20), [(5, 9)]))
    assert [e.type for e in events] == ["start", "end"]
    assert seconds(lives(events)) == [(5, 9)]
    assert events[-1].level_dbfs == pytest.approx(-20)
    assert events[-1].peak == events[-1].mean == 1


def test_what_a_label_accounts_for_is_none() -> None:
    assert feed(loud(), with_level(updates([(5, 9)], 20), [(5, 9)])) == []
    near = updates([(5.8, 8.2)], 20)
    assert feed(loud(), with_level(near, [(5, 9)])) == []
    assert len(feed(loud(margin=0.0, least=0.0), with_level(near, [(5, 9)]))) == 4


def test_what_goes_on_after_a_label_is_one() -> None:
    events = feed(loud(), with_level(updates([(5, 6)], 20), [(5, 12)]))
    assert seconds(lives(events)) == [(7, 12)]


def test_it_is_told_only_when_a_label_could_have_been() -> None:
    machine = loud()
    for item in with_level(updates([], 20), [(5, 9)]):
        if machine.push(item, item.known_until):
            assert item.known_until == at(5 + 1 + 1)  # its least duration, and the margin
            return
    pytest.fail("nothing was told")


@pytest.mark.parametrize("level_s", [(5.0, 5.2), (5.0, 5.4)])
def test_a_short_bang_is_none_unless_asked_for(level_s: Span) -> None:
    assert feed(loud(), with_level(updates([], 20), [level_s])) == []
    assert len(feed(loud(least=0.0), with_level(updates([], 20), [level_s]))) == 2


def test_loud_sounds_that_follow_closely_are_one() -> None:
    spans = [(5.0, 7.0), (7.5, 10.0), (12.0, 14.0)]
    assert seconds(lives(feed(loud(), with_level(updates([], 20, 0.1), spans)))) == [
        (5, 10),
        (12, 14),
    ]


def test_a_loud_sound_that_goes_on_is_updated_and_cut_by_a_gap() -> None:
    events = feed(loud(update_s=2), with_level(updates([], 12), [(5, 99)]))
    assert [e.type for e in events] == ["start", "update", "update", "update", "end"]
    [found] = lives(events)
    assert (seconds([found]), found.truncated) == ([(5, 12)], True)


def test_the_sound_behind_a_gap_is_judged_anew() -> None:
    machine = loud()
    before = with_level(updates([], 12), [(5, 9)])
    after = [
        replace(
            item,
            known_until=item.known_until + at(20.13),
            hop=replace(item.hop, end_sample=item.known_until + at(20.13)),
        )
        for item in before
        if item.hop
    ]
    assert seconds(lives(feed(machine, [*before, *after]))) == [(5, 9), (25.13, 29.13)]
