"""Kills a program again and again, and counts what of the events that it had stored never arrives.

What must arrive, over all lives of the program:

- **Stored** is every event up to the newest sequence number that the file of the outbox has for
  its source after a kill: number and event are committed together. Those that still wait in the
  file are known by their id as well. What a program itself said to be stored must be in the file.
- Each of them arrives, and each number stands for one event: an event may come twice, with its id.
- The numbers of a source have no hole, in spite of all kills, and come in order. Events that were
  told in the last milliseconds before a kill and are not in the file yet were never sent either:
  their numbers are given again.
- None is said to be lost (`lost_events`): a killed process loses nothing that the disk has.
"""

import asyncio
import contextlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from detector.publish.mqtt.publisher import MqttPublisher
from detector.publish.outbox.durable import DurableOutbox
from detector.publish.outbox.store import NAME
from tests.broker import Broker, Proxy
from tests.daemon import ROOT, running, talkative
from tests.publish.helpers import NODE
from tests.victim import SOURCE

EVENTS = f"detector/{NODE}/+/events/+"
ALL_SENT = "all/sent"


@dataclass(frozen=True, slots=True)
class Outcome:
    stored: int
    """Different events that the disk had at some kill."""
    received: int
    """Different events that a subscriber has seen."""
    repeated: int
    """Messages that came more than once, with the same id."""
    lost: int
    """Stored events that never came."""
    missing: int
    """Numbers of which none came, though a higher one of the source did."""
    disordered: int
    """Events that came first after a later one of the source."""
    ambiguous: int
    """Numbers that stand for two events."""
    kills: int = 0
    early: int = 0
    """Kills before the program said that it was ready."""
    away: int = 0
    """Kills while there was no broker to be reached."""
    unkept: int = 0
    """Events that a program had said to be stored, and that were not in the file."""
    damaged: int = 0
    """Files that had to be set aside."""
    false_alarms: int = 0
    """Events that the outbox takes for lost."""

    @property
    def failures(self) -> int:
        counts = (self.lost, self.missing, self.disordered, self.ambiguous, self.unkept)
        return sum(counts) + self.damaged + self.false_alarms


class Ledger:
    """What must arrive, as files on the disk say."""

    def __init__(self) -> None:
        self.newest: dict[str, int] = {}
        """The newest number of each source."""
        self.waited: set[tuple[tuple[str, int], str]] = set()
        """Source and number, and id, of events that were still to be sent."""

    def look(self, folder: Path) -> None:
        """Note what the outbox of a killed process holds. It is read in a copy, as it is."""
        with tempfile.TemporaryDirectory() as copy:
            for file in folder.glob(f"{NAME}*"):
                shutil.copy(file, copy)
            if not Path(copy, NAME).exists():
                return
            with contextlib.closing(sqlite3.connect(Path(copy, NAME))) as db:
                if db.execute("PRAGMA user_version").fetchone() == (0,):
                    return  # killed before it had made its tables
                for source, newest in db.execute("SELECT source, last FROM sequences"):
                    self.newest[source] = max(newest, self.newest.get(source, 0))
                query = "SELECT source, sequence, body FROM waiting WHERE sequence > 0"
                for source, sequence, body in db.execute(query):
                    self.waited.add(((source, sequence), json.loads(body)["id"]))

    def compare(self, payloads: Iterable[str]) -> Outcome:
        """Hold what a subscriber has got, in order, against it."""
        ids = defaultdict[tuple[str, int], set[str]](set)
        highest = defaultdict[str, int](int)
        repeated = disordered = 0
        for message in map(json.loads, payloads):
            source, sequence, event = message["source"], message["sequence"], message["id"]
            known = ids[source, sequence]
            repeated += event in known
            disordered += not known and sequence < highest[source]
            known.add(event)
            highest[source] = max(sequence, highest[source])
        stored = {(source, n) for source, last in self.newest.items() for n in range(1, last + 1)}
        never = {number for number, event in self.waited if event not in ids.get(number, ())}
        return Outcome(
            stored=len(stored),
            received=len(ids),
            repeated=repeated,
            lost=len(stored - ids.keys() | never),
            missing=sum(highest.values()) - len(ids),
            disordered=disordered,
            ambiguous=sum(len(known) > 1 for known in ids.values()),
        )


class Victim(Protocol):
    """A program with an outbox in `state`."""

    state: Path
    early: int
    """How often it was killed before it was ready."""

    async def live(self, port: int) -> Mapping[str, int]:
        """Live with the broker at a port, and be killed.

        Returns:
            the newest number of each source that the program had said to be stored.
        """


class DaemonVictim:
    """`detector run`, which hears sound."""

    def __init__(self, folder: Path, rng: random.Random, longest_s: float) -> None:
        """Let it live for up to `longest_s` after it is ready; one in four dies before that."""
        self.state = folder / "state"
        self.early = 0
        self._folder, self._rng, self._longest_s = folder, rng, longest_s
        self._lives = 0
        self._start_s = 1.0

    async def live(self, port: int) -> Mapping[str, int]:
        self._lives += 1
        config = self._folder / "talkative.toml"
        if not config.exists():
            talkative(self._folder, port, self.state)
        began = asyncio.get_running_loop().time()
        async with running(config) as daemon:
            if self._lives % 4 == 0:
                await asyncio.sleep(self._rng.uniform(0, self._start_s))
            else:
                await daemon.says('"ready"')
                self._start_s = asyncio.get_running_loop().time() - began
                await asyncio.sleep(self._rng.uniform(0, self._longest_s))
        self.early += not daemon.has_said('"ready"')
        return {}


class PublisherVictim:
    """`tests/victim.py`: an outbox and a publisher, as fast as they can."""

    def __init__(self, folder: Path, rng: random.Random, longest_s: float) -> None:
        """Let it live for up to `longest_s` after its first event is stored."""
        self.state = folder / "state"
        self.early = 0
        self._rng, self._longest_s = rng, longest_s

    async def live(self, port: int) -> Mapping[str, int]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.victim", str(self.state), str(port)),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        said = await process.stdout.readline()
        await asyncio.sleep(self._rng.uniform(0, self._longest_s))
        process.kill()
        said += await process.stdout.read()
        await process.wait()
        # The last line may be half a number.
        return {SOURCE: max(int(line) for line in said.splitlines(keepends=True) if b"\n" in line)}


class Link:
    """The way to the broker, which is closed at times."""

    LONGEST_S = 3.0

    def __init__(self) -> None:
        self.away = False
        """Connections end with their first packet."""

    def judge(self, _packet: bytes, _from_client: bool) -> bool | None:  # noqa: FBT001
        return None if self.away else True

    async def come_and_go(self, rng: random.Random) -> None:
        while True:
            await asyncio.sleep(rng.uniform(0, self.LONGEST_S))
            self.away = not self.away


async def kill_often(broker: Broker, victim: Victim, times: int, rng: random.Random) -> Outcome:
    """Kill it so many times while the broker comes and goes; then deliver what is left."""
    ledger, link = Ledger(), Link()
    away = unkept = 0
    async with broker.subscriber() as seen, Proxy(broker.port, link.judge) as proxy:
        changing = asyncio.create_task(link.come_and_go(rng))
        for _ in range(times):
            said = await victim.live(proxy.port)
            away += link.away
            ledger.look(victim.state)
            unkept += sum(max(0, n - ledger.newest.get(source, 0)) for source, n in said.items())
        changing.cancel()
        await asyncio.wait({changing})
        false_alarms = await _deliver(broker, victim.state)
        await seen.send(ALL_SENT, "")
        await seen.until(lambda s: s.messages[-1].topic.value == ALL_SENT)
        outcome = ledger.compare(seen.on(EVENTS))
    return replace(
        outcome,
        kills=times,
        early=victim.early,
        away=away,
        unkept=unkept,
        damaged=len(damaged(victim.state)),
        false_alarms=false_alarms,
    )


async def _deliver(broker: Broker, folder: Path) -> int:
    """Send what waits; how many it takes for lost."""
    settings = broker.settings()
    async with DurableOutbox(folder, settings.queue_events, settings.queue_bytes) as outbox:
        publisher = MqttPublisher(settings, NODE, outbox)
        running = asyncio.create_task(publisher.run())
        await publisher.drain(60)
        running.cancel()
        await asyncio.wait({running})
        return outbox.stats().lost_events


def damaged(folder: Path) -> list[Path]:
    """What was set aside."""
    return list(folder.glob("outbox-*.damaged"))
