"""The blocks of one device stream after another become one unbroken line of samples.

Every sample of a source has one index for ever, and the clock turns an index into a time. So
whatever was not heard must take as many indices as it lasted. Three things are known of a block:
its index in the device's stream, which jumps where the microphone program dropped samples; when
it was captured; and, from the clock, when it should have been.

A block that comes late may be one of a backlog that catches up, or the first after a loss. Only
what follows can tell, so late blocks are held until it is plain: either they are on time again,
or they stay late by the same amount, and that is what was lost.

While nothing comes, nobody knows how much is lost. The sound is cut where it stops, so that nobody
waits for an end that may never come; the gap follows once it is known, if there is one.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from detector.capture.clock import SampleClock
from detector.capture.framing import FramingError, Header, Kind
from detector.capture.resample import Resampler
from detector.records import SAMPLE_RATE, AudioBlock, Cut, FloatArray, Gap, GapReason

STALL_S: Final = 2.0
"""A device that is silent for longer has stalled. What it then delivers in one burst is not
believed: nobody can say when it was heard, or whether the sound server made it up."""


class _Run:
    """Consecutive samples of a stream, on their way through the resampler."""

    def __init__(self, rate: int, device_sample: int, sample: int) -> None:
        self.rate = rate
        """Hertz, of the device."""
        self.next_device_sample = self._first_device_sample = device_sample
        self.end = self._first_sample = sample
        """The index, at the analysis rate, that follows what was returned."""
        self._resampler = Resampler(rate)

    def index(self, device_sample: int) -> int:
        """The index at the analysis rate, to the nearest sample."""
        since = device_sample - self._first_device_sample
        return self._first_sample + (2 * since * SAMPLE_RATE + self.rate) // (2 * self.rate)

    def push(self, samples: FloatArray) -> FloatArray:
        self.next_device_sample += len(samples)
        ready = self._resampler.push(samples)
        self.end += len(ready)
        return ready

    def finish(self) -> FloatArray:
        rest = self._resampler.finish()
        self.end += len(rest)
        return rest


class _Held(NamedTuple):
    header: Header
    samples: FloatArray
    late: float
    """Samples, at the analysis rate."""
    in_burst: bool
    """It came faster after the one before it than the device can hear."""


class Timeline:
    """Mono blocks of a source in, `AudioBlock`, `Gap` and `Cut` without holes out. No I/O."""

    _LATE: Final = 0.15 * SAMPLE_RATE
    """Samples. As a rule a busy machine does not make a block that late."""
    _ON_TIME: Final = 0.05 * SAMPLE_RATE
    _NO_LOSS: Final = 0.01 * SAMPLE_RATE
    """Less is jitter; the clock follows it."""
    _BURST: Final = 0.5
    """Parts of a block's own length: one that comes sooner was not heard just now."""
    _SETTLED_S: Final = 0.5
    """For how long the lateness must not have fallen."""
    _MAX_HELD_S: Final = 10.0

    def __init__(self, clock: SampleClock) -> None:
        self._clock = clock
        self._end = 0
        self._run: _Run | None = None
        self._held: list[_Held] = []
        self._suspicion: GapReason | None = None
        """Why blocks are held; None while all is well."""
        self._stalled = False
        self._captured_s = math.inf
        """When the last block of this stream was captured, on the monotonic clock."""

    @property
    def end_sample(self) -> int:
        """Where what was returned so far ends."""
        return self._end

    def begin(self, rate: int) -> None:
        """A new stream of the device comes, at `rate` Hz. The last one must have been finished.

        Raises:
            SourceError: the rate is not supported.
        """
        self._run = _Run(rate, 0, self._end)
        self._captured_s = math.inf
        self._stalled = False
        self._suspicion = "restart" if self._clock.started else None

    def push(self, header: Header, samples: FloatArray) -> Iterator[AudioBlock | Gap]:
        """Take a block of (header.size,) samples, return what is certain by now.

        Raises:
            FramingError: the block overlaps the one before it, or no stream was begun.
        """
        if self._run is None:
            raise FramingError("audio before the hello")
        captured_s = header.captured_ns / 1e9
        index = self._run.index(header.first_sample + header.size)
        if not self._clock.started:
            self._clock.observe(index, captured_s)
        late = self._clock.sample_at(captured_s) - index
        silent_s = captured_s - self._captured_s
        self._captured_s = captured_s
        self._suspect(header, late, silent_s)
        if self._suspicion is None:
            yield from self._deliver(self._run, header, samples)
            return
        in_burst = silent_s < self._BURST * header.size / self._run.rate or silent_s > STALL_S
        self._held.append(_Held(header, samples, late, in_burst))
        if self._is_on_time() or self._is_settled(self._run):
            yield from self._release(self._run)

    def pause(self) -> Iterator[AudioBlock | Gap | Cut]:
        """Nothing comes at present: return all that was heard, and that the sound stops there.

        Blocks may still follow. If they tell of no loss, the sound goes on where it was cut.
        """
        if self._run is not None and self._held:
            yield from self._release(self._run)
        if self._run is not None:
            yield from self._end_run(self._run)
            self._run = _Run(self._run.rate, self._run.next_device_sample, self._end)
            yield Cut(self._end)

    def finish(self) -> Iterator[AudioBlock | Gap | Cut]:
        """The stream has ended: return the rest of it, and that the sound stops there."""
        yield from self.pause()
        self._run = None

    def _suspect(self, header: Header, late: float, silent_s: float) -> None:
        """Decide whether blocks are held from this one on."""
        if silent_s > STALL_S:
            self._stalled = True
            self._suspicion = self._suspicion or "stall"
        elif header.kind is Kind.AUDIO_AFTER_OVERFLOW:
            self._suspicion = self._suspicion or "overflow"
        elif late > self._LATE:
            self._suspicion = self._suspicion or "stall"

    def _is_on_time(self) -> bool:
        """A backlog has caught up: there was no loss."""
        late = self._held[-1].late
        return self._suspicion == "stall" and not self._stalled and late < self._ON_TIME

    def _is_settled(self, run: _Run) -> bool:
        """Blocks come at the device's pace, and have not become less late for a while."""
        newest, least = self._held[-1].header, self._held[self._least_late()].header
        held_s = (newest.first_sample - self._held[0].header.first_sample) / run.rate
        settled_s = (newest.captured_ns - least.captured_ns) / 1e9
        return settled_s >= self._SETTLED_S or held_s > self._MAX_HELD_S

    def _least_late(self) -> int:
        """Which held block is the first that is as little late as any, but for jitter."""
        least = min(held.late for held in self._held)
        return next(i for i, held in enumerate(self._held) if held.late <= least + self._NO_LOSS)

    def _release(self, run: _Run) -> Iterator[AudioBlock | Gap]:
        kept = self._held
        if self._stalled:
            heard = [i for i, held in enumerate(kept) if not held.in_burst]
            since = self._least_late()
            kept = kept[next((i for i in heard if i >= since), len(kept) - 1) :]
        lost = 0 if self._is_on_time() else round(min(held.late for held in kept))
        reason, discarded = self._suspicion or "stall", len(kept) < len(self._held)
        self._held, self._suspicion, self._stalled = [], None, False
        if discarded or lost > self._NO_LOSS:
            first = kept[0].header.first_sample
            begin = run.index(first) + lost
            yield from self._end_run(run)
            yield from self._gap_until(begin, reason)
            run = self._run = _Run(run.rate, first, self._end)
        for held in kept:
            yield from self._deliver(run, held.header, held.samples)

    def _deliver(
        self, run: _Run, header: Header, samples: FloatArray
    ) -> Iterator[AudioBlock | Gap]:
        if header.first_sample < run.next_device_sample:
            raise FramingError(
                f"a block begins at sample {header.first_sample}, "
                f"before the end of the last one, {run.next_device_sample}"
            )
        if header.first_sample > run.next_device_sample:
            begin = run.index(header.first_sample)
            yield from self._end_run(run)
            yield from self._gap_until(begin, "overflow")
            run = self._run = _Run(run.rate, header.first_sample, self._end)
        ready = run.push(samples)
        captured_s, index = header.captured_ns / 1e9, run.index(run.next_device_sample)
        self._clock.observe(index, captured_s)
        if len(ready):
            yield self._block(ready, captured_s - (index - run.end) / SAMPLE_RATE)

    def _end_run(self, run: _Run) -> Iterator[AudioBlock]:
        rest = run.finish()
        if len(rest):
            yield self._block(rest, self._clock.monotonic(run.end))

    def _gap_until(self, sample: int, reason: GapReason) -> Iterator[Gap]:
        if sample > self._end:
            gap = Gap(self._end, sample - self._end, reason)
            self._end = sample
            yield gap

    def _block(self, samples: FloatArray, heard_at: float) -> AudioBlock:
        block = AudioBlock(self._end, samples, heard_at)
        self._end = block.end_sample
        return block
