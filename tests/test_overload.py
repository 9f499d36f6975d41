"""Windows are left out while a backlog does not shrink, and only then."""

import pytest

from detector.overload import LATE_S, OverloadRule
from detector.records import SAMPLE_RATE

HOP = SAMPLE_RATE // 2


class Model:
    """A model that takes so long for each window, while sound arrives."""

    def __init__(self, seconds_a_window: float) -> None:
        self.rule = OverloadRule(HOP)
        self.seconds_a_window = seconds_a_window
        self.now_s = 100.0
        self.arrived = self.done = 0.0
        self.skipped = 0

    def burst(self, seconds: float) -> None:
        self.arrived += seconds * SAMPLE_RATE

    def score(self, count: int) -> None:
        for _ in range(count):
            if self.arrived - self.done < HOP:
                self.rule.idle()
                wait_s = (HOP - (self.arrived - self.done)) / SAMPLE_RATE
                self.now_s += wait_s
                self.arrived += wait_s * SAMPLE_RATE
            self.now_s += self.seconds_a_window
            self.arrived += self.seconds_a_window * SAMPLE_RATE
            self.done += HOP
            skip = self.rule.windows_to_skip(round(self.arrived - self.done), self.now_s)
            self.skipped += skip
            self.done += skip * HOP

    @property
    def late_s(self) -> float:
        return (self.arrived - self.done) / SAMPLE_RATE


@pytest.mark.parametrize("seconds", [0.001, 0.1, 0.3, 0.45])
def test_a_model_that_keeps_up_leaves_out_nothing_whatever_bursts_come(seconds: float) -> None:
    model = Model(seconds)
    for burst_s in (0, 3, 10, 1, 10):
        model.burst(burst_s)
        model.score(300)
    assert model.skipped == 0
    assert model.late_s < 1


@pytest.mark.parametrize("seconds", [0.55, 1.0, 3.0])
def test_a_model_that_does_not_keep_up_is_never_very_late(seconds: float) -> None:
    model = Model(seconds)
    latest = 0.0
    for _ in range(400):
        model.score(1)
        latest = max(latest, model.late_s)
    assert latest < LATE_S + 2 * seconds + 2
    assert model.skipped == pytest.approx(400 * (seconds / 0.5 - 1), rel=0.2, abs=12)


def test_a_burst_on_top_of_too_much_work_is_cut_down_slowly() -> None:
    model = Model(0.6)
    model.score(100)
    model.burst(8)
    model.score(2)
    assert model.late_s > 6
    model.score(200)
    assert model.late_s < 11
