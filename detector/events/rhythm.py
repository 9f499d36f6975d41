"""Beeps in a rhythm are an alarm: so many, so long, so far apart, and then a pause."""

from dataclasses import dataclass
from itertools import pairwise

from detector.events.streams import Heard
from detector.events.telling import NOTHING, Life, Subject, Tally
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


@dataclass(frozen=True, slots=True)
class _Beep:
    onset_sample: int
    offset_sample: int
    tally: Tally
    cut: bool
    """Whether a gap or a stop cut it, so that it may have been longer."""

    @property
    def length(self) -> int:
        return self.offset_sample - self.onset_sample


class Repetition:
    """Finds a rhythm in the beeps of one label.

    Beeps with no pause between them are a train. A train is a cycle of the alarm if it has as many
    beeps as the rhythm, each as long and as far from the next as it says: an alarm clock that goes
    on is none, since only after the pause it is known that nothing follows. The event begins with
    the first beep of the first cycle; cycles that follow extend it, also one that breaks off.
    """

    def __init__(self, subject: Subject, label: str, rhythm: Rhythm) -> None:
        """Set up for one source.

        Args:
            subject: what it is called.
            label: the slug of the beeps; their events must be raw, with nothing merged.
            rhythm: what to find.
        """
        self._subject = subject
        self._label = label
        self._rhythm = rhythm
        self._sounding: Event | None = None
        self._train: list[_Beep] = []
        self._spoilt = False
        """Whether the train is none of this rhythm, whatever follows; then its last beep is kept
        alone."""
        self._life: Life | None = None

    def take(self, heard: Heard, until: int) -> list[Event]:
        """Take what the label's stream tells, which is known as far as `until`."""
        events = []
        for event in heard.events:
            if event.label != self._label:
                continue
            if event.offset_sample is None:
                self._sounding = event
                events += self._pass(event.onset_sample)
            else:
                self._sounding = None
                self._add(event, event.offset_sample)
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
        self._life = self._sounding = None
        self._train, self._spoilt = [], False
        return events

    def _add(self, event: Event, offset: int) -> None:
        """Put a beep that ended at the end of the train."""
        rhythm, tally = self._rhythm, Tally.of(event, offset)
        onset = event.onset_sample
        if self._train and onset - self._train[-1].offset_sample < rhythm.dropout:
            last = self._train.pop()
            onset, tally = last.onset_sample, last.tally + tally
        elif offset - onset < rhythm.glitch and not event.truncated:
            return
        self._train.append(_Beep(onset, offset, tally, event.truncated))
        if len(self._train) > rhythm.count:
            self._spoilt = True
        if self._spoilt:
            del self._train[:-1]

    def _pass(self, until: int) -> list[Event]:
        """What follows from what was heard before `until`, and what was not."""
        events = []
        quiet_until = self._sounding.onset_sample if self._sounding else until
        if self._train and quiet_until - self._train[-1].offset_sample >= self._rhythm.pause[0]:
            events = self._conclude(until)
        life = self._life
        late = life and until - life.offset_sample > self._rhythm.pause[1]
        if life and late and not self._may_go_on(life, until):
            events.append(life.tell("end"))
            self._life = None
        return events

    def _conclude(self, until: int) -> list[Event]:
        """The train is over."""
        train, fits = self._train, self._fits()
        life = self._life
        told = []
        if fits and life:
            self._life = self._extended(life)
        elif fits and len(train) == self._rhythm.count:
            first, last = train[0], train[-1]
            begun = Life(self._subject, first.onset_sample, last.offset_sample, told_until=until)
            self._life = self._extended(begun)
            told = [self._life.tell("start")]
        self._train, self._spoilt = [], False
        return told

    def _fits(self, quiet_until: int | None = None) -> bool:
        """Whether the train is a cycle of the rhythm, or the beginning of one.

        Args:
            quiet_until: how long nothing has followed it, if its last beep may yet be continued.
        """
        least, most = self._rhythm.off
        return (
            not self._spoilt
            and all(self._is_long_enough(beep, quiet_until) for beep in self._train)
            and all(beep.length <= self._rhythm.on[1] for beep in self._train)
            and all(
                least <= after.onset_sample - before.offset_sample <= most
                for before, after in pairwise(self._train)
            )
        )

    def _is_long_enough(self, beep: _Beep, quiet_until: int | None) -> bool:
        may_grow = (
            quiet_until is not None and quiet_until - beep.offset_sample < self._rhythm.dropout
        )
        return beep.length >= self._rhythm.on[0] or beep.cut or may_grow

    def _may_go_on(self, life: Life, until: int) -> bool:
        """Whether another cycle has begun in time, as far as can be told."""
        if self._sounding and until - self._sounding.onset_sample > self._rhythm.on[1]:
            return False
        quiet_until = self._sounding.onset_sample if self._sounding else until
        began = self._train[0].onset_sample if self._train else quiet_until
        return began - life.offset_sample <= self._rhythm.pause[1] and self._fits(quiet_until)

    def _extended(self, life: Life) -> Life:
        tally = sum((beep.tally for beep in self._train), NOTHING)
        return life.extended(self._train[-1].offset_sample, tally)
