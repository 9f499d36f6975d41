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
from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import structlog

from detector.publish.messages import EventMessage, GapMessage
from detector.publish.outbox.batches import Applied, Batch, Begun, Counts, DeadLetter
from detector.publish.outbox.database import StoreTakenError
from detector.publish.outbox.disk_thread import DiskThread
from detector.publish.outbox.outbox import Letter, Shelf, Waiting
from detector.publish.outbox.store import Store, now
from detector.publish.outbox.watermark import Watermark
from detector.stats import DeliveryStats

log = structlog.get_logger()

T = TypeVar("T")

_WINDOW: Final = 1024
"""How many are held in memory, ready to be sent."""
_AT_ONCE: Final = 1000
"""At most so many are added in one transaction."""
_DEAD_AT_ONCE: Final = 1000
_SLOW_S: Final = 5.0
"""A disk that takes longer counts as one that fails, until it answers."""
_FIRST_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 30.0
_FLUSH_S: Final = 3.0
_CLOSE_S: Final = 0.5
_PROVISIONAL: Final = 2**62
"""Tickets given out before it is known which are taken."""


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
        first_retry_s: float = _FIRST_RETRY_S,
    ) -> None:
        self._bounds = capacity, capacity_bytes
        self._folder = folder
        self._store = Store(folder, capacity, capacity_bytes, boot or boot_id(), self._note)
        self._notes: list[tuple[str, dict[str, str | int]]] = []  # written by the thread
        self._first_retry_s = first_retry_s
        self._retry_s, self._retry_at = first_retry_s, -math.inf
        self._wake = asyncio.Event()
        self._closing = False
        self._begun = False
        self.on_change: Callable[[], None] = lambda: None
        self.on_drop: Callable[[], None] = lambda: None
        self.on_begun: Callable[[], None] = lambda: None

        self._unsaved = Shelf(capacity, capacity_bytes)
        self._unsaved_dropped = self._unsaved_rejected = 0  # not in the file's counters
        self._ready: OrderedDict[int, Waiting] = OrderedDict()
        # The newest ticket that was ready at some time; in a damaged file they can be anything.
        self._loaded_to = -(2**63)
        self._saving: Collection[int] = ()  # what is being committed
        self._gone_meanwhile: set[int] = set()  # of those, what is to be removed again
        self._removed: set[int] = set()  # from the file, when it is next committed
        self._dead: OrderedDict[int, DeadLetter] = OrderedDict()
        self._counts = Counts()
        self._told: set[str] = set()
        self._new_told: dict[str, bool] = {}  # False: to be forgotten
        self._lost = 0
        self._last_ticket = 0
        self._sequences: dict[str, int] = {}
        self._failure: str | None = None
        self._unreadable = False
        # What was put in before the file could be read had these tickets, and then got others.
        self._provisional_to, self._taken_up_at = 0, 0

    async def __aenter__(self) -> Self:
        self._thread = DiskThread("outbox")
        beginning = asyncio.create_task(self._begin(), name="outbox begins")
        try:
            await asyncio.wait({beginning}, timeout=_SLOW_S)
            if beginning.done():
                beginning.result()
            else:
                self._go_on_from(Watermark(_PROVISIONAL))
        except BaseException:
            beginning.cancel()
            self._thread.close()
            raise
        self._keeping = asyncio.create_task(self._keep(beginning), name="outbox")
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
        await asyncio.wait({self._keeping}, timeout=_FLUSH_S)
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        if self._unsaved:
            log.error("stopped with events that could not be stored: they are lost",
                      events=len(self._unsaved), error=self._failure)  # fmt: skip
        closed = self._thread.submit(self._store.close)
        await asyncio.wait({closed}, timeout=_CLOSE_S if self._failure else _FLUSH_S)
        self._thread.close()
        if not self._keeping.cancelled():
            self._keeping.result()  # an error here is one of this program

    # -- what a publisher sees: `Outbox` -----------------------------------------------------------

    def __len__(self) -> int:
        return max(0, self._counts.waiting - len(self._removed)) + len(self._unsaved)

    @property
    def dropped(self) -> int:
        return self._counts.dropped + self._unsaved_dropped

    @property
    def rejected(self) -> int:
        return self._counts.rejected + len(self._dead) + self._unsaved_rejected

    def stats(self) -> DeliveryStats:
        return DeliveryStats(
            queued_events=len(self),
            dropped_events=self.dropped,
            rejected_events=self.rejected,
            dead_letters=self._counts.dead + len(self._dead),
            lost_events=self._counts.lost + self._lost,  # as the watermark shows
            unstored_events=self.unstored,
            storage=self._failure or "ok",
        )

    @property
    def unstored(self) -> int:
        """Events and gaps that a killed process would lose."""
        return len(self._unsaved)

    def sequence(self, source: str) -> int:
        return self._sequences.get(source, 0)

    def put(self, message: EventMessage | GapMessage, now: float) -> None:
        letter = Letter.of(message)
        self._last_ticket += 1
        if letter.sequence:
            self._sequences[letter.source] = letter.sequence
        self._unsaved.put(Waiting(self._last_ticket, letter, now))
        while (excess := self._unsaved.excess) is not None:
            self.remove(excess.ticket)
            self._unsaved_dropped += 1
            self.on_drop()
        self._wake.set()
        if self._failure:
            self.on_change()

    def oldest(self, besides: Container[object] = ()) -> Waiting | None:
        # Those on their way are few, and the oldest.
        for ticket, waiting in self._ready.items():
            if ticket not in besides:
                return waiting
        if self._more_stored and not self._unreadable:
            self._wake.set()
            return None
        if self._failure:
            return self._unsaved.oldest(besides)
        return None

    def remove(self, ticket: int) -> None:
        ticket = self._final(ticket)
        if self._unsaved.pop(ticket) is not None:
            if ticket in self._saving:
                self._gone_meanwhile.add(ticket)
        else:
            self._ready.pop(ticket, None)
            self._removed.add(ticket)
        self._wake.set()

    def reject(self, waiting: Waiting, topic: str, reason: str) -> None:
        ticket = self._final(waiting.ticket)
        self._dead[ticket] = DeadLetter(ticket, topic, reason, now(), waiting.letter.body)
        while len(self._dead) > _DEAD_AT_ONCE:
            if not self._unsaved_rejected:
                log.error("too many dead letters that cannot be stored: the oldest are deleted",
                          most=_DEAD_AT_ONCE)  # fmt: skip
            self._dead.popitem(last=False)
            self._unsaved_rejected += 1
        self.remove(ticket)

    @property
    def told(self) -> Collection[str]:
        return self._told

    def remember(self, topic: str) -> None:
        if topic not in self._told:
            self._told.add(topic)
            self._new_told[topic] = True
            self._wake.set()

    def forget(self, topic: str) -> None:
        if topic in self._told:
            self._told.discard(topic)
            self._new_told[topic] = False
            self._wake.set()

    # -- the task that has things committed and read -----------------------------------------------

    @property
    def _more_stored(self) -> bool:
        return self._begun and self._loaded_to < self._counts.newest

    async def _keep(self, beginning: "asyncio.Task[None]") -> None:
        with self._unless_taken():
            await beginning
        while True:
            await self._awake()
            if self._more_stored and len(self._ready) < _WINDOW // 2 and not self._unreadable:
                await self._load()
            if self._retry_at > asyncio.get_running_loop().time() and not self._closing:
                continue
            if not self._begun:
                with self._unless_taken():
                    await self._begin()
            elif (batch := self._batch()) is not None:
                await self._commit(batch)
            if self._closing and (self._failure or self._batch() is None):
                return

    @contextlib.contextmanager
    def _unless_taken(self) -> Iterator[None]:
        """By the time the disk answers, another process may have the folder."""
        try:
            yield
        except StoreTakenError as error:
            if self._failure != f"{error}":
                log.error(  # noqa: TRY400 - a traceback would tell nothing
                    "the state directory is another detector's by now", error=f"{error}"
                )
            self._fail(f"{error}")

    def _note(self, message: str, fields: dict[str, str | int]) -> None:
        self._notes.append((message, fields))

    async def _awake(self) -> None:
        """Wait until there is something to do, or until the disk is to be tried again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._retry_at if self._failure else None):
                await self._wake.wait()
        self._wake.clear()

    async def _begin(self) -> None:
        """Raises: StoreTakenError."""
        try:
            begun = await self._in_thread(self._store.begin)
        except StoreTakenError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            self._fail(f"{error}")
            # It can be read where nothing can be written.
            watermark = await self._in_thread(Watermark.read, self._folder / "watermark")
            self._go_on_from(replace(watermark, ticket=_PROVISIONAL))
            self.on_change()
        else:
            self._take_up(begun)

    def _take_up(self, begun: Begun) -> None:
        """Go on where an earlier life ended."""
        self._begun = True
        self._counts = begun.counts
        self._told |= set(begun.told)
        self._lost = begun.lost
        # What came before the file could be read is newer than all that is in it. Of these, what
        # is on its way now is sent twice.
        self._provisional_to, self._taken_up_at = self._last_ticket, begun.watermark.ticket
        self._last_ticket = self._final(self._last_ticket)
        self._go_on_from(begun.watermark)
        unsaved, self._unsaved = self._unsaved, Shelf(*self._bounds)
        for waiting in unsaved:
            self._unsaved.put(replace(waiting, ticket=self._final(waiting.ticket)))
        dead = (replace(x, ticket=self._final(x.ticket)) for x in self._dead.values())
        self._dead = OrderedDict((letter.ticket, letter) for letter in dead)
        self._removed = {self._final(ticket) for ticket in self._removed}
        if begun.counts.waiting or begun.counts.dead:
            log.info("events are left from before", waiting=begun.counts.waiting,
                     dead_letters=begun.counts.dead)  # fmt: skip
        if begun.lost:
            log.error("events were lost with the last run: they are not on the disk",
                 events=begun.lost)  # fmt: skip
        self._wake.set()
        self.on_begun()

    def _go_on_from(self, watermark: Watermark) -> None:
        self._last_ticket = max(self._last_ticket, watermark.ticket)
        for source, last in watermark.sequences.items():
            self._sequences[source] = max(last, self._sequences.get(source, 0))

    def _final(self, ticket: int) -> int:
        """The ticket in the file of what came before the file could be read."""
        if _PROVISIONAL <= ticket <= self._provisional_to:
            return ticket - _PROVISIONAL + self._taken_up_at
        return ticket

    def _batch(self) -> Batch | None:
        """What has changed since the last one; after a failure at least a trial of the disk."""
        changed = (
            *(self._unsaved, self._removed, self._dead, self._new_told, self._lost),
            *(self._unsaved_dropped, self._unsaved_rejected),
        )
        if not any(changed) and not (self._failure and self._begun):
            return None
        return Batch(
            added=list(islice(self._unsaved, _AT_ONCE)),
            removed=list(self._removed),
            dead=list(self._dead.values()),
            told=[topic for topic, told in self._new_told.items() if told],
            untold=[topic for topic, told in self._new_told.items() if not told],
            dropped=self._unsaved_dropped,
            rejected=self._unsaved_rejected,
            lost=self._lost,
            unstored=len(self._unsaved),
            watermark=Watermark(self._last_ticket, dict(self._sequences)),
        )

    async def _commit(self, batch: Batch) -> None:
        self._saving = {waiting.ticket for waiting in batch.added}
        try:
            applied = await self._in_thread(self._store.apply, batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            self._gone_meanwhile.clear()
            self._fail(f"{error}")
        else:
            self._committed(batch, applied)
        finally:
            self._saving = ()
        self.on_change()

    def _committed(self, batch: Batch, applied: Applied) -> None:
        in_order = not self._more_stored
        self._counts = applied.counts
        self._removed.difference_update(batch.removed)
        self._removed |= self._gone_meanwhile
        # Some had been delivered, refused or dropped meanwhile, and so are counted.
        counted = self._removed & set(applied.dropped)
        self._removed -= counted
        self._unsaved_dropped -= batch.dropped + len(counted)
        self._unsaved_rejected -= batch.rejected
        self._lost -= batch.lost
        self._gone_meanwhile.clear()
        self._make_ready(batch.added, in_order=in_order)
        for ticket in applied.dropped:
            self._ready.pop(ticket, None)
        for letter in batch.dead:
            if self._dead.pop(letter.ticket, None) is None:
                self._unsaved_rejected -= 1  # deleted meanwhile, and counted twice
        for topic in (*batch.told, *batch.untold):
            if self._new_told.get(topic) is (topic in batch.told):
                del self._new_told[topic]
        if applied.dropped:
            self.on_drop()
        if self._failure:
            log.info("events are stored again", folder=str(self._folder))
        self._failure, self._unreadable = None, False
        self._retry_s, self._retry_at = self._first_retry_s, -math.inf
        if self._batch() is not None:
            self._wake.set()

    def _make_ready(self, added: Sequence[Waiting], *, in_order: bool) -> None:
        """What is stored may be sent, unless older ones have yet to be read."""
        for waiting in added:
            if self._unsaved.pop(waiting.ticket) is None:
                continue  # not wanted any more
            if in_order and len(self._ready) < _WINDOW:
                self._ready[waiting.ticket] = waiting
                self._loaded_to = waiting.ticket
            else:
                in_order = False

    async def _load(self) -> None:
        """Have the next ones in memory, before they are wanted."""
        try:
            loaded = await self._in_thread(
                self._store.read, self._loaded_to, _WINDOW - len(self._ready)
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, events must go on
            self._unreadable = True
            self._fail(f"{error}")
        else:
            self._counts = loaded.counts
            for waiting in loaded.waiting:
                self._loaded_to = waiting.ticket
                if waiting.ticket not in self._removed:
                    self._ready[waiting.ticket] = waiting
            if not loaded.waiting:
                self._loaded_to = max(self._loaded_to, loaded.counts.newest)
        self.on_change()

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        done = self._thread.submit(partial(work, *arguments))
        try:
            if not (await asyncio.wait({done}, timeout=_SLOW_S))[0]:
                self._fail(f"{self._folder}: the disk does not answer")
                self.on_change()
            return await done
        finally:
            for message, fields in self._notes:
                log.error(message, **fields)
            self._notes.clear()

    def _fail(self, reason: str) -> None:
        before, self._failure = self._failure, reason
        self._retry_at = asyncio.get_running_loop().time() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LONGEST_RETRY_S)
        if before is None:
            log.error("events cannot be stored: they wait in memory, and are lost if the "
                 "detector is killed", error=reason)  # fmt: skip


def boot_id() -> str:
    """Another one after each start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())
