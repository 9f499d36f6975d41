"""A stream that is connected to anew may begin with what was heard already."""

import pytest

from tests.capture.test_timeline import Device


@pytest.mark.parametrize("repeated_s", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("away_s", [0.0, 0.3])
def test_what_a_stream_sends_again_is_not_heard_twice(repeated_s: float, away_s: float) -> None:
    device = Device()
    device.begin()
    device.hear(10)
    device.finish()
    device.lose(away_s - repeated_s)
    device.begin()
    device.hear(10)
    heard_again = repeated_s > away_s
    assert device.lost_s == pytest.approx(0 if heard_again else away_s, abs=0.11)
    assert device.worst_error_s() < 0.11
    assert device.clock_error_s() < 0.02
