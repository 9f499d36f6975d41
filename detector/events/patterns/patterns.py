"""Rules over labels: events that follow from the events of several labels, or of none.

A pattern listens to streams of events: those that models publish, those of labels that are not
published, and those of other patterns. It is fed in the order of the sound (see StreamMerger), so
its events depend on the sound, and not on which model answered first.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from detector.events.explain.explanation import explain_pattern
from detector.events.explain.label_occurrences import LabelOccurrences
from detector.events.explain.segment_log import SegmentRecord
from detector.events.patterns.composite import CompositeLabel
from detector.events.patterns.group import Group
from detector.events.patterns.loud_unlabelled import LoudnessLimits, LoudUnlabelled
from detector.events.patterns.plan import PatternPlan
from detector.events.patterns.repetition import Repetition, Rhythm
from detector.events.patterns.stream_merger import StreamMerger
from detector.events.patterns.streams import (
    Hop,
    ModelStream,
    PatternStream,
    Stream,
    StreamUpdate,
)
from detector.events.scores.steps import Step
from detector.events.segments.segmenter import Segmenter
from detector.explanations import Finding, PatternFacts
from detector.records import SAMPLE_RATE, Cut, Event, Scores, SegmentKey
from detector.settings.patterns import GroupSettings, PatternSettings, RepetitionSettings


class _PatternDetector(Protocol):
    """Finds the events of one pattern in its streams, which come as one."""

    def push(self, update: StreamUpdate, known_until: int) -> list[Event]: ...

    def cut(self, end_sample: int) -> list[Event]: ...


class _Pattern:
    """A pattern and the streams that it listens to."""

    def __init__(
        self,
        slug: str,
        settings: PatternSettings,
        open_events: Mapping[Stream, Collection[Event]],
        cut_at: Mapping[Stream, int],
        since: int,
    ) -> None:
        """Set up.

        Args:
            slug: of the pattern.
            settings: its own.
            open_events: the streams that it listens to, and of each the starts without an end.
            cut_at: of each stream whose sound has stopped, where.
            since: from where on.
        """
        self.settings = settings
        self.streams = list(open_events)
        self._slug = slug
        self._detector = _detector(slug, settings, since)
        self._places = {stream: place for place, stream in enumerate(open_events)}
        places = self._places.items()
        self._merger = StreamMerger(len(places), {i: cut_at[s] for s, i in places if s in cut_at})
        self._open_events = {
            stream: tuple(events) for stream, events in open_events.items() if events
        }
        self._occurrences = LabelOccurrences(_counted(settings), since)
        self._since = since
        self._cut: int | None = None
        """Where the sound stops, if not all streams have come so far."""

    def push(self, stream: Stream, update: StreamUpdate) -> Iterator[StreamUpdate]:
        """Take an update of a stream; yield those of the pattern that follow."""
        begun = self._open_events.pop(stream, ())
        update = replace(update, events=(*begun, *update.events))
        for item, known_until in self._merger.push(self._places[stream], update):
            if not item.cut:
                yield from self._cut_before(known_until)
            for event in item.events:
                self._occurrences.add(event)
            events = self._detector.push(item, known_until)
            if item.cut:
                self._cut = item.known_until
            yield StreamUpdate(known_until, tuple(events))
            yield from self._cut_before(known_until)

    def _cut_before(self, known_until: int) -> Iterator[StreamUpdate]:
        end, self._cut = self._cut, None
        if end is None:
            return
        if known_until < end:
            self._cut = end
            return
        yield StreamUpdate(end, tuple(self._detector.cut(end)), cut=True)

    def stop(self) -> StreamUpdate:
        """End what goes on, as far as it is known."""
        known_until = max(self._merger.known_until, self._since)
        return StreamUpdate(known_until, tuple(self._detector.cut(known_until)))

    def explain(
        self, first_sample: int, end_sample: int, records: Sequence[SegmentRecord]
    ) -> Finding[PatternFacts]:
        loud = self._detector.loudest if isinstance(self._detector, LoudUnlabelled) else None
        return explain_pattern(
            self._slug,
            self.settings,
            records,
            (first_sample, end_sample),
            self._occurrences,
            None if loud is None else loud(first_sample, end_sample),
        )


class Patterns:
    """The patterns of one source."""

    def __init__(self, plan: PatternPlan) -> None:
        """Set up what is planned."""
        self._patterns: dict[str, _Pattern] = {}
        self._segmenters: dict[ModelStream, Segmenter] = {}
        self._begun: defaultdict[Stream, dict[SegmentKey, Event]] = defaultdict(dict)
        """What goes on in each stream."""
        self._cut_at: dict[Stream, int] = {}
        """Where the sound stopped, of each stream without an update since."""
        # The level is taken of the model that looks most often.
        hops = {name: model.hop_samples for name, model in plan.inputs.items()}
        self._level_model = min(hops, key=hops.__getitem__, default=None)
        self._ended_at: dict[str, int] = {}
        """Where the last event of a pattern ended: as another it begins after that."""
        self.retune(plan, {})

    @property
    def labels(self) -> list[str]:
        """The slugs of their events."""
        return list(self._patterns)

    def push(
        self,
        model: str,
        answer: Scores | Cut,
        steps: Sequence[Step],
        published: Sequence[Event],
        known_until: int,
    ) -> list[Event]:
        """Take a model's next answer, and what its own segmenter made of it.

        Args:
            model: what the configuration calls it.
            answer: its scores of a window, or a cut.
            steps: of this answer, as its segmenter was given them.
            published: the events that its segmenter made of them.
            known_until: how far the segmenter knows the sound.
        """
        cut, hop = isinstance(answer, Cut), None
        if isinstance(answer, Scores) and model == self._level_model:
            hop = Hop(answer.end_sample, answer.new_samples, answer.power)
        update = StreamUpdate(known_until, tuple(published), cut, hop)
        events = self._distribute(ModelStream(model, "published"), update)
        for stream, segmenter in self._segmenters.items():
            if stream.model == model:
                if isinstance(answer, Cut):
                    found = segmenter.cut(answer.end_sample, steps)
                else:
                    found = segmenter.push(answer, steps)
                update = StreamUpdate(segmenter.known_until, tuple(found), cut, hop)
                events += self._distribute(stream, update)
        return events

    def retune(self, plan: PatternPlan, published: Mapping[str, StreamUpdate]) -> list[Event]:
        """From now on go by another plan.

        A pattern that is as it was, and listens to what it did, goes on. Others end, cut off, and
        begin anew with what goes on then, but not before the next answer of a model.

        Args:
            plan: with the same models.
            published: of each model, by its name, the ends of what its segmenter gives up, and how
                far it knows the sound.

        Returns:
            What follows: the ends of what is no longer as it was.
        """
        events = []
        for slug, pattern in list(self._patterns.items()):
            same = plan.settings.get(slug) == pattern.settings
            if not same or plan.streams.get(slug) != pattern.streams:
                ended = self._patterns.pop(slug).stop()
                events += [*ended.events, *self._distribute(PatternStream(slug), ended)]
        for model, update in published.items():
            events += self._distribute(ModelStream(model, "published"), update)
        known_until = min((update.known_until for update in published.values()), default=0)
        before, self._segmenters = self._segmenters, {}  # in the order of the plan
        for stream, rules in plan.rules.items():
            if segmenter := before.get(stream):
                ends = segmenter.retune(rules, _NEVER)
                update = StreamUpdate(segmenter.known_until, tuple(ends))
                events += self._distribute(stream, update)
            else:
                segmenter = Segmenter(plan.inputs[stream.model].spec.id, rules, _NEVER)
                self._begun[stream].clear()  # of an earlier one
            self._segmenters[stream] = segmenter
        self._patterns = {
            slug: self._patterns.get(slug)
            or _Pattern(
                slug,
                plan.settings[slug],
                {stream: self._begun[stream].values() for stream in streams},
                self._stopped(streams),
                max(known_until, self._ended_at.get(slug, 0)),
            )
            for slug, streams in plan.streams.items()
        }
        return events

    def explain(
        self, first_sample: int, end_sample: int, records: Sequence[SegmentRecord]
    ) -> list[Finding[PatternFacts]]:
        """Say of each pattern why it was an event in a stretch of sound, or not."""
        return [
            pattern.explain(first_sample, end_sample, records)
            for pattern in self._patterns.values()
        ]

    def _stopped(self, streams: Iterable[Stream]) -> dict[Stream, int]:
        """Those of the streams that are cut, and where; a model's are cut together."""
        heads = {
            s: ModelStream(s.model, "published") if isinstance(s, ModelStream) else s
            for s in streams
        }
        return {s: self._cut_at[head] for s, head in heads.items() if head in self._cut_at}

    def _distribute(self, stream: Stream, update: StreamUpdate) -> list[Event]:
        """Update the patterns that listen to a stream, then those that listen to them."""
        if update.cut:
            self._cut_at[stream] = update.known_until
        elif update.known_until > self._cut_at.get(stream, update.known_until):
            del self._cut_at[stream]
        begun = self._begun[stream]
        for event in update.events:
            if event.type == "end":
                begun.pop(event.segment, None)
                if isinstance(stream, PatternStream) and event.offset_sample is not None:
                    before = self._ended_at.get(stream.slug, 0)
                    self._ended_at[stream.slug] = max(before, event.offset_sample)
            else:
                begun[event.segment] = replace(event, type="start")
        events = []
        for slug, pattern in self._patterns.items():
            if stream in pattern.streams:
                for found in pattern.push(stream, update):
                    events += [*found.events, *self._distribute(PatternStream(slug), found)]
        return events


def _counted(settings: PatternSettings) -> Collection[str]:
    """The labels that a pattern listens for."""
    if isinstance(settings, GroupSettings):
        return settings.labels
    return [settings.label] if isinstance(settings, RepetitionSettings) else []


def _detector(slug: str, settings: PatternSettings, not_before: int) -> _PatternDetector:
    name = settings.display_name(slug)
    label = CompositeLabel(slug, name, _samples(settings.update_interval_s))
    if isinstance(settings, GroupSettings):
        return Group(label, settings.labels, _samples(settings.merge_gap_s), not_before)
    if isinstance(settings, RepetitionSettings):
        rhythm = Rhythm(
            count=settings.count,
            on=_span(settings.on_s),
            off=_span(settings.off_s),
            pause=_span(settings.pause_s),
        )
        return Repetition(label, settings.label, rhythm)
    return LoudUnlabelled(
        label,
        LoudnessLimits(
            threshold_dbfs=settings.threshold_dbfs,
            stretch_samples=_samples(settings.stretch_s),
            margin_samples=_samples(settings.margin_s),
            min_samples=_samples(settings.min_duration_s),
            merge_samples=_samples(settings.merge_gap_s),
        ),
    )


_NEVER: Final = 1 << 62
"""Nobody waits for updates of what is not published."""


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _span(seconds: tuple[float, float]) -> tuple[int, int]:
    return _samples(seconds[0]), _samples(seconds[1])
