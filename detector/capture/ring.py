"""The last seconds of a source: one writer, several readers, each at its own pace.

The writer never waits. A reader that is too slow finds a gap where samples were overwritten, and
counts them. All of it belongs to the thread of the event loop.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakSet

import numpy as np

from detector.notice import Notice
from detector.records import AudioBlock, Cut, FloatArray, Gap, to_samples

RING_S: Final = 11.0
"""How much sound is kept. More than the ten seconds that a capture program keeps while nobody reads
it, or `Timeline` while it is in doubt: that much can come at once."""


@dataclass(slots=True)
class _Run:
    """Consecutive samples that are still in the buffer."""

    first_sample: int
    end_sample: int
    stored: int
    """How many samples had been stored, ever, before the first of these."""

    def __len__(self) -> int:
        return self.end_sample - self.first_sample


class RingBuffer:
    """Holds the last `capacity_samples` samples, the gaps between them, and where they were cut.

    Samples are addressed by their absolute index, and are kept as they came: float32, 4 bytes each.
    A gap takes no room, however long it is. Where less is to be kept than it can hold, it takes
    memory for more only when a reader is late.
    """

    _MAX_PIECES: Final = 1024
    """Runs and gaps that are kept: a bound for a source that stutters without end."""

    def __init__(
        self, capacity_samples: int = to_samples(RING_S), keep_samples: int | None = None
    ) -> None:
        """Set up.

        Args:
            capacity_samples: how much can wait for a reader.
            keep_samples: how much is kept in any case, read or not; all that it holds if None.
        """
        if capacity_samples < 1:
            raise ValueError(f"a ring buffer of {capacity_samples} samples holds nothing")
        self._capacity = capacity_samples
        kept = min(keep_samples or capacity_samples, capacity_samples)
        self._buffer: FloatArray = np.zeros(kept, np.float32)
        self._readers: WeakSet[Reader] = WeakSet()
        self._pieces: deque[_Run | Gap] = deque()
        self._cuts: deque[int] = deque(maxlen=self._MAX_PIECES)
        self._stored = 0
        self._begin: int | None = None
        self._end = 0
        self._closed = False
        self._changed = Notice()

    @property
    def begin_sample(self) -> int | None:
        """Where the first item ever began; None before it."""
        return self._begin

    @property
    def oldest_sample(self) -> int:
        """Where what is kept begins: samples and gaps before it are lost."""
        return self._pieces[0].first_sample if self._pieces else self._end

    @property
    def end_sample(self) -> int:
        """Where the last item ended; 0 before the first."""
        return self._end

    @property
    def samples_heard(self) -> int:
        """How many samples of sound were written, gaps not counted."""
        return self._stored

    @property
    def closed(self) -> bool:
        return self._closed

    def write(self, item: AudioBlock | Gap | Cut) -> None:
        """Append what comes next; what is oldest is overwritten.

        A cut where nothing was heard since the last cut or gap is left out.

        Raises:
            ValueError: the item does not begin where the last one ended, or the ring is closed.
        """
        if self._closed:
            raise ValueError("the ring buffer is closed")
        first_sample = item.end_sample if isinstance(item, Cut) else item.first_sample
        if self._begin is not None and first_sample != self._end:
            raise ValueError(f"sample {self._end} comes next, not {first_sample}")
        if isinstance(item, Cut):
            self._cut()
            return
        if item.end_sample <= item.first_sample:
            return
        if self._begin is None:
            self._begin = item.first_sample
        if isinstance(item, Gap):
            self._pieces.append(item)
        else:
            self._make_room(len(item.samples))
            self._store(item)
            self._forget()
            while self._cuts and self._cuts[0] < self._pieces[0].first_sample:
                self._cuts.popleft()
        while len(self._pieces) > self._MAX_PIECES:
            self._pieces.popleft()
        self._end = item.end_sample
        self._changed.give()

    def close(self) -> None:
        """Nothing more will come: readers read what is left and see the end."""
        self._closed = True
        self._changed.give()

    def reader(self) -> "Reader":
        """A reader of what is written from now on."""
        reader = Reader(self)
        self._readers.add(reader)
        return reader

    def read(self, first_sample: int, max_samples: int) -> AudioBlock | Gap:
        """The block of at most `max_samples` samples that begins there, or the rest of a gap.

        A block ends at a cut as well. The samples are a copy.

        Raises:
            ValueError: nothing is kept of that sample, or it has not come yet.
        """
        if not self.oldest_sample <= first_sample < self._end:
            raise ValueError(
                f"sample {first_sample} is not kept, only {self.oldest_sample} to {self._end}"
            )
        after = bisect_right(self._pieces, first_sample, key=lambda piece: piece.first_sample)
        piece = self._pieces[after - 1]
        if isinstance(piece, Gap):
            return replace(piece, first_sample=first_sample, length=piece.end_sample - first_sample)
        length = min(max_samples, piece.end_sample - first_sample)
        return AudioBlock(first_sample, self._copy(piece, first_sample, length))

    def sound_since(self, sample: int) -> int:
        """How many of the samples that are kept come at or after that index, gaps not counted."""
        for piece in self._pieces:
            if isinstance(piece, _Run) and piece.end_sample > sample:
                return self._stored - piece.stored - max(0, sample - piece.first_sample)
        return 0

    def is_cut(self, sample: int) -> bool:
        """Whether the sound was interrupted just before that sample."""
        return sample in self._cuts

    def is_cut_after(self, sample: int) -> bool:
        """Whether the sound was interrupted anywhere behind that sample."""
        return bool(self._cuts) and self._cuts[-1] > sample

    async def changed(self) -> None:
        """Return after the next write, or when the ring is closed."""
        await self._changed.wait()

    def _cut(self) -> None:
        if self._pieces and isinstance(self._pieces[-1], _Run) and not self._ends_in_cut():
            self._cuts.append(self._end)
            self._changed.give()

    def _ends_in_cut(self) -> bool:
        return bool(self._cuts) and self._cuts[-1] == self._end

    def _make_room(self, length: int) -> None:
        """Take more memory, as far as is allowed, if a reader would lose samples."""
        unread = max((reader.pending_sound for reader in self._readers), default=0)
        needed = min(self._capacity, unread + length)
        before = len(self._buffer)
        if needed <= before:
            return
        larger = np.zeros(min(self._capacity, max(needed, 2 * before)), np.float32)
        kept = np.arange(max(0, self._stored - before), self._stored)
        larger[kept % len(larger)] = self._buffer[kept % before]
        self._buffer = larger

    def _store(self, block: AudioBlock) -> None:
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, _Run) and not self._ends_in_cut():
            last.end_sample = block.end_sample
        else:
            self._pieces.append(_Run(block.first_sample, block.end_sample, self._stored))
        capacity = len(self._buffer)
        self._stored += len(block.samples)
        kept = block.samples[-capacity:]
        place = (self._stored - len(kept)) % capacity
        until_edge = min(len(kept), capacity - place)
        self._buffer[place : place + until_edge] = kept[:until_edge]
        self._buffer[: len(kept) - until_edge] = kept[until_edge:]

    def _forget(self) -> None:
        """Let go of the pieces, and parts of them, that are overwritten."""
        overwritten = self._stored - len(self._buffer)
        while True:
            oldest = next((piece for piece in self._pieces if isinstance(piece, _Run)), None)
            lost = 0 if oldest is None else overwritten - oldest.stored
            if oldest is None or lost <= 0:
                break
            while self._pieces[0] is not oldest:
                self._pieces.popleft()  # a gap before what is overwritten
            if lost < len(oldest):
                oldest.first_sample += lost
                oldest.stored += lost
                break
            self._pieces.popleft()

    def _copy(self, run: _Run, first_sample: int, length: int) -> FloatArray:
        capacity = len(self._buffer)
        place = (run.stored + first_sample - run.first_sample) % capacity
        until_edge = min(length, capacity - place)
        return np.concatenate(
            (self._buffer[place : place + until_edge], self._buffer[: length - until_edge])
        )


class Reader:
    """Reads a ring buffer in order: blocks, gaps and cuts of the source, what was overwritten."""

    def __init__(self, ring: RingBuffer) -> None:
        self._ring = ring
        self._next = None if ring.begin_sample is None else ring.end_sample
        """None as long as nothing was written: nobody knows where that will begin."""
        self._cut_at = self._next
        """Where it was last cut off: what was read ends here anyway."""
        self.overrun_samples = 0
        """How many samples were overwritten before they were read, ever."""

    @property
    def pending_samples(self) -> int:
        """How far the reader is behind the writer."""
        return self._ring.end_sample - self.position

    @property
    def pending_sound(self) -> int:
        """How many samples wait for it, gaps not counted."""
        return self._ring.sound_since(self.position)

    @property
    def closed(self) -> bool:
        """Nothing more will come and everything has been read."""
        return self._ring.closed and not self._pending

    def read(self, max_samples: int) -> AudioBlock | Gap | Cut | None:
        """The next block of at most `max_samples` samples, or the next gap, whole, or the next cut.

        Returns:
            None if there is nothing to read at present; see `closed` for the end.
        """
        if max_samples < 1:
            raise ValueError(f"max_samples = {max_samples}: at least one")
        position = self.position
        if not self._pending:
            return None
        item: AudioBlock | Gap
        oldest = self._ring.oldest_sample
        if position < oldest:
            self.overrun_samples += oldest - position
            self._cut_at = oldest
            item = Gap(position, oldest - position, "overrun")
        elif self._is_cut(position):
            self._cut_at = position
            return Cut(position)
        else:
            item = self._ring.read(position, max_samples)
        self._next = item.end_sample
        return item

    async def wait(self, samples: int = 1) -> None:
        """Return as soon as there are so many samples of sound to read, or something else.

        That is a gap or a cut that comes before so many, or the end, after which nothing more does.
        """
        while not (self._ring.closed or self.pending_sound >= samples or self._interrupted):
            await self._ring.changed()

    @property
    def _interrupted(self) -> bool:
        """Whether there is a gap or a cut in, before or behind the sound that is to be read."""
        position = self.position
        if self._ring.is_cut_after(position) or self._is_cut(position):
            return True
        return self.pending_samples > self.pending_sound

    @property
    def _pending(self) -> bool:
        """Whether there is something to read."""
        return self.pending_samples > 0 or self._is_cut(self.position)

    def _is_cut(self, position: int) -> bool:
        return position != self._cut_at and self._ring.is_cut(position)

    @property
    def position(self) -> int:
        """The sample that is read next."""
        if self._next is None:
            self._next = self._ring.begin_sample
        return self._ring.end_sample if self._next is None else self._next
