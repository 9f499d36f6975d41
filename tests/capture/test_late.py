"""What comes through a pipe or a network is complete, and late now and then."""

from collections.abc import Callable

import numpy as np
import pytest

from detector.capture.clock import SampleClock
from detector.capture.programs.framing import Header, Kind
from detector.capture.timeline import Timeline
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Gap

BLOCK = 1600
Lateness = Callable[[np.random.Generator], float]


def spikes(chance: np.random.Generator) -> float:
    """A radio that repeats what was not heard."""
    return chance.uniform(0, 0.05) + (chance.uniform(0.2, 1.5) if chance.random() < 0.05 else 0)


def held_back(lateness: Lateness, *, complete: bool, lost_s: float = 0.0) -> list[Gap]:
    """The gaps of ten minutes of blocks, each late by a random time and none before the last.

    Args:
        lateness: how late one is, in seconds.
        complete: as `Timeline`.
        lost_s: how much the writer loses after five minutes.
    """
    timeline, chance = Timeline(SampleClock(), complete=complete), np.random.default_rng(0)
    timeline.begin(SAMPLE_RATE)
    items: list[AudioBlock | Gap | Cut] = []
    arrived_s = 0.0
    for i in range(6000):
        captured_s = (i + 1) * BLOCK / SAMPLE_RATE + (lost_s if i >= 3000 else 0)
        arrived_s = max(arrived_s, captured_s + lateness(chance))
        header = Header(Kind.AUDIO, i * BLOCK, round((100 + arrived_s) * 1e9), 0, BLOCK)
        items += timeline.push(header, np.zeros(BLOCK, np.float32))
    items += timeline.finish()
    heard = sum(len(item.samples) for item in items if isinstance(item, AudioBlock))
    assert heard == 6000 * BLOCK
    return [item for item in items if isinstance(item, Gap)]


@pytest.mark.parametrize(
    "lateness",
    [spikes, lambda chance: chance.uniform(0, 0.3), lambda chance: chance.exponential(0.1)],
)
def test_what_is_held_back_is_not_taken_for_lost(lateness: Lateness) -> None:
    assert held_back(lateness, complete=True) == []
    assert held_back(lateness, complete=False) != [], "of a sound card it is"


@pytest.mark.parametrize("lost_s", [0.5, 1.5, 4.0])
def test_what_a_writer_lost_is_a_gap_where_it_was_lost(lost_s: float) -> None:
    [gap] = held_back(lambda chance: chance.uniform(0, 0.05), complete=True, lost_s=lost_s)
    assert gap.first_sample == pytest.approx(3000 * BLOCK, abs=BLOCK)
    assert gap.length / SAMPLE_RATE == pytest.approx(lost_s, abs=0.1)


def test_a_pause_after_which_everything_comes_is_no_loss() -> None:
    """Three seconds long: the source was called stalled meanwhile."""
    waited = iter([0.0] * 3000 + [3.0] + [0.0] * 6000)
    assert held_back(lambda _: next(waited), complete=True) == []
