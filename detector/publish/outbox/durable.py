"""The outbox that outlives the process.

What is put in is committed to the disk by a thread, everything that came in the meantime at once,
and may be sent when that is done; what was confirmed is removed in the same way. Only the oldest
thousand are held in memory, however many wait.

While the disk is full, read-only or does not answer, what cannot be committed waits in memory,
bounded as on the disk, and is sent from there: events are late rather than lost, and lost only if
the process ends first. The disk is tried again all the time.
"""

import asyncio
import contextlib
import math
import uuid
from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import structlog

from detector.publish.messages import EventMessage, GapMessage
from detector.publish.outbox.changes import DeadLetter, StoredState
from detector.publish.outbox.contents import DEAD_AT_ONCE, PROVISIONAL, READY, OutboxContents
from detector.publish.outbox.database import StoreTakenError
from detector.publish.outbox.disk_health import DiskHealth, DiskState
from detector.publish.outbox.disk_thread import DiskThread
from detector.publish.outbox.entries import OutboxEntry
from detector.publish.outbox.outbox import NoListener, OutboxListener
from detector.publish.outbox.store import Store
from detector.publish.outbox.tables import now as utc_now
from detector.publish.outbox.watermark import Watermark
from detector.publish.previous_run import PreviousRun
from detector.stats import DeliveryStats

log = structlog.get_logger()

T = TypeVar("T")

SLOW_S: Final = 5.0
"""A disk that takes longer counts as one that fails, until it answers."""
FIRST_RETRY_S: Final = 1.0
FLUSH_S: Final = 3.0
"""How long an end waits for what is left to be committed, and for the file to be closed."""
CLOSE_S: Final = 0.5
"""How long it waits for a file on a disk that fails to be closed."""
HEARD_INTERVAL_S: Final = 30.0
"""How often it is noted until when sources were heard, if nothing else is written."""


class DurableOutbox:
    """An outbox in a folder, open inside `async with`; as `Outbox` describes.

    Raises:
        StateError: on entering, if another process has the folder. Nothing else keeps it from
            beginning: whatever cannot be stored waits in memory. A disk that does not answer is
            waited for as long as it takes, but on entering only for some seconds: what lies there
            joins in when it is read, and until then sequence numbers begin anew.
    """

    def __init__(
        self,
        folder: Path,
        capacity: int,
        capacity_bytes: int,
        *,
        boot: str | None = None,
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        self.listener: OutboxListener = NoListener()
        self._folder = folder
        self._store = Store(folder, capacity, capacity_bytes, boot or boot_id(), self._notify)
        self._notices: list[tuple[str, dict[str, str | int]]] = []  # written by the thread
        self._contents = OutboxContents(capacity, capacity_bytes)
        self._disk = DiskHealth(first_retry_s)
        self._wake = asyncio.Event()
        self._closing = False
        self._heard_due_at = -math.inf

    async def __aenter__(self) -> Self:
        self._thread = DiskThread("outbox")
        opening = asyncio.create_task(self._open(), name="outbox opens")
        try:
            await asyncio.wait({opening}, timeout=SLOW_S)
            if opening.done():
                opening.result()
            else:
                self._contents.go_on_from(Watermark(PROVISIONAL))
        except BaseException:
            opening.cancel()
            self._thread.close()
            raise
        self._keeping = asyncio.create_task(self._keep(opening), name="outbox")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit what is left, unless the disk fails."""
        self._closing = True
        self._wake.set()
        await asyncio.wait({self._keeping}, timeout=FLUSH_S)
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        if self.unstored:
            log.error("stopped with events that could not be stored: they are lost",
                      events=self.unstored, error=self._disk.error)  # fmt: skip
        closed = self._thread.submit(self._store.close)
        await asyncio.wait({closed}, timeout=CLOSE_S if self._disk.error else FLUSH_S)
        self._thread.close()
        if not self._keeping.cancelled():
            self._keeping.result()  # an error here is one of this program

    # -- what a publisher sees: `Outbox` -----------------------------------------------------------

    def __len__(self) -> int:
        return len(self._contents)

    @property
    def dropped(self) -> int:
        return self._contents.dropped

    @property
    def rejected(self) -> int:
        return self._contents.rejected

    @property
    def unstored(self) -> int:
        """Events and gaps that a killed process would lose."""
        return len(self._contents.unsaved)

    @property
    def previous_run(self) -> PreviousRun:
        return self._contents.previous_run

    def stats(self) -> DeliveryStats:
        return DeliveryStats(
            queued_events=len(self),
            dropped_events=self.dropped,
            rejected_events=self.rejected,
            dead_letters=self._contents.dead_letters,
            lost_events=self._contents.lost,
            unstored_events=self.unstored,
            storage=self._disk.error or "ok",
        )

    def sequence(self, source: str) -> int:
        return self._contents.sequences.get(source, 0)

    def put(self, message: EventMessage | GapMessage, now: float) -> None:
        for _ in range(self._contents.put(message, now)):
            self.listener.outbox_dropped()
        self._wake.set()
        if self._disk.state is not DiskState.WORKING:
            self.listener.outbox_changed()

    def set_heard_until(self, source: str, until: datetime) -> None:
        self._contents.heard_until[source] = until.timestamp()
        self._contents.heard_written = False
        if asyncio.get_running_loop().time() >= self._heard_due_at:
            self._wake.set()

    def oldest(self, besides: Container[object] = ()) -> OutboxEntry | None:
        entry = self._contents.oldest(besides, self._disk.state)
        if entry is None and self._to_be_loaded:
            self._wake.set()
        return entry

    def remove(self, ticket: int) -> None:
        self._contents.remove(ticket)
        self._wake.set()

    def reject(self, entry: OutboxEntry, topic: str, reason: str) -> None:
        letter = DeadLetter(entry.ticket, topic, reason, utc_now(), entry.message.body)
        if self._contents.reject(letter):
            log.error("too many dead letters that cannot be stored: the oldest are deleted",
                      most=DEAD_AT_ONCE)  # fmt: skip
        self._wake.set()

    @property
    def retained_topics(self) -> Collection[str]:
        return self._contents.retained_topics.values.keys()

    def add_retained_topic(self, topic: str) -> None:
        if self._contents.retained_topics.put(topic):
            self._wake.set()

    def discard_retained_topic(self, topic: str) -> None:
        if self._contents.retained_topics.discard(topic):
            self._wake.set()

    # -- the task that has things committed and read -----------------------------------------------

    @property
    def _to_be_loaded(self) -> bool:
        return self._contents.more_stored and self._disk.state is not DiskState.NOT_READABLE

    @property
    def _to_be_committed(self) -> bool:
        """Something has changed, or a disk that failed is to be tried."""
        return self._contents.changed or (self._disk.error is not None and self._contents.opened)

    @property
    def _heard_due(self) -> bool:
        now = asyncio.get_running_loop().time()
        return not self._contents.heard_written and (self._closing or now >= self._heard_due_at)

    async def _keep(self, opening: "asyncio.Task[None]") -> None:
        with self._unless_taken():
            await opening
        while True:
            await self._awake()
            if self._to_be_loaded and len(self._contents.ready) < READY // 2:
                await self._load()
            retry_at = self._disk.retry_at or -math.inf
            if retry_at > asyncio.get_running_loop().time() and not self._closing:
                continue
            if not self._contents.opened:
                with self._unless_taken():
                    await self._open()
            elif self._to_be_committed:
                await self._commit()
            elif self._heard_due:
                await self._write_watermark()
            if self._closing and (self._disk.error or not self._to_be_committed):
                return

    @contextlib.contextmanager
    def _unless_taken(self) -> Iterator[None]:
        """By the time the disk answers, another process may have the folder."""
        try:
            yield
        except StoreTakenError as error:
            if self._disk.error != f"{error}":
                log.error(  # noqa: TRY400 - a traceback would tell nothing
                    "the state directory is another detector's by now", error=f"{error}"
                )
            self._fail(f"{error}")

    def _notify(self, message: str, fields: dict[str, str | int]) -> None:
        self._notices.append((message, fields))

    async def _awake(self) -> None:
        """Wait until there is something to do, or until the disk is to be tried again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._disk.retry_at):
                await self._wake.wait()
        self._wake.clear()

    async def _open(self) -> None:
        """Raises: StoreTakenError."""
        try:
            stored = await self._in_thread(self._store.open)
        except StoreTakenError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            self._fail(f"{error}")
            watermark = await self._in_thread(self._store.read_watermark)
            self._contents.go_on_from(replace(watermark, ticket=PROVISIONAL))
            self.listener.outbox_changed()
        else:
            self._contents.load_state(stored)
            self._say_what_is_left(stored)
            self._wake.set()
            self.listener.outbox_loaded()

    def _say_what_is_left(self, stored: StoredState) -> None:
        if stored.counts.waiting or stored.counts.dead:
            log.info("events are left from before", waiting=stored.counts.waiting,
                     dead_letters=stored.counts.dead)  # fmt: skip
        if stored.lost:
            log.error("events were lost with the last run: they are not on the disk",
                 events=stored.lost)  # fmt: skip

    async def _commit(self) -> None:
        changes = self._contents.changes()
        self._heard_noted()
        try:
            applied = await self._in_thread(self._store.apply, changes)
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            self._contents.not_written()
            self._fail(f"{error}")
        else:
            self._contents.written(changes, applied)
            if self._disk.works():
                log.info("events are stored again", folder=str(self._folder))
            if applied.dropped:
                self.listener.outbox_dropped()
            if self._contents.changed:
                self._wake.set()
        finally:
            self._contents.not_written()
        self.listener.outbox_changed()

    async def _write_watermark(self) -> None:
        self._contents.heard_written = True
        self._heard_noted()
        await self._in_thread(self._store.write_watermark, self._contents.watermark)

    def _heard_noted(self) -> None:
        self._heard_due_at = asyncio.get_running_loop().time() + HEARD_INTERVAL_S

    async def _load(self) -> None:
        """Have the next ones in memory, before they are wanted."""
        try:
            loaded = await self._in_thread(self._store.read, *self._contents.to_load)
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            self._fail(f"{error}", readable=False)
        else:
            self._contents.load(loaded)
        self.listener.outbox_changed()

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        done = self._thread.submit(partial(work, *arguments))
        try:
            if not (await asyncio.wait({done}, timeout=SLOW_S))[0]:
                # The thread can read nothing before this is done, whatever it is.
                self._fail(f"{self._folder}: the disk does not answer", readable=False)
                self.listener.outbox_changed()
            return await done
        finally:
            for message, fields in self._notices:
                log.error(message, **fields)
            self._notices.clear()

    def _fail(self, error: str, *, readable: bool = True) -> None:
        if self._disk.failed(error, asyncio.get_running_loop().time(), readable=readable):
            log.error("events cannot be stored: they wait in memory, and are lost if the "
                 "detector is killed", error=error)  # fmt: skip


def boot_id() -> str:
    """Another one after each start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())
