"""A running service and those who talk to it by MQTT: it hears a recording at the pace at which it
was made, a real broker carries what it says, and commands change what it does."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from detector.commands.explain import when
from detector.errors import ConfigError
from detector.publish.commands.replies import AnswerMessage
from detector.settings.load import load_config
from tests.broker import Broker, broker
from tests.service import (
    ANY,
    DISCOVERY,
    HALL,
    NODE,
    ROOT,
    explained,
    low_tone,
    now_and_then,
    service,
)

__all__ = ["broker"]

pytestmark = pytest.mark.broker


def test_a_mute_cuts_off_what_goes_on_and_what_outlasts_it_starts_anew(
    broker: Broker, tmp_path: Path
) -> None:
    async def talk() -> None:
        async with service(tmp_path, broker, low_tone(40)) as daemon:
            start = await daemon.until_event("start")
            assert daemon.seen.last(f"{HALL}/muted") == "OFF"
            answer = await daemon.command("mute", {"source": "hall"})
            assert answer["ok"], answer
            await daemon.seen.until(lambda s: s.last(f"{HALL}/state/low") == "OFF")
            assert daemon.seen.last(f"{HALL}/muted") == "ON"
            end = daemon.events()[-1]
            assert (end["id"], end["type"], end["truncated"]) == (start["id"], "end", True)
            told = len(daemon.events())
            await asyncio.sleep(2)
            assert len(daemon.events()) == told
            assert daemon.seen.last(f"{HALL}/status") == "listening"
            assert (await daemon.command("unmute"))["ok"]
            again = await daemon.until_event("start", after=told)
            assert again["id"] != start["id"]
            assert again["onset"] > end["offset"]
            assert daemon.seen.last(f"{HALL}/muted") == "OFF"
            await daemon.seen.until(lambda s: s.last(f"{HALL}/state/low") == "ON")
            sequence = [e["sequence"] for e in daemon.events()]
            assert sequence == list(range(1, len(sequence) + 1))

    asyncio.run(talk())


def test_a_mute_with_a_duration_ends_by_itself(broker: Broker, tmp_path: Path) -> None:
    async def talk() -> None:
        async with service(tmp_path, broker, now_and_then()) as daemon:
            answer = await daemon.command("mute", {"duration_s": 1.5})
            assert re.search(r"muted until \d{4}-\d\d-\d\dT.*Z: hall", answer["message"])
            told = len(daemon.events())
            await daemon.seen.until(lambda s: s.on(f"{HALL}/muted") == ["OFF", "ON", "OFF"])
            await daemon.until_event("start", after=told)

    asyncio.run(talk())


def test_what_is_refused_changes_nothing(broker: Broker, tmp_path: Path) -> None:
    async def talk() -> None:
        async with service(tmp_path, broker, now_and_then()) as daemon:
            for name, payload, told in (
                ("mute", {"source": "yard"}, "no source 'yard', only hall"),
                ("threshold", {"label": "lwo", "onset_threshold": 0.9}, "did you mean 'low'?"),
                ("threshold", {"label": "low", "onset_threshold": 0.1}, "offset_threshold 0.3"),
                ("threshold", {"label": "low", "model": "x", "onset_threshold": 1}, "only tones"),
                ("explain", {"at": "2020-01-01T00:00:00Z"}, "last 10 minutes"),
                ("explain", {"at": "2100-01-01T00:00:00Z"}, "has not come yet"),
                ("dance", {}, "no command 'dance'"),
            ):
                answer = await daemon.command(name, payload)
                assert not answer["ok"], answer
                assert told in answer["message"]
            for before, after, told in (
                ("update_interval_s = 1.0", "update_interval_s = -1", "update_interval_s = -1"),
                ("update_interval_s = -1", 'only = ["hihg"]', "did you mean 'high'?"),
                ('only = ["hihg"]', 'only = ["low"]\nlabels.low.onset_threshold = 0.1', "above"),
                ("labels.low.onset_threshold = 0.1", "= rubbish", "is not TOML"),
            ):
                daemon.edit(before, after)
                answer = await daemon.command("reload")
                assert not answer["ok"], answer
                assert told in answer["message"]
            assert daemon.seen.on(f"{HALL}/muted") == ["OFF"]
            await daemon.until_event("end", after=len(daemon.events()))

    asyncio.run(talk())


def test_a_reload_changes_labels_and_says_what_needs_a_restart(
    broker: Broker, tmp_path: Path
) -> None:
    async def talk() -> None:
        async with service(tmp_path, broker, low_tone(40)) as daemon:
            await daemon.until_event("start")
            daemon.edit("update_interval_s = 1.0", 'only = ["high"]\nthreads = 2')
            daemon.edit('node = "attic"', 'node = "cellar"')
            answer = await daemon.command("reload")
            assert answer["ok"], answer
            assert answer["restart"] == ["node", "models.tones.threads"]
            end = await daemon.until_event("end")
            assert end["truncated"]
            await daemon.seen.until(lambda s: s.on(f"{HALL}/state/low")[-2:] == ["OFF", ""])
            parts = json.loads(daemon.seen.last(DISCOVERY) or "")["components"]
            assert parts["hall-label-low"] == {"platform": "binary_sensor"}
            assert "hall-label-high" in parts
            told = len(daemon.events())
            daemon.edit('only = ["high"]', "")
            assert (await daemon.command("reload"))["ok"]
            assert daemon.seen.last(f"{HALL}/state/high") == "OFF"
            start = await daemon.until_event("start", after=told)
            assert start["label"] == "low"

    asyncio.run(talk())


def test_a_reload_changes_intervals_and_what_home_assistant_shows(
    broker: Broker, tmp_path: Path
) -> None:
    async def talk() -> None:
        interval = "update_interval_s = 100.0"
        async with service(tmp_path, broker, low_tone(40), model=interval) as daemon:
            await daemon.until_event("start")
            daemon.edit(interval, "update_interval_s = 0.5")
            daemon.edit("[homeassistant]", '[homeassistant]\nlabels = ["high"]')
            answer = await daemon.command("reload")
            assert (answer["ok"], answer["restart"]) == (True, []), answer
            await daemon.until_event("update")
            await daemon.seen.until(
                lambda s: (
                    json.loads(s.last(DISCOVERY) or "{}")["components"]["hall-label-low"]
                    == {"platform": "binary_sensor"}
                )
            )

    asyncio.run(talk())


def test_a_threshold_counts_at_once_and_until_the_next_reload(
    broker: Broker, tmp_path: Path
) -> None:
    async def talk() -> None:
        async with service(tmp_path, broker, now_and_then()) as daemon:
            await daemon.until_event("end")
            answer = await daemon.command("threshold", {"label": "low", "onset_threshold": 1.0})
            assert answer["ok"], answer
            told = len(daemon.events())
            await asyncio.sleep(3)
            # One that had begun may go on; the tone's score is below 1.
            assert not any(e["type"] == "start" for e in daemon.events()[told:])
            said = await explained(daemon)
            assert said["low"]["onset_threshold"] == 1.0
            assert (await daemon.command("reload"))["ok"]
            await daemon.until_event("start", after=told)

    asyncio.run(talk())


QUIET = '[[schedule]]\nfrom = "00:00"\nto = "24:00"\nonly = ["high"]\n'


def test_in_quiet_hours_nothing_is_told_and_it_is_explained(broker: Broker, tmp_path: Path) -> None:
    async def talk() -> None:
        async with service(tmp_path, broker, now_and_then(), QUIET) as daemon:
            await asyncio.sleep(4)
            assert daemon.events() == []
            assert (await explained(daemon))["low"]["why"] == "quiet_hours"
            daemon.edit('only = ["high"]', 'only = ["low"]')
            assert (await daemon.command("reload"))["ok"]
            start = await daemon.until_event("start")
            assert (start["label"], start["sequence"]) == ("low", 1)
            assert (await explained(daemon))["low"]["why"] == "event"
            daemon.edit('only = ["low"]', 'only = ["cat"]')
            answer = await daemon.command("reload")
            assert "schedule.0.only: no model hears 'cat'" in answer["message"]

    asyncio.run(talk())


NOON = datetime(2026, 11, 22, 12, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment", "within_s"),
    [
        ("11:58", "2026-11-22T11:58:30+00:00", 30),
        ("12:00", "2026-11-22T12:00:10+00:00", 30),  # the minute is not over
        ("11:58:05", "2026-11-22T11:58:05+00:00", 2),
        ("12:01", "2026-11-21T12:01:30+00:00", 30),
        ("2026-11-22T13:00:00+01:00", "2026-11-22T13:00:00+01:00", 2),
    ],
)
def test_a_time_of_day_is_that_of_the_last_day(text: str, moment: str, within_s: float) -> None:
    assert when(text, NOON) == (datetime.fromisoformat(moment), within_s)


@pytest.mark.parametrize("text", ["noon", "25:00", "12:61", "", "12"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--at"):
        when(text, NOON)


def run_detector(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "detector", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_explain_and_watch_show_in_the_terminal_what_the_service_says(
    broker: Broker, tmp_path: Path
) -> None:
    async def talk() -> None:
        async with service(tmp_path, broker, now_and_then(), ANY) as daemon:
            config = str(daemon.config)
            watching = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "detector", "watch", "--config", config),
                stdout=subprocess.PIPE,
            )
            assert watching.stdout is not None
            lines = ""
            async with asyncio.timeout(30):
                while not re.search(r"hall +end +Low tone after 1\.\d", lines):
                    lines += (await watching.stdout.readline()).decode()
            watching.terminate()
            await watching.wait()
            assert f"{NODE} is online" in lines
            assert f"{HALL} is listening" in lines
            at = datetime.now().astimezone() - timedelta(seconds=2)
            done = await asyncio.to_thread(
                run_detector, "explain", "--config", config, "--at", f"{at:%H:%M:%S}"
            )
            assert done.returncode == 0, done.stderr
            assert re.search(r"low +1\.00 +0\.50 +an event, from \d\d:\d\d:\d\d", done.stdout)
            assert re.search(r"any +[12] low +an event, from \d\d:\d\d:\d\d", done.stdout)

    asyncio.run(talk())


def test_explain_says_when_nobody_answers(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        f'node = "attic"\n[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        "commands = true\ntimeout_s = 1\n"
    )
    done = run_detector("explain", "--config", str(path), "--at", "03:12")
    assert (done.returncode, "attic does not answer" in done.stderr) == (3, True), done.stderr
    path.write_text("")
    done = run_detector("explain", "--config", str(path), "--at", "03:12")
    assert (done.returncode, "mqtt.commands = true" in done.stderr) == (2, True), done.stderr


def test_the_examples_of_the_documentation_are_right(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "mqtt.md").read_text(encoding="utf-8")
    examples = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    assert {kind for kind, _ in examples} == {"json", "toml", "yaml"}
    for kind, example in examples:
        if kind == "json":
            json.loads(example)
        elif kind == "toml" and "inputs.mqtt_consumer" in example:
            tomllib.loads(example)
        elif kind == "toml":
            (tmp_path / "config.toml").write_text(
                example + '[[sources]]\nname = "yard"\ndevice = "default"\n'
            )
            assert load_config(tmp_path / "config.toml").sources[0].name == "yard"
    answer = re.search(r"    (\{\"schema\": 1.*?null\})", text, re.DOTALL)
    assert answer
    assert AnswerMessage.model_validate_json(answer[1]).ok
