"""What commands do to the patterns of a running service, and what it says of them."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.broker import Broker, broker
from tests.service import ANY, DISCOVERY, HALL, explained, low_tone, now_and_then, service

__all__ = ["broker"]

pytestmark = pytest.mark.broker


def test_a_reload_reaches_patterns(broker: Broker, tmp_path: Path) -> None:
    async def talk() -> None:
        async with service(tmp_path, broker, low_tone(40), ANY) as daemon:

            def told() -> list[tuple[str, bool]]:
                return [(e["type"], e["truncated"]) for e in daemon.events("any")]

            await daemon.seen.until(lambda s: s.last(f"{HALL}/state/any") == "ON")
            # It does not matter to a group whether its labels are published.
            daemon.edit(
                "update_interval_s = 1.0", "update_interval_s = 1.0\nlabels.low.enabled = false"
            )
            assert (await daemon.command("reload"))["ok"]
            await daemon.seen.until(lambda _: [t for t, _ in told()].count("start") == 2)
            assert ("end", True) in told()
            daemon.edit('labels = ["low", "high"]', 'labels = ["high"]')
            answer = await daemon.command("reload")
            assert (answer["ok"], answer["restart"]) == (True, [])
            await daemon.seen.until(lambda s: s.last(f"{HALL}/state/any") == "OFF")
            assert told()[-1] == ("end", True)
            daemon.edit("[patterns.any]", "[patterns.other]")
            daemon.edit('labels = ["high"]', 'labels = ["low"]')
            assert (await daemon.command("reload"))["ok"]
            await daemon.seen.until(
                lambda s: (
                    s.last(f"{HALL}/state/any") == "" and s.last(f"{HALL}/state/other") == "ON"
                )
            )
            assert daemon.seen.on(f"{HALL}/state/other") == ["OFF", "ON"]
            parts = json.loads(daemon.seen.last(DISCOVERY) or "")["components"]
            assert {"hall-label-other", "hall-label-high"} <= parts.keys()

    asyncio.run(talk())


def test_a_reload_that_would_not_start_is_refused(broker: Broker, tmp_path: Path) -> None:
    async def talk() -> None:
        more = '[patterns.high]\nkind = "group"\nlabels = ["low"]\n'
        only = "update_interval_s = 1.0\nlabels.high.enabled = false"
        async with service(tmp_path, broker, now_and_then(), more, model=only) as daemon:
            daemon.edit("\nlabels.high.enabled = false", "")
            answer = await daemon.command("reload")
            assert not answer["ok"]
            assert "patterns.high: tones@1 has events of that name" in answer["message"]
            daemon.edit('labels = ["low"]', 'labels = ["lwo"]')
            daemon.edit('bundle = "./tones"', 'bundle = "./tones"\nthreads = 2')
            answer = await daemon.command("reload")
            assert "patterns.high.labels: no model has a label 'lwo'" in answer["message"]
            assert answer["message"].endswith("; only a restart changes models.tones.threads")
            told = len(daemon.events("high"))
            await daemon.seen.until(lambda _: len(daemon.events("high")) >= told + 2)
            assert {e["model"] for e in daemon.events("high")} == {"patterns@1"}

    asyncio.run(talk())


def test_a_threshold_counts_for_patterns_too(broker: Broker, tmp_path: Path) -> None:
    async def talk() -> None:
        silent = "labels.low.enabled = false"
        async with service(tmp_path, broker, now_and_then(), ANY, model=silent) as daemon:
            await daemon.until_event("end")
            answer = await daemon.command("threshold", {"label": "low", "onset_threshold": 1.0})
            assert answer["ok"], answer
            assert "counts for patterns alone" in answer["message"]
            told = len(daemon.events())
            await asyncio.sleep(3)
            assert not any(e["type"] == "start" for e in daemon.events()[told:])
            contradicting = {"label": "low", "onset_threshold": 0.1}
            assert (
                "offset_threshold 0.3"
                in (await daemon.command("threshold", contradicting))["message"]
            )
            assert (await daemon.command("reload"))["ok"]
            await daemon.until_event("start", after=told)

    asyncio.run(talk())


def test_patterns_are_explained(broker: Broker, tmp_path: Path) -> None:
    rules = (
        f'{ANY}[patterns.t3]\nkind = "repetition"\nlabel = "low"\nrhythm = "t3"\n'
        '[patterns.loud]\nkind = "loud_unlabelled"\n'
        '[[schedule]]\nfrom = "00:00"\nto = "24:00"\nonly = ["low"]\n'
    )

    async def talk() -> None:
        async with service(tmp_path, broker, now_and_then(), rules) as daemon:
            await daemon.until_event("start", after=1)
            await asyncio.sleep(1.5)
            said = await explained(daemon, what="pattern")
            assert said["any"]["why"] == "quiet_hours"
            assert said["any"]["heard"]["low"] >= 1
            assert said["any"]["onset"]
            assert said["t3"]["why"] == "no_rhythm"
            assert said["t3"]["heard"]["low"] >= 1
            assert said["loud"]["why"] == "labelled"
            assert said["loud"]["level_dbfs"] == pytest.approx(-13.5, abs=1)

    asyncio.run(talk())
