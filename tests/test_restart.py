"""The daemon is killed, and started again: what was going on ends, what was missed is said."""

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from tests.broker import Broker, Subscriber, broker
from tests.bundles import LOW_HZ, tone_bundle
from tests.daemon import running as daemon

__all__ = ["broker"]

pytestmark = pytest.mark.broker

RATE = 16_000
EVENTS = "detector/attic/hall/events/low"
STATE = "detector/attic/hall/state/low"
GAPS = "detector/attic/hall/gaps"


def write_config(folder: Path, port: int) -> Path:
    """A second of silence, then a low tone for a minute."""
    tone_bundle(folder / "tones", window_s=0.64, hop_s=0.16)
    times = np.arange(60 * RATE) / RATE
    sf.write(folder / "hall.wav", 0.3 * np.sin(2 * np.pi * LOW_HZ * times) * (times >= 1), RATE)
    path = folder / "config.toml"
    path.write_text(
        f'node = "attic"\nstate_dir = "state"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        '[models.tones]\nbundle = "./tones"\n'
        '[[sources]]\nname = "hall"\naudio_file = "hall.wav"\n'
    )
    return path


def messages(seen: Subscriber, topic: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in seen.on(topic)]


def once(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each number once: what was not confirmed before the kill comes again."""
    return list({event["sequence"]: event for event in events}.values())


def test_an_event_that_a_kill_cut_off_is_ended_and_the_time_until_the_restart_is_a_gap(
    broker: Broker, tmp_path: Path
) -> None:
    config = write_config(tmp_path, broker.port)

    async def live() -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
        async with broker.subscriber() as seen:
            async with daemon(config) as first:
                await seen.until(lambda s: s.last(STATE) == "ON")
                first.process.kill()
                await first.ended()
            async with daemon(config):
                await seen.until(lambda s: s.on(GAPS))
                await seen.until(lambda s: len(once(messages(s, EVENTS))) == 3)
                await seen.until(lambda s: s.on(STATE)[-2:] == ["OFF", "ON"])
            return once(messages(seen, EVENTS)), messages(seen, GAPS), seen.on(STATE)

    (start, end, new), (gap,), states = asyncio.run(live())
    assert [event["type"] for event in (start, end, new)] == ["start", "end", "start"]
    assert [event["sequence"] for event in (start, end, new)] == [1, 2, 3]
    assert end["id"] == start["id"] != new["id"]
    assert end["truncated"]
    assert start["onset"] == end["onset"] <= end["offset"] < new["onset"]
    assert gap["reason"] == "down"
    assert end["offset"] <= gap["begin"] < gap["end"] < new["onset"]
    assert gap["duration_s"] == pytest.approx(seconds(gap["begin"], gap["end"]), abs=0.002)
    assert states[states.index("ON") :][:3] == ["ON", "OFF", "ON"]


def test_the_time_after_an_ordinary_stop_is_a_gap_too(broker: Broker, tmp_path: Path) -> None:
    config = write_config(tmp_path, broker.port)

    async def live() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        async with broker.subscriber() as seen:
            async with daemon(config) as first:
                await seen.until(lambda s: s.last(STATE) == "ON")
                first.process.terminate()
                assert await first.ended() == 0
            assert seen.on(GAPS) == []
            async with daemon(config):
                await seen.until(lambda s: s.on(GAPS))
            return messages(seen, EVENTS), messages(seen, GAPS)

    events, (gap,) = asyncio.run(live())
    end = once(events)[1]
    assert (end["type"], gap["reason"]) == ("end", "down")
    assert seconds(end["offset"], gap["begin"]) == pytest.approx(0, abs=1), "to the last sample"


def seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
