"""Beeps in a rhythm are an alarm: so many, so long, so far apart, and then a pause."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from detector.events.patterns.composite import NOTHING, Life, Subject, Tally
from detector.events.patterns.streams import Heard
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
    tally: Tally
    cut: bool
    """Whether a gap or a stop cut it, so that it may have been longer."""
    sure: bool
    """Whether it is what was heard; not if it is faint, or two that may be one."""

    @property
    def length(self) -> int:
        return self.offset_sample - self.onset_sample

    def joined(self, after: "_Beep", *, sure: bool) -> "_Beep":
        tally, cut = self.tally + after.tally, self.cut or after.cut
        return _Beep(self.onset_sample, after.offset_sample, tally, cut, sure)


def _beep(event: Event, offset_sample: int, *, sure: bool) -> _Beep:
    tally = Tally.of(event, offset_sample)
    return _Beep(event.onset_sample, offset_sample, tally, event.truncated, sure)


def faint(label: str) -> str:
    """What the events are called that tell where the score of a label gives rise to doubt."""
    return f"{label}?"


class Repetition:
    """Finds a rhythm in the beeps of one label.

    Beeps with no pause between them are a train. A train is a cycle of the alarm if it has as many
    beeps as the rhythm, each as long and as far from the next as it says: an alarm clock that goes
    on is none, since only after the pause it is known that nothing follows. The event begins with
    the first beep of the first cycle; cycles that follow extend it, also one that breaks off.

    Another sound may cover a part of a beep. So one of a cycle may be too short or too long, faint,
    or torn in two, if it lies where the others, coming regularly, leave a place for it. But what is
    faint counts in the pause, too: if a beep may have been there, it was none.
    """

    def __init__(self, subject: Subject, label: str, rhythm: Rhythm) -> None:
        """Set up for one source.

        Args:
            subject: what it is called.
            label: the slug of the beeps; their events must be raw, with nothing merged. Those of
                faint ones have the label `faint(label)`.
            rhythm: what to find.
        """
        self._subject = subject
        self._label = label
        self._rhythm = rhythm
        self._sounding: Event | None = None
        self._faint: Event | None = None
        """What goes on and was no more than faint so far."""
        self._train: list[_Beep] = []
        self._spoilt = False
        """Whether the train is none of this rhythm, whatever follows; then its last beep is kept
        alone."""
        self._life: Life | None = None

    def take(self, heard: Heard, until: int) -> list[Event]:
        """Take what the label's stream tells, which is known as far as `until`."""
        events = []
        for event in heard.events:
            if event.label == self._label:
                events += self._hear(event)
            elif event.label == faint(self._label):
                events += self._hear_faint(event)
        events += self._pass(until)
        if self._life and (updated := self._life.updated(until)):
            self._life = updated
            events.append(updated.tell("update"))
        return events

    def cut(self, end_sample: int) -> list[Event]:
        """The sound stops at `end_sample`: an alarm that was on ends, though it may go on."""
        events = self._pass(end_sample)
        if self._life and self._train and self._fits():
            self._life = self._extended(self._life)
        if self._life:
            events.append(self._life.tell("end", truncated=True))
        self._life = self._sounding = self._faint = None
        self._train, self._spoilt = [], False
        return events

    def _hear(self, event: Event) -> list[Event]:
        if event.offset_sample is None:
            self._sounding, self._faint = event, None
            return self._pass(event.onset_sample)
        self._sounding = None
        self._add(_beep(event, event.offset_sample, sure=True))
        return []

    def _hear_faint(self, event: Event) -> list[Event]:
        if event.offset_sample is None:
            self._faint = None if self._sounding else event
            return []
        if self._faint is None:  # it was more than faint in between
            return []
        self._faint = None
        beep = _beep(event, event.offset_sample, sure=False)
        if not self._rhythm.on[0] <= beep.length <= self._rhythm.on[1]:
            return []
        events = self._pass(beep.onset_sample)
        self._add(beep)
        return events

    def _add(self, beep: _Beep) -> None:
        """Put a beep that ended at the end of the train."""
        rhythm = self._rhythm
        last = self._train[-1] if self._train else None
        if last and beep.onset_sample - last.offset_sample < rhythm.dropout:
            if last.sure and not beep.sure:
                return
            self._train.pop()
            beep = last.joined(beep, sure=beep.sure) if last.sure == beep.sure else beep
        elif beep.length < rhythm.glitch and not beep.cut:
            return
        self._train.append(beep)
        if len(self._train) > rhythm.count + 1:  # one of them may be torn in two
            self._spoilt = True
        if self._spoilt:
            del self._train[:-1]

    def _quiet_until(self, until: int) -> int:
        """Since the last beep that ended, what may be another has not begun before this."""
        if self._sounding:
            return self._sounding.onset_sample
        if self._faint and until - self._faint.onset_sample <= self._rhythm.on[1]:
            return self._faint.onset_sample
        return until

    def _pass(self, until: int) -> list[Event]:
        """What follows from what was heard before `until`, and what was not."""
        events = []
        quiet = self._train and self._quiet_until(until) - self._train[-1].offset_sample
        if quiet and quiet >= self._rhythm.pause[0]:
            events = self._conclude(until)
        life = self._life
        late = life and until - life.offset_sample > self._rhythm.pause[1]
        if life and late and not self._may_go_on(life, until):
            events.append(life.tell("end"))
            self._life = None
        return events

    def _conclude(self, until: int) -> list[Event]:
        """The train is over."""
        life, told = self._life, []
        if life and self._fits():
            self._life = self._extended(life)
        elif not life and self._fits(complete=True):
            first, last = self._train[0], self._train[-1]
            begun = Life(self._subject, first.onset_sample, last.offset_sample, told_until=until)
            self._life = self._extended(begun)
            told = [self._life.tell("start")]
        self._train, self._spoilt = [], False
        return told

    def _fits(self, quiet_until: int | None = None, *, complete: bool = False) -> bool:
        """Whether the train is a cycle of the rhythm, or, unless `complete`, the beginning of one.

        Args:
            quiet_until: how long nothing has followed it, if its last beep may yet be continued.
            complete: whether all of a cycle must be there.
        """
        count = self._rhythm.count
        return not self._spoilt and any(
            (len(beeps) == count if complete else len(beeps) <= count)
            and self._keeps_time(beeps, quiet_until)
            for beeps in self._mended()
        )

    def _mended(self) -> Iterator[list[_Beep]]:
        """The train, and what it is if two of its beeps are parts of one."""
        yield self._train
        for i, (beep, after) in enumerate(pairwise(self._train)):
            if after.offset_sample - beep.onset_sample <= self._rhythm.on[1]:
                one = beep.joined(after, sure=False)
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
        return beep.sure and long_enough and beep.length <= most

    def _may_go_on(self, life: Life, until: int) -> bool:
        """Whether another cycle has begun in time, as far as can be told."""
        if self._sounding and until - self._sounding.onset_sample > self._rhythm.on[1]:
            return False
        quiet_until = self._quiet_until(until)
        began = self._train[0].onset_sample if self._train else quiet_until
        return began - life.offset_sample <= self._rhythm.pause[1] and self._fits(quiet_until)

    def _extended(self, life: Life) -> Life:
        tally = sum((beep.tally for beep in self._train), NOTHING)
        return life.extended(self._train[-1].offset_sample, tally)
