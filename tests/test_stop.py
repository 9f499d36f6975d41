"""A stop that takes long, and somebody who does not want to wait for it."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.broker import Broker, broker
from tests.daemon import running, talkative

__all__ = ["broker"]

pytestmark = pytest.mark.broker


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGINT, signal.SIGINT, 130), (signal.SIGTERM, signal.SIGTERM, 143)],
)
def test_a_second_signal_ends_a_stop_that_waits_for_the_broker(
    broker: Broker, tmp_path: Path, first: signal.Signals, second: signal.Signals, code: int
) -> None:
    async def stop() -> None:
        async with running(talkative(tmp_path, broker.port, tmp_path / "state")) as daemon:
            await daemon.says("connected to the MQTT broker")
            broker.hang()  # the drain now lasts for its whole deadline
            await asyncio.sleep(1)
            daemon.process.send_signal(first)
            await daemon.says("stopping; once more ends at once")
            begun = time.monotonic()
            daemon.process.send_signal(second)
            assert await daemon.ended() == code
            assert time.monotonic() - begun < 2
            assert sum("once more" in line for line in daemon.log) == 1

    asyncio.run(stop())


def test_one_signal_is_an_orderly_stop(broker: Broker, tmp_path: Path) -> None:
    async def stop() -> None:
        async with running(talkative(tmp_path, broker.port, tmp_path / "state")) as daemon:
            await daemon.says("connected to the MQTT broker")
            daemon.process.send_signal(signal.SIGINT)
            assert await daemon.ended() == 0
            assert daemon.has_said("stopped")

    asyncio.run(stop())
