"""The whole daemon on disks that are full, read-only, broken or silent.

Each disk is a real one, mounted in a namespace that only the daemon shares: row 9 of the matrix of
faults, and row 10 where the disk and not the file is at fault.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from detector.publish.outbox.contents import READY
from tests.broker import Broker, Proxy, Subscriber, broker
from tests.daemon import ROOT, Daemon, running, talkative
from tests.disk import fill_up
from tests.killing import EVENTS, Ledger, Link, damaged

__all__ = ["broker"]

pytestmark = pytest.mark.broker

CANNOT = "events cannot be stored"
AGAIN = "events are stored again"


class Disk:
    """A disk that is mounted at `folder`, for programs that are started `inside` alone."""

    def __init__(self, folder: Path, *mount: str) -> None:
        """`mount` is what `mount` is told, but for the folder."""
        folder.mkdir()
        self.folder = folder
        self._mount = ("mount", *mount, str(folder))
        user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        # It ends, and with it the disk, when nobody holds the other end of its standard input.
        self._keeper = subprocess.Popen(
            ["unshare", *user, "--mount", "sh", "-c", '"$@" && echo mounted && exec cat', "",
             *self._mount],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        if (said := self._keeper.stdout.readline().strip()) != "mounted":
            self.close()
            pytest.skip(f"no disk can be mounted in a namespace here: {said}")
        pid = self._keeper.pid
        self.inside = (
            *("nsenter", f"--target={pid}", "--mount", f"--wd={ROOT}"),
            *(("--user", "--preserve-credentials") if user else ()),
        )
        """What makes a program see the disk."""
        self.seen = Path(f"/proc/{pid}/root{folder}")
        """The disk, as it is seen from outside."""

    def close(self) -> None:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.stdout.close()
        self._keeper.wait()

    def run(self, *command: str) -> None:
        done = subprocess.run([*self.inside, *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")

    def remount(self, options: str) -> None:
        self.run("mount", "-o", f"remount,{options}", str(self.folder))

    def fill_up(self) -> None:
        fill_up(self.seen)

    def free(self) -> None:
        (self.seen / "stuff").unlink()


class Ext4(Disk):
    """One with a file system that can break, on a file beside the folder."""

    def __init__(self, folder: Path) -> None:
        self._image = folder.with_name("image")
        with self._image.open("wb") as image:
            image.truncate(8 * 2**20)
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True)
        super().__init__(folder, "-o", "loop,errors=remount-ro", str(self._image))
        found = subprocess.run(
            [*self.inside, "findmnt", "-no", "SOURCE", str(self.folder)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        self._breaker = Path("/sys/fs/ext4", Path(found.stdout.strip()).name, "trigger_fs_error")
        if not os.access(self._breaker, os.W_OK):
            self.close()
            pytest.skip(f"no file system can be told to break here: {self._breaker}")

    def break_down(self) -> None:
        """Let the kernel find an error, upon which it lets nobody write, whatever is open."""
        self._breaker.write_text("a test")

    def repair(self) -> None:
        """As a person would: unmount, check, mount."""
        deadline = time.monotonic() + 10
        while True:
            try:
                self.run("umount", str(self.folder))
                break
            except OSError:  # the daemon tries it again at this moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        subprocess.run(["e2fsck", "-fy", str(self._image)], capture_output=True, check=False)
        self.run(*self._mount)

    def freeze(self) -> None:
        """Let whoever writes wait."""
        self.run("fsfreeze", "--freeze", str(self.folder))

    def thaw(self) -> None:
        self.run("fsfreeze", "--unfreeze", str(self.folder))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A megabyte."""
    needs("unshare", "nsenter")
    with contextlib.closing(
        Disk(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "none")
    ) as disk:
        yield disk


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Ext4]:
    needs("unshare", "nsenter", "mkfs.ext4", "findmnt", "fsfreeze", "e2fsck")
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system that can break")
    with contextlib.closing(Ext4(tmp_path / "disk")) as disk:
        yield disk


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (util-linux, e2fsprogs)")


def test_row_9_full_disk_keeps_nothing_from_being_told_and_is_used_again(
    broker: Broker, tmp_path: Path, disk: Disk
) -> None:
    async def fill_up(daemon: Daemon) -> None:
        disk.fill_up()
        await daemon.says("the disk is full: the reserve is used")
        disk.fill_up()
        await daemon.says(CANNOT)
        disk.fill_up()

    asyncio.run(through_a_failure(broker, tmp_path, disk, fill_up, disk.free))


def test_row_10_disk_that_turns_read_only_while_it_is_used_is_used_again_once_it_is_repaired(
    broker: Broker, tmp_path: Path, ext4: Ext4
) -> None:
    async def break_down(daemon: Daemon) -> None:
        ext4.break_down()
        await daemon.says(CANNOT)

    asyncio.run(through_a_failure(broker, tmp_path, ext4, break_down, ext4.repair))


def test_disk_that_does_not_answer_keeps_nothing_from_being_told_and_is_used_again(
    broker: Broker, tmp_path: Path, ext4: Ext4
) -> None:
    async def freeze(daemon: Daemon) -> None:
        ext4.freeze()
        await daemon.says("the disk does not answer")

    asyncio.run(through_a_failure(broker, tmp_path, ext4, freeze, ext4.thaw))


@pytest.mark.slow
def test_disk_that_does_not_answer_while_it_holds_more_than_memory_does_stops_no_new_event(
    broker: Broker, tmp_path: Path, ext4: Ext4
) -> None:
    async def freeze(daemon: Daemon) -> None:
        async with asyncio.timeout(60):
            while waiting_in(ext4.seen) < 1.2 * READY:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.5)
        ext4.freeze()
        await daemon.says("the disk does not answer")

    # What waits on the disk comes after what is told while it cannot be read.
    hearing = through_a_failure(broker, tmp_path, ext4, freeze, ext4.thaw, in_order=False)
    asyncio.run(hearing)


def waiting_in(folder: Path) -> int:
    ledger = Ledger()
    ledger.look(folder)
    return len(ledger.waited)


async def through_a_failure(
    broker: Broker,
    folder: Path,
    disk: Disk,
    fail: Callable[[Daemon], Awaitable[None]],
    heal: Callable[[], None],
    *,
    in_order: bool = True,
) -> None:
    """What is heard while the disk fails is told; what comes later survives the process again."""
    link, ledger = Link(), Ledger()
    async with broker.subscriber() as seen, Proxy(broker.port, link.judge) as proxy:
        config = talkative(folder, proxy.port, disk.folder)
        async with running(config, before=disk.inside) as daemon:
            await seen.until(lambda s: s.on(EVENTS))
            link.away = True  # events pile up
            try:
                await fail(daemon)
                failed_at, link.away = time.time(), False
                await seen.until(lambda s: told_since(s, failed_at))
                assert not daemon.has_said(AGAIN)
            finally:
                heal()
            await daemon.says(AGAIN)
            await kill_with_events_waiting(daemon, link, ledger, disk)
        link.away = False
        async with running(config, before=disk.inside):
            await seen.until(arrived(ledger))
        outcome = ledger.compare(seen.on(EVENTS))
    assert outcome.failures == (0 if in_order else outcome.disordered), outcome
    assert not damaged(disk.seen)


async def kill_with_events_waiting(daemon: Daemon, link: Link, ledger: Ledger, disk: Disk) -> None:
    """Look at what it leaves on the disk, which is what it could not send."""
    link.away = True
    await asyncio.sleep(1)
    daemon.process.kill()
    await daemon.ended()
    ledger.look(disk.seen)
    assert ledger.waited


def told_since(subscriber: Subscriber, moment: float) -> bool:
    """Whether a sound that began after a moment (seconds, Unix) has just been told."""
    return any(
        datetime.fromisoformat(event["onset"]).timestamp() > moment
        for event in events(subscriber.messages[-20:])
    )


def arrived(ledger: Ledger) -> Callable[[Subscriber], bool]:
    """Whether all that waited on the disk has come."""
    waiting, looked = set(ledger.waited), 0

    def look(subscriber: Subscriber) -> bool:
        nonlocal looked
        for event in events(subscriber.messages[looked:]):
            waiting.discard(((event["source"], event["sequence"]), event["id"]))
        looked = len(subscriber.messages)
        return not waiting

    return look


def events(messages: list[aiomqtt.Message]) -> list[dict[str, Any]]:
    return [json.loads(str(m.payload, "utf-8")) for m in messages if m.topic.matches(EVENTS)]


def test_row_10_disk_that_is_read_only_at_the_start_is_said_and_used_once_it_is_not(
    broker: Broker, tmp_path: Path, disk: Disk
) -> None:
    async def hear() -> None:
        link, ledger = Link(), Ledger()
        async with broker.subscriber() as seen, Proxy(broker.port, link.judge) as proxy:
            config = talkative(tmp_path, proxy.port, disk.folder)
            async with running(config, before=disk.inside) as daemon:
                await seen.until(lambda s: s.on(EVENTS))
                await kill_with_events_waiting(daemon, link, ledger, disk)
            disk.remount("ro")
            began, link.away = time.time(), False
            async with running(config, before=disk.inside) as daemon:
                await daemon.says(CANNOT)
                await seen.until(lambda s: "read" in storage(s))
                await seen.until(lambda s: told_since(s, began))
                disk.remount("rw")
                await daemon.says(AGAIN)
                await seen.until(arrived(ledger))
                await kill_with_events_waiting(daemon, link, Ledger(), disk)
            outcome = ledger.compare(seen.on(EVENTS))
        # What waited on the disk comes after what was told while it could not be read.
        assert outcome.failures == outcome.disordered, outcome

    asyncio.run(hear())


def storage(subscriber: Subscriber) -> str:
    """What the node says of its disk."""
    return str(json.loads(subscriber.on("detector/attic/stats")[-1])["storage"])
