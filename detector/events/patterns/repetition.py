"""Beeps in a rhythm are an alarm: so many, so long, so far apart, and then a pause."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from detector.events.patterns.composite import (
    NO_SCORE,
    CompositeLabel,
    CompositeSegment,
    WeightedScore,
)
from detector.events.patterns.streams import StreamUpdate
from detector.records import Event


@dataclass(frozen=True, slots=True)
class Rhythm:
    """One cycle of an alarm, in samples; each range is from its least to its most."""

    count: int
    """Beeps in a cycle."""
    on: tuple[int, int]
    """How long a beep is."""
    off: tuple[int, int]
    """From the end of one to the beginning of the next."""
    pause: tuple[int, int]
    """From the end of a cycle to the beginning of the next. After the longest the alarm is over."""

    @property
    def glitch(self) -> int:
        """A beep shorter than this is none."""
        return self.on[0] // 2

    @property
    def dropout(self) -> int:
        """A pause shorter than this divides no beep."""
        return self.off[0] // 2

    @property
    def jitter(self) -> int:
        """How far from its place a beep may seem to be that comes as regularly as a machine's."""
        return self.off[0] * 2 // 3


@dataclass(frozen=True, slots=True)
class _Beep:
    onset_sample: int
    offset_sample: int
    score: WeightedScore
    cut: bool
    """Whether a gap or a stop cut it, so that it may have been longer."""
    certain: bool
    """Whether its score reached the threshold; not if only half of it, or if two may be one."""

    @property
    def length(self) -> int:
        return self.offset_sample - self.onset_sample

    def joined(self, after: "_Beep", *, certain: bool) -> "_Beep":
        score, cut = self.score + after.score, self.cut or after.cut
        return _Beep(self.onset_sample, after.offset_sample, score, cut, certain)


def _beep(event: Event, offset_sample: int, *, certain: bool) -> _Beep:
    score = WeightedScore.of(event, offset_sample)
    return _Beep(event.onset_sample, offset_sample, score, event.truncated, certain)


def low_threshold_slug(label: str) -> str:
    """The label of the events that the score of `label` makes under half its threshold."""
    return f"{label}?"


class Repetition:
    """Finds a rhythm in the beeps of one label.

    Beeps with no pause between them are a train. A train is a cycle of the alarm if it has as many
    beeps as the rhythm, each as long and as far from the next as it says: an alarm clock that goes
    on is none, since only after the pause it is known that nothing follows. The event begins with
    the first beep of the first cycle; cycles that follow extend it, also one that breaks off.

    Another sound may cover a part of a beep. So one of a cycle may be too short or too long,
    torn in two, or over half the threshold alone, if it lies where the others, coming regularly,
    leave a place for it. But half the threshold counts in the pause, too: if a beep may have been
    there, it was none.
    """

    def __init__(self, label: CompositeLabel, beep: str, rhythm: Rhythm) -> None:
        """Set up for one source.

        Args:
            label: what its events are called.
            beep: the slug of the beeps; their events must be raw, with nothing merged. Those under
                half the threshold have the label `low_threshold_slug(beep)`.
            rhythm: what to find.
        """
        self._label = label
        self._beep = beep
        self._rhythm = rhythm
        self._active: Event | None = None
        self._low_active: Event | None = None
        """What goes on and was over half the threshold alone so far."""
        self._train: list[_Beep] = []
        self._ruled_out = False
        """Whether the train is none of this rhythm, whatever follows; then its last beep is kept
        alone."""
        self._segment: CompositeSegment | None = None

    def push(self, update: StreamUpdate, known_until: int) -> list[Event]:
        """Take the update of the label's stream, which is known as far as `known_until`."""
        events = []
        for event in update.events:
            if event.label == self._beep:
                events += self._take(event)
            elif event.label == low_threshold_slug(self._beep):
                events += self._take_low(event)
        events += self._advance(known_until)
        if self._segment and (updated := self._segment.if_update_is_due(known_until)):
            self._segment = updated
            events.append(updated.event("update"))
        return events

    def cut(self, end_sample: int) -> list[Event]:
        """The sound stops at `end_sample`: an alarm that was on ends, though it may go on."""
        events = self._advance(end_sample)
        if self._segment and self._train and self._fits():
            self._segment = self._extended(self._segment)
        if self._segment:
            events.append(self._segment.event("end", truncated=True))
        self._segment = self._active = self._low_active = None
        self._train, self._ruled_out = [], False
        return events

    def _take(self, event: Event) -> list[Event]:
        if event.offset_sample is None:
            self._active, self._low_active = event, None
            return self._advance(event.onset_sample)
        self._active = None
        self._add(_beep(event, event.offset_sample, certain=True))
        return []

    def _take_low(self, event: Event) -> list[Event]:
        if event.offset_sample is None:
            self._low_active = None if self._active else event
            return []
        if self._low_active is None:  # it was over the threshold in between
            return []
        self._low_active = None
        beep = _beep(event, event.offset_sample, certain=False)
        if not self._rhythm.on[0] <= beep.length <= self._rhythm.on[1]:
            return []
        events = self._advance(beep.onset_sample)
        self._add(beep)
        return events

    def _add(self, beep: _Beep) -> None:
        """Put a beep that ended at the end of the train."""
        rhythm = self._rhythm
        last = self._train[-1] if self._train else None
        if last and beep.onset_sample - last.offset_sample < rhythm.dropout:
            if last.certain and not beep.certain:
                return
            self._train.pop()
            beep = last.joined(beep, certain=beep.certain) if last.certain == beep.certain else beep
        elif beep.length < rhythm.glitch and not beep.cut:
            return
        self._train.append(beep)
        if len(self._train) > rhythm.count + 1:  # one of them may be torn in two
            self._ruled_out = True
        if self._ruled_out:
            del self._train[:-1]

    def _quiet_until(self, until: int) -> int:
        """Since the last beep that ended, what may be another has not begun before this."""
        if self._active:
            return self._active.onset_sample
        if self._low_active and until - self._low_active.onset_sample <= self._rhythm.on[1]:
            return self._low_active.onset_sample
        return until

    def _advance(self, until: int) -> list[Event]:
        """What follows from what was heard before `until`, and what was not."""
        events = []
        quiet = self._train and self._quiet_until(until) - self._train[-1].offset_sample
        if quiet and quiet >= self._rhythm.pause[0]:
            events = self._conclude(until)
        segment = self._segment
        late = segment and until - segment.offset_sample > self._rhythm.pause[1]
        if segment and late and not self._may_go_on(segment, until):
            events.append(segment.event("end"))
            self._segment = None
        return events

    def _conclude(self, until: int) -> list[Event]:
        """The train is over."""
        segment, found = self._segment, []
        if segment and self._fits():
            self._segment = self._extended(segment)
        elif not segment and self._fits(complete=True):
            first, last = self._train[0], self._train[-1]
            begun = CompositeSegment(
                self._label, first.onset_sample, last.offset_sample, reported_until=until
            )
            self._segment = self._extended(begun)
            found = [self._segment.event("start")]
        self._train, self._ruled_out = [], False
        return found

    def _fits(self, quiet_until: int | None = None, *, complete: bool = False) -> bool:
        """Whether the train is a cycle of the rhythm, or, unless `complete`, the beginning of one.

        Args:
            quiet_until: how long nothing has followed it, if its last beep may yet be continued.
            complete: whether all of a cycle must be there.
        """
        count = self._rhythm.count
        return not self._ruled_out and any(
            (len(beeps) == count if complete else len(beeps) <= count)
            and self._keeps_time(beeps, quiet_until)
            for beeps in self._mended()
        )

    def _mended(self) -> Iterator[list[_Beep]]:
        """The train, and what it is if two of its beeps are parts of one."""
        yield self._train
        for i, (beep, after) in enumerate(pairwise(self._train)):
            if after.offset_sample - beep.onset_sample <= self._rhythm.on[1]:
                one = beep.joined(after, certain=False)
                yield [*self._train[:i], one, *self._train[i + 2 :]]

    def _keeps_time(self, beeps: Sequence[_Beep], quiet_until: int | None) -> bool:
        """Whether all of them are as the rhythm says, or all but one."""
        least, most = self._rhythm.off
        fit = [self._is_whole(beep, quiet_until) for beep in beeps]
        if all(fit) and all(
            least <= after.onset_sample - beep.offset_sample <= most
            for beep, after in pairwise(beeps)
        ):
            return True
        return any(
            all((*fit[:odd], *fit[odd + 1 :])) and self._leaves_place(beeps, odd, quiet_until)
            for odd in range(len(beeps))
        )

    def _leaves_place(self, beeps: Sequence[_Beep], odd: int, quiet_until: int | None) -> bool:
        """Whether all but one come regularly, and that one is where they leave a place for it."""
        rhythm, jitter = self._rhythm, self._rhythm.jitter
        others = [(i, beep) for i, beep in enumerate(beeps) if i != odd]
        if len(others) < 2:  # noqa: PLR2004 (one shows nothing of how regularly they come)
            return len(beeps) < rhythm.count and bool(others or quiet_until is not None)
        (i, first), (j, last) = others[0], others[-1]
        period = (last.onset_sample - first.onset_sample) / (j - i)
        length = sum(beep.length for _, beep in others) / len(others)
        places = [first.onset_sample + (k - i) * period for k in range(len(beeps))]
        return (
            rhythm.off[0] <= period - length <= rhythm.off[1]
            and all(abs(beep.onset_sample - places[k]) <= jitter for k, beep in others)
            and beeps[odd].onset_sample >= places[odd] - jitter
            and beeps[odd].offset_sample <= places[odd] + length + jitter
        )

    def _is_whole(self, beep: _Beep, quiet_until: int | None) -> bool:
        may_grow = (
            quiet_until is not None and quiet_until - beep.offset_sample < self._rhythm.dropout
        )
        least, most = self._rhythm.on
        long_enough = beep.length >= least or beep.cut or may_grow
        return beep.certain and long_enough and beep.length <= most

    def _may_go_on(self, segment: CompositeSegment, until: int) -> bool:
        """Whether another cycle has begun in time, as far as is known."""
        if self._active and until - self._active.onset_sample > self._rhythm.on[1]:
            return False
        quiet_until = self._quiet_until(until)
        began = self._train[0].onset_sample if self._train else quiet_until
        return began - segment.offset_sample <= self._rhythm.pause[1] and self._fits(quiet_until)

    def _extended(self, segment: CompositeSegment) -> CompositeSegment:
        score = sum((beep.score for beep in self._train), NO_SCORE)
        return segment.extended(self._train[-1].offset_sample, score)
