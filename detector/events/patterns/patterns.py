"""Rules over labels: events that follow from the events of several labels, or of none.

A pattern listens to streams of events: what the models publish, what they hear of labels that are
not published, and what other patterns find. It is fed in the order of the sound (see InOrder), so
what it tells depends on what was heard, and not on which model answered first.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from detector.events.explain.explanation import ExplainedPattern, explain_pattern
from detector.events.explain.memory import HeardLabels, Outcome
from detector.events.patterns.composite import Subject
from detector.events.patterns.group import Group
from detector.events.patterns.loud_unlabelled import Limits, LoudUnlabelled
from detector.events.patterns.plan import Kind, Plan, Stream
from detector.events.patterns.repetition import Repetition, Rhythm
from detector.events.patterns.streams import Heard, Hop, InOrder
from detector.events.segments.segmenter import Segmenter
from detector.records import SAMPLE_RATE, Cut, Event, Scores, SegmentKey
from detector.settings.patterns import GroupSettings, PatternSettings, RepetitionSettings


class _Machine(Protocol):
    def take(self, heard: Heard, until: int) -> list[Event]: ...

    def cut(self, end_sample: int) -> list[Event]: ...


class _Pattern:
    """A pattern and the streams that it listens to."""

    def __init__(
        self,
        slug: str,
        settings: PatternSettings,
        going_on: Mapping[Stream, Collection[Event]],
        cut_at: Mapping[Stream, int],
        since: int,
    ) -> None:
        """Set up.

        Args:
            slug: of the pattern.
            settings: its own.
            going_on: the streams that it listens to, and of each what has begun in it.
            cut_at: of each stream whose sound has stopped, where.
            since: from where on.
        """
        self.settings = settings
        self.streams = list(going_on)
        self._slug = slug
        self._machine = _machine(slug, settings, since)
        self._places = {stream: place for place, stream in enumerate(going_on)}
        places = self._places.items()
        self._order = InOrder(len(places), {i: cut_at[s] for s, i in places if s in cut_at})
        self._going_on = {stream: tuple(events) for stream, events in going_on.items() if events}
        self._labels = HeardLabels(_counted(settings), since)
        self._since = since
        self._cut: int | None = None
        """Where the sound stops, if not all streams have come so far."""

    def push(self, stream: Stream, heard: Heard) -> Iterator[Heard]:
        """Take what a stream tells; yield what follows."""
        begun = self._going_on.pop(stream, ())
        heard = replace(heard, events=(*begun, *heard.events))
        for item, until in self._order.push(self._places[stream], heard):
            if not item.cut:
                yield from self._cut_before(until)
            for event in item.events:
                self._labels.add(event)
            events = self._machine.take(item, until)
            if item.cut:
                self._cut = item.until
            yield Heard(until, tuple(events))
            yield from self._cut_before(until)

    def _cut_before(self, until: int) -> Iterator[Heard]:
        end, self._cut = self._cut, None
        if end is None:
            return
        if until < end:
            self._cut = end
            return
        yield Heard(end, tuple(self._machine.cut(end)), cut=True)

    def stop(self) -> Heard:
        """End what goes on, as far as it is known."""
        until = max(self._order.until, self._since)
        return Heard(until, tuple(self._machine.cut(until)))

    def explain(
        self, first_sample: int, end_sample: int, outcomes: Sequence[Outcome]
    ) -> ExplainedPattern:
        loud = self._machine.loudest if isinstance(self._machine, LoudUnlabelled) else None
        return explain_pattern(
            self._slug,
            self.settings,
            outcomes,
            (first_sample, end_sample),
            self._labels,
            None if loud is None else loud(first_sample, end_sample),
        )


class Patterns:
    """The patterns of one source."""

    def __init__(self, plan: Plan) -> None:
        """Set up what is planned."""
        self._patterns: dict[str, _Pattern] = {}
        self._segmenters: dict[tuple[int, Kind], Segmenter] = {}
        self._begun: defaultdict[Stream, dict[SegmentKey, Event]] = defaultdict(dict)
        """What goes on in each stream."""
        self._cut_at: dict[Stream, int] = {}
        """Where the sound stopped, of each stream that has told nothing since."""
        # The level is told by the model that looks most often.
        hops = [ear.hop_samples for ear in plan.ears]
        self._level = min(range(len(hops)), key=hops.__getitem__, default=0)
        self._free_from: dict[str, int] = {}
        """Where the last event of a pattern ended: as another it begins after that."""
        self.retune(plan, [])

    @property
    def labels(self) -> list[str]:
        """The slugs of their events."""
        return list(self._patterns)

    def hear(
        self, index: int, answer: Scores | Cut, published: Sequence[Event], until: int
    ) -> list[Event]:
        """Take what the model `index` said, and what followed.

        Args:
            index: of the model, among those of this source.
            answer: its scores of a window, or a cut.
            published: the events that its segmenter made of them.
            until: how far the segmenter knows the sound.
        """
        cut, hop = isinstance(answer, Cut), None
        if isinstance(answer, Scores) and index == self._level:
            hop = Hop(answer.end_sample, answer.new_samples, answer.power)
        events = self._tell((index, "published"), Heard(until, tuple(published), cut, hop))
        for stream, segmenter in self._segmenters.items():
            if stream[0] == index:
                heard = _heard(segmenter, answer)
                events += self._tell(stream, replace(heard, hop=hop))
        return events

    def retune(self, plan: Plan, published: Sequence[Heard]) -> list[Event]:
        """From now on go by another plan.

        A pattern that is as it was, and listens to what it did, goes on. Others end, cut off, and
        begin anew with what goes on then, but not before the next answer of a model.

        Args:
            plan: with the same models.
            published: of each model the ends of what its segmenter gives up, and how far it knows
                the sound.

        Returns:
            What follows: the ends of what is no longer as it was.
        """
        events = []
        for slug, pattern in list(self._patterns.items()):
            same = plan.settings.get(slug) == pattern.settings
            if not same or plan.streams.get(slug) != pattern.streams:
                ended = self._patterns.pop(slug).stop()
                events += [*ended.events, *self._tell(slug, ended)]
        for index, heard in enumerate(published):
            events += self._tell((index, "published"), heard)
        known_until = min((heard.until for heard in published), default=0)
        before, self._segmenters = self._segmenters, {}  # in the order of the plan
        for stream, rules in plan.rules.items():
            ear = plan.ears[stream[0]]
            if segmenter := before.get(stream):
                ends = segmenter.retune(rules, _NEVER)
                events += self._tell(stream, Heard(segmenter.heard_until, tuple(ends)))
            else:
                segmenter = Segmenter(ear.spec.id, rules, ear.steps(), _NEVER)
                self._begun[stream].clear()  # of an earlier one
            self._segmenters[stream] = segmenter
        self._patterns = {
            slug: self._patterns.get(slug)
            or _Pattern(
                slug,
                plan.settings[slug],
                {stream: self._begun[stream].values() for stream in streams},
                self._stopped(streams),
                max(known_until, self._free_from.get(slug, 0)),
            )
            for slug, streams in plan.streams.items()
        }
        return events

    def explain(
        self, first_sample: int, end_sample: int, outcomes: Sequence[Outcome]
    ) -> list[ExplainedPattern]:
        """Say of each pattern whether it told of a stretch of sound, and why not."""
        return [
            pattern.explain(first_sample, end_sample, outcomes)
            for pattern in self._patterns.values()
        ]

    def _stopped(self, streams: Iterable[Stream]) -> dict[Stream, int]:
        """Those of the streams that are cut, and where; a model's are cut together."""
        heads = {s: s if isinstance(s, str) else (s[0], _PUBLISHED) for s in streams}
        return {s: self._cut_at[head] for s, head in heads.items() if head in self._cut_at}

    def _tell(self, stream: Stream, heard: Heard) -> list[Event]:
        """Tell the patterns that listen to a stream, then those that listen to them."""
        if heard.cut:
            self._cut_at[stream] = heard.until
        elif heard.until > self._cut_at.get(stream, heard.until):
            del self._cut_at[stream]
        begun = self._begun[stream]
        for event in heard.events:
            if event.type == "end":
                begun.pop(event.segment, None)
                if isinstance(stream, str) and event.offset_sample is not None:
                    self._free_from[stream] = max(
                        self._free_from.get(stream, 0), event.offset_sample
                    )
            else:
                begun[event.segment] = replace(event, type="start")
        events = []
        for slug, pattern in self._patterns.items():
            if stream in pattern.streams:
                for found in pattern.push(stream, heard):
                    events += [*found.events, *self._tell(slug, found)]
        return events


def _counted(settings: PatternSettings) -> Collection[str]:
    """The labels that a pattern listens for."""
    if isinstance(settings, GroupSettings):
        return settings.labels
    return [settings.label] if isinstance(settings, RepetitionSettings) else []


def _machine(slug: str, settings: PatternSettings, free_from: int) -> _Machine:
    subject = Subject(slug, settings.subject(slug), _samples(settings.update_interval_s))
    if isinstance(settings, GroupSettings):
        return Group(subject, settings.labels, _samples(settings.merge_gap_s), free_from)
    if isinstance(settings, RepetitionSettings):
        rhythm = Rhythm(
            count=settings.count,
            on=_span(settings.on_s),
            off=_span(settings.off_s),
            pause=_span(settings.pause_s),
        )
        return Repetition(subject, settings.label, rhythm)
    return LoudUnlabelled(
        subject,
        Limits(
            threshold_dbfs=settings.threshold_dbfs,
            stretch=_samples(settings.stretch_s),
            margin=_samples(settings.margin_s),
            least=_samples(settings.min_duration_s),
            merge=_samples(settings.merge_gap_s),
        ),
    )


_PUBLISHED: Final[Kind] = "published"
_NEVER: Final = 1 << 62
"""Nobody waits for updates of what is not published."""


def _heard(segmenter: Segmenter, answer: Scores | Cut) -> Heard:
    if isinstance(answer, Cut):
        events = segmenter.cut(answer.end_sample)
        return Heard(segmenter.heard_until, tuple(events), cut=True)
    events = segmenter.push(answer)
    return Heard(segmenter.heard_until, tuple(events))


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _span(seconds: tuple[float, float]) -> tuple[int, int]:
    return _samples(seconds[0]), _samples(seconds[1])
