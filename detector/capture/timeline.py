"""The blocks of one device stream after another become one unbroken line of samples.

Every sample of a source has one index for ever, and the clock turns an index into a time. So
whatever was not heard must take as many indices as it lasted. Three things are known of a block:
its index in the device's stream, which jumps where the microphone program dropped samples; when
it was captured; and, from the clock, when it should have been.

A block that comes late may be one of a backlog that catches up, or the first after a loss. Only
what follows can tell, so late blocks are kept pending until it is plain: either they are on time
again, or they stay late by the same amount, and that is what was lost.

While nothing comes, nobody knows how much is lost. The sound is cut where it stops, so that nobody
waits for an end that may never come; the gap follows once it is known, if there is one.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from detector.capture.clock import SampleClock
from detector.capture.conversion import Conversion
from detector.capture.framing import FramingError, Header, Kind
from detector.records import AudioBlock, Cut, FloatArray, Gap, GapReason, to_samples

STALL_S: Final = 2.0
"""A device that is silent for longer has stalled. What it then delivers in one burst is not
believed: nobody can say when it was heard, or whether the sound server made it up."""


class _PendingBlock(NamedTuple):
    header: Header
    samples: FloatArray
    late: float
    """Samples, at the analysis rate."""
    in_burst: bool
    """It came faster after the one before it than the device can hear."""


class Timeline:
    """Mono blocks of a source in, `AudioBlock`, `Gap` and `Cut` without holes out. No I/O."""

    _LATE: Final = to_samples(0.15)
    """As a rule a busy machine does not make a block that late."""
    _ON_TIME: Final = to_samples(0.05)
    _NO_LOSS: Final = to_samples(0.01)
    """Less is jitter; the clock follows it."""
    _BURST: Final = 0.5
    """Parts of a block's own length: one that comes sooner was not heard just now."""
    _SETTLED_S: Final = 0.5
    """For how long the lateness must not have fallen."""
    _MAX_PENDING_S: Final = 10.0

    def __init__(self, clock: SampleClock) -> None:
        self._clock = clock
        self._end = 0
        self._conversion: Conversion | None = None
        self._pending: list[_PendingBlock] = []
        self._pending_reason: GapReason | None = None
        """What the pending blocks may be the sign of; None while all is well."""
        self._stalled = False
        self._captured_s = math.inf
        """When the last block of this stream was captured, on the boottime clock."""

    @property
    def end_sample(self) -> int:
        """Where what was returned so far ends."""
        return self._end

    def begin(self, rate: int) -> None:
        """A new stream of the device comes, at `rate` Hz. The last one must have been finished.

        Raises:
            SourceError: the rate is not supported.
        """
        self._conversion = Conversion(rate, 0, self._end)
        self._captured_s = math.inf
        self._stalled = False
        self._pending_reason = "restart" if self._clock.started else None

    def push(self, header: Header, samples: FloatArray) -> Iterator[AudioBlock | Gap]:
        """Take a block of (header.size,) samples, return what is certain by now.

        Raises:
            FramingError: the block overlaps the one before it, or no stream was begun.
        """
        stream = self._stream()
        captured_s = header.captured_ns / 1e9
        end = stream.sample_of(header.first_sample + header.size)
        if not self._clock.started:
            self._clock.observe(end, captured_s)
        late = self._clock.sample_at(captured_s) - end
        silent_s = captured_s - self._captured_s
        self._captured_s = captured_s
        self._look_for_loss(header, late, silent_s)
        if self._pending_reason is None:
            yield from self._deliver(header, samples)
            return
        in_burst = silent_s < self._BURST * header.size / stream.rate or silent_s > STALL_S
        self._pending.append(_PendingBlock(header, samples, late, in_burst))
        if self._is_on_time() or self._is_settled(stream.rate):
            yield from self._release()

    def pause(self) -> Iterator[AudioBlock | Gap | Cut]:
        """Nothing comes at present: return all that was captured, and that the sound stops there.

        Blocks may still follow. If they tell of no loss, the sound goes on where it was cut.
        """
        if self._conversion is None:
            return
        if self._pending:
            yield from self._release()
        yield from self._take(self._stream().finish())
        self._conversion = Conversion(self._stream().rate, self._stream().next_frame, self._end)
        yield Cut(self._end)

    def finish(self) -> Iterator[AudioBlock | Gap | Cut]:
        """The stream has ended: return the rest of it, and that the sound stops there."""
        yield from self.pause()
        self._conversion = None

    def _stream(self) -> Conversion:
        if self._conversion is None:
            raise FramingError("audio before the format of the stream")
        return self._conversion

    def _look_for_loss(self, header: Header, late: float, silent_s: float) -> None:
        """Decide whether blocks are kept pending from this one on."""
        if silent_s > STALL_S:
            self._stalled = True
            self._pending_reason = self._pending_reason or "stall"
        elif header.kind is Kind.AUDIO_AFTER_OVERFLOW:
            self._pending_reason = self._pending_reason or "overflow"
        elif late > self._LATE:
            self._pending_reason = self._pending_reason or "stall"

    def _is_on_time(self) -> bool:
        """A backlog has caught up: there was no loss."""
        late = self._pending[-1].late
        return self._pending_reason == "stall" and not self._stalled and late < self._ON_TIME

    def _is_settled(self, rate: int) -> bool:
        """Blocks come at the device's pace, and have not become less late for a while."""
        newest, least = self._pending[-1].header, self._pending[self._least_late()].header
        pending_s = (newest.first_sample - self._pending[0].header.first_sample) / rate
        settled_s = (newest.captured_ns - least.captured_ns) / 1e9
        return settled_s >= self._SETTLED_S or pending_s > self._MAX_PENDING_S

    def _least_late(self) -> int:
        """Which pending block is the first that is as little late as any, but for jitter."""
        least = min(block.late for block in self._pending)
        return next(
            i for i, block in enumerate(self._pending) if block.late <= least + self._NO_LOSS
        )

    def _release(self) -> Iterator[AudioBlock | Gap]:
        kept = self._pending
        if self._stalled:
            at_its_pace = [i for i, block in enumerate(kept) if not block.in_burst]
            since = self._least_late()
            kept = kept[next((i for i in at_its_pace if i >= since), len(kept) - 1) :]
        lost = 0 if self._is_on_time() else round(min(block.late for block in kept))
        reason, discarded = self._pending_reason or "stall", len(kept) < len(self._pending)
        self._pending, self._pending_reason, self._stalled = [], None, False
        if discarded or lost > self._NO_LOSS:
            first = kept[0].header.first_sample
            yield from self._skip_to(first, self._stream().sample_of(first) + lost, reason)
        for block in kept:
            yield from self._deliver(block.header, block.samples)

    def _deliver(self, header: Header, samples: FloatArray) -> Iterator[AudioBlock | Gap]:
        first, expected = header.first_sample, self._stream().next_frame
        if first < expected:
            raise FramingError(
                f"a block begins at sample {first}, before the end of the last one, {expected}"
            )
        if first > expected:
            yield from self._skip_to(first, self._stream().sample_of(first), "overflow")
        stream = self._stream()
        self._clock.observe(stream.sample_of(first + header.size), header.captured_ns / 1e9)
        yield from self._take(stream.push(samples))

    def _skip_to(self, frame: int, sample: int, reason: GapReason) -> Iterator[AudioBlock | Gap]:
        """Leave out what is before a frame of the device, which is to have the index `sample`."""
        yield from self._take(self._stream().finish())
        if sample > self._end:
            yield from self._take([Gap(self._end, sample - self._end, reason)])
        self._conversion = Conversion(self._stream().rate, frame, self._end)

    def _take(self, items: Iterable[AudioBlock | Gap]) -> Iterator[AudioBlock | Gap]:
        for item in items:
            self._end = item.end_sample
            yield item
