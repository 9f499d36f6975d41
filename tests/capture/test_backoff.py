"""How often what is away is looked for."""

import itertools

import pytest

from detector.capture.programs.backoff import Backoff


def pauses(backoff: Backoff, until_s: float, *, refused: bool = False) -> list[float]:
    """The pauses of an outage, if each attempt takes a second."""
    found, now_s = list[float](), 0.0
    while now_s < until_s:
        found.append(backoff.pause_s(now_s, refused=refused))
        now_s += found[-1] + 1
    return found


def test_what_has_just_gone_is_looked_for_every_other_second() -> None:
    found = pauses(Backoff(30.0), 40)
    assert found[0] <= 0.5
    assert max(found) <= 2


def test_what_has_been_away_for_long_is_looked_for_twice_a_minute_and_never_given_up() -> None:
    found = pauses(Backoff(30.0), 86_400)
    assert 20 < found[-1] <= 30
    ends = itertools.accumulate(pause + 1 for pause in found)
    assert all(pause <= max(2.0, end / 20) for pause, end in zip(found, ends, strict=True))


def test_pauses_differ_so_that_cameras_are_not_called_all_at_once() -> None:
    last = {pauses(Backoff(2.0), 20)[-1] for _ in range(10)}
    assert len(last) == 10
    assert all(1.5 <= pause <= 2 for pause in last)


def test_who_refuses_the_password_is_asked_seldom() -> None:
    found = pauses(Backoff(30.0), 7200, refused=True)
    assert found[0] >= 45
    assert max(found) == pytest.approx(525, abs=75)
    assert len(found) < 20
