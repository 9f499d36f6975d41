"""An event that lasts while any of several labels is heard."""

from dataclasses import replace

import numpy as np
import pytest

from detector.events.patterns.composite import PATTERNS_MODEL
from detector.events.patterns.group import Group
from detector.events.patterns.streams import StreamUpdate
from tests.events.scores import lives
from tests.events.streams import Span, at, event, feed, label, seconds, updates

GROUP = ("smoke", "siren")


def group(merge_s: float = 1.0, update_s: float = 1000) -> Group:
    return Group(label(update_s), GROUP, at(merge_s))


def test_a_group_lasts_while_any_of_its_labels_is_heard() -> None:
    smoke = updates([(1, 3)], 10, label="smoke")
    siren = updates([(2, 5)], 10, label="siren")
    both = [replace(a, events=a.events + b.events) for a, b in zip(smoke, siren, strict=True)]
    events = feed(group(), both)
    assert [e.type for e in events] == ["start", "end"]
    assert seconds(lives(events)) == [(1, 5)]
    assert {(e.model, e.label, e.name) for e in events} == {(PATTERNS_MODEL, "pattern", "Pattern")}


def test_a_group_starts_when_its_first_label_does() -> None:
    [*before, at_start] = [
        item for item in updates([(1.1, 3)], 10, label="smoke") if item.known_until < 21_000
    ]
    assert before
    machine = group()
    assert [e for item in before for e in machine.push(item, item.known_until)] == []
    [start] = machine.push(at_start, at_start.known_until)
    assert (start.type, start.onset_sample, start.offset_sample) == ("start", at(1.1), None)


@pytest.mark.parametrize(
    ("merge_s", "found"),
    [(0.0, [(1, 3), (4, 5)]), (0.5, [(1, 3), (4, 5)]), (1.0, [(1, 5)]), (2.0, [(1, 5)])],
)
def test_labels_that_follow_closely_are_one(merge_s: float, found: list[Span]) -> None:
    spans = [(1.0, 2.0), (2.0, 3.0), (4.0, 5.0)]  # the first two adjoin
    assert seconds(lives(feed(group(merge_s), updates(spans, 10, label="siren")))) == found


def test_other_labels_are_no_concern_of_a_group() -> None:
    assert feed(group(), updates([(1, 3)], 10, label="dog")) == []


def test_a_group_that_goes_on_is_updated() -> None:
    events = feed(group(update_s=2), updates([(1, 8)], 20, label="siren"))
    assert [e.type for e in events] == ["start", "update", "update", "update", "end"]


def test_a_gap_cuts_a_group() -> None:
    [cut] = lives(feed(group(), updates([(1, 8)], 4, label="siren")))
    assert (cut.offset, cut.truncated) == (at(4), True)
    [whole] = lives(feed(group(), updates([(1, 3.8)], 4, label="siren")))
    assert (whole.offset, whole.truncated) == (at(3.8), False)


def test_a_group_says_the_score_and_the_level_of_its_labels() -> None:
    machine = group()
    short = replace(event("start", 0, label="smoke"), peak=1.0, mean=1.0, level_dbfs=-10.0)
    long = replace(event("start", at(1), label="siren"), peak=0.6, mean=0.5, level_dbfs=-30.0)
    begun = StreamUpdate(at(1.1), (short, replace(short, type="end", offset_sample=at(1)), long))
    ended = StreamUpdate(at(9), (replace(long, type="end", offset_sample=at(4)),))
    *_, end = feed(machine, [begun, ended])
    assert (end.type, end.offset_sample, end.peak) == ("end", at(4), 1.0)
    assert end.mean == pytest.approx((1.0 + 3 * 0.5) / 4)
    assert end.level_dbfs == pytest.approx(10 * np.log10((0.1 + 3 * 0.001) / 4))


def test_a_label_that_comes_late_begins_no_event_in_the_one_before() -> None:
    machine = group(merge_s=0)
    events = feed(machine, updates([(1, 3)], 4, label="siren")[:-1])
    late = event("start", at(2), label="smoke")
    ended = replace(late, type="end", offset_sample=at(4.5))
    events += feed(machine, [StreamUpdate(at(4), (late,)), StreamUpdate(at(5), (ended,))])
    assert seconds(lives(events)) == [(1, 3), (3, 4.5)]
