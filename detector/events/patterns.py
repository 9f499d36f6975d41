"""Rules over labels: events that follow from the events of several labels, or of none.

A pattern listens to streams of events: what the models publish, what they hear of labels that are
not published, and what other patterns find. It is fed in the order of the sound (see InOrder), so
what it tells depends on what was heard, and not on which model answered first.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from detector.config import (
    GroupSettings,
    LoudUnlabelledSettings,
    ModelSettings,
    PatternSettings,
    RepetitionSettings,
)
from detector.errors import ConfigError
from detector.events.group import Group
from detector.events.labels import LabelRule, hint, label_rules
from detector.events.rhythm import Repetition, Rhythm, faint
from detector.events.segmenter import Segmenter
from detector.events.steps import Steps
from detector.events.streams import Heard, Hop, InOrder
from detector.events.telling import Subject
from detector.events.unlabelled import Limits, LoudUnlabelled
from detector.records import SAMPLE_RATE, Cut, Event, Scores
from detector.spec import BundleSpec


@dataclass(frozen=True, slots=True)
class Ear:
    """A model that listens to the source, as patterns need it."""

    name: str
    """What the configuration calls it."""
    spec: BundleSpec
    settings: ModelSettings
    hop_samples: int
    published: Collection[str]
    """The slugs of its labels that become events."""
    steps: Callable[[], Steps]
    """Makes what turns its scores into steps."""

    @property
    def known(self) -> list[str]:
        """The slugs that a pattern can name."""
        return list(self.published) if self.spec.ctc else [x.slug for x in self.spec.labels]


Kind = Literal["published", "hidden", "raw", "beeps"]
"""published: what the model's events tell; hidden: as they would, of labels that are not published;
raw: each stretch in which a score is over the threshold, however short, with nothing merged; beeps:
the same, and beside each label a faint one of half its threshold."""

Stream = tuple[int, Kind] | str
"""A model's, or that of the pattern of this slug."""


class _Machine(Protocol):
    def take(self, heard: Heard, until: int) -> list[Event]: ...

    def cut(self, end_sample: int) -> list[Event]: ...


class _Pattern:
    """A pattern and the streams that it listens to."""

    def __init__(self, machine: _Machine, streams: Sequence[Stream]) -> None:
        self._machine = machine
        self._places = {stream: place for place, stream in enumerate(streams)}
        self._order = InOrder(len(streams))
        self._cut: int | None = None
        """Where the sound stops, if not all streams have come so far."""

    @property
    def streams(self) -> Collection[Stream]:
        return self._places

    def push(self, stream: Stream, heard: Heard) -> Iterator[Heard]:
        """Take what a stream tells; yield what follows."""
        for item, until in self._order.push(self._places[stream], heard):
            if not item.cut:
                yield from self._cut_before(until)
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


class Patterns:
    """The patterns of one source."""

    def __init__(self, settings: Mapping[str, PatternSettings], ears: Sequence[Ear]) -> None:
        """Set up those patterns that name a label that one of the models has.

        Args:
            settings: of each pattern, by its slug.
            ears: the models that listen to the source.

        Raises:
            ConfigError: if a pattern has the slug of a label that is published, or it is not clear
                whose label it means.
        """
        plan = _Plan(settings, ears)
        self._patterns = {
            slug: _Pattern(_machine(slug, settings[slug]), streams)
            for slug, streams in plan.streams.items()
        }
        self._segmenters: dict[tuple[int, Kind], Segmenter] = {
            stream: _segmenter(ears[stream[0]], stream[1], slugs)
            for stream, slugs in plan.members.items()
        }
        # The level is told by the model that looks most often.
        self._level = min(range(len(ears)), key=lambda i: ears[i].hop_samples, default=0)

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
        if not self._patterns:
            return []
        cut, hop = isinstance(answer, Cut), None
        if isinstance(answer, Scores) and index == self._level:
            hop = Hop(answer.end_sample, answer.new_samples, answer.power)
        events = self._tell((index, "published"), Heard(until, tuple(published), cut, hop))
        for stream, segmenter in self._segmenters.items():
            if stream[0] == index:
                heard = _heard(segmenter, answer)
                events += self._tell(stream, replace(heard, hop=hop))
        return events

    def hear_ends(self, index: int, published: Sequence[Event], until: int) -> list[Event]:
        """Take the ends of segments that model `index` gives up between two answers."""
        return self._tell((index, "published"), Heard(until, tuple(published), cut=False, hop=None))

    def _tell(self, stream: Stream, heard: Heard) -> list[Event]:
        """Tell the patterns that listen to a stream, then those that listen to them."""
        events = []
        for slug, pattern in self._patterns.items():
            if stream in pattern.streams:
                for found in pattern.push(stream, heard):
                    events += [*found.events, *self._tell(slug, found)]
        return events


def check_patterns(settings: Mapping[str, PatternSettings], ears: Sequence[Ear]) -> None:
    """Refuse patterns that name what none of the models has.

    Args:
        settings: of each pattern, by its slug.
        ears: all models of the configuration.

    Raises:
        ConfigError: naming the pattern, the field and the label.
    """
    for slug, pattern in settings.items():
        try:
            if isinstance(pattern, GroupSettings):
                others = {name: other for name, other in settings.items() if name != slug}
                _check_group(pattern, others, ears)
            elif isinstance(pattern, RepetitionSettings):
                _check_repetition(pattern, ears)
        except ConfigError as error:
            raise ConfigError(f"patterns.{slug}.{error}") from None


def _check_group(
    group: GroupSettings, others: Mapping[str, PatternSettings], ears: Sequence[Ear]
) -> None:
    known = sorted({*others, *(label for ear in ears for label in ear.known)})
    for label in group.labels:
        if isinstance(others.get(label), GroupSettings):
            raise ConfigError(f"labels: {label!r} is a group; list its labels instead")
        if label not in known:
            raise ConfigError(f"labels: no model has a label {label!r}{hint(label, known)}")


def _check_repetition(repetition: RepetitionSettings, ears: Sequence[Ear]) -> None:
    label, model = repetition.label, repetition.model
    names = [ear.name for ear in ears]
    if model is not None and model not in names:
        raise ConfigError(f"model: there is no model {model!r}{hint(model, names)}")
    asked = [ear for ear in ears if model in (None, ear.name) and not ear.spec.ctc]
    known = sorted({slug for ear in asked for slug in ear.known})
    if label not in known:
        who = f"{model} has no" if model else "no model has a"
        raise ConfigError(f"label: {who} label {label!r}{hint(label, known)}")


class _Plan:
    """Which pattern of a source listens to what."""

    def __init__(self, settings: Mapping[str, PatternSettings], ears: Sequence[Ear]) -> None:
        self._settings = settings
        self._ears = ears
        self.members: dict[tuple[int, Kind], set[str]] = {}
        """The labels of models that are heard for patterns alone."""
        self.streams: dict[str, list[Stream]] = {}
        """What each pattern listens to; groups come last, since they may listen to others."""
        for slug, pattern in settings.items():
            if not isinstance(pattern, GroupSettings):
                self._add(slug, self._listen(slug, pattern))
        for slug, pattern in settings.items():
            if isinstance(pattern, GroupSettings):
                self._add(slug, self._join(slug, pattern))

    def _add(self, slug: str, streams: list[Stream]) -> None:
        if not streams:
            return
        for ear in self._ears:
            if slug in ear.published:
                raise ConfigError(
                    f"patterns.{slug}: {ear.spec.id} has events of that name; set "
                    f"models.{ear.name}.labels.{slug}.enabled = false, or call the pattern "
                    "something else"
                )
        self.streams[slug] = list(dict.fromkeys(streams))

    def _listen(
        self, slug: str, pattern: RepetitionSettings | LoudUnlabelledSettings
    ) -> list[Stream]:
        if isinstance(pattern, RepetitionSettings):
            return self._count(slug, pattern)
        return [self._all(index) for index in range(len(self._ears))]

    def _count(self, slug: str, pattern: RepetitionSettings) -> list[Stream]:
        found = [
            index
            for index, ear in enumerate(self._ears)
            if pattern.model in (None, ear.name) and not ear.spec.ctc and pattern.label in ear.known
        ]
        if len(found) > 1:
            names = " and ".join(self._ears[index].name for index in found)
            raise ConfigError(
                f"patterns.{slug}.label: {names} have a label {pattern.label!r}; "
                "say with model = … whose is meant"
            )
        return [self._member(index, "beeps", pattern.label) for index in found]

    def _all(self, index: int) -> Stream:
        """All that a model hears: what its bundle enables too, even if it is not published."""
        ear = self._ears[index]
        if ear.spec.ctc:
            return (index, "published")
        self.members.setdefault((index, "raw"), set())
        for label in ear.spec.labels:
            if label.enabled or label.slug in ear.published:
                self._member(index, "raw", label.slug)
        return (index, "raw")

    def _join(self, slug: str, pattern: GroupSettings) -> list[Stream]:
        streams: list[Stream] = []
        for label in pattern.labels:
            if label != slug and label in self._settings:
                streams += [label] if label in self.streams else []
                continue
            for index, ear in enumerate(self._ears):
                if label in ear.published:
                    streams.append((index, "published"))
                elif label in ear.known:
                    streams.append(self._member(index, "hidden", label))
        return streams

    def _member(self, index: int, kind: Kind, label: str) -> Stream:
        self.members.setdefault((index, kind), set()).add(label)
        return (index, kind)


def _machine(slug: str, settings: PatternSettings) -> _Machine:
    subject = Subject(slug, settings.subject(slug), _samples(settings.update_interval_s))
    if isinstance(settings, GroupSettings):
        return Group(subject, settings.labels, _samples(settings.merge_gap_s))
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


_NEVER: Final = 1 << 62
"""Nobody waits for updates of what is not published."""


def _segmenter(ear: Ear, kind: Kind, slugs: Collection[str]) -> Segmenter:
    try:
        rules = label_rules(ear.spec, ear.settings, slugs)
    except ConfigError as error:
        raise ConfigError(f"models.{ear.name}: {error}") from None
    if kind in ("raw", "beeps"):
        rules = [replace(rule, min_samples=0, merge_samples=0) for rule in rules]
    if kind == "beeps":
        rules += [_faint(rule) for rule in rules]
    return Segmenter(ear.spec.id, rules, ear.steps(), _NEVER)


def _faint(rule: LabelRule) -> LabelRule:
    onset = rule.onset_threshold / 2
    offset = min(onset, rule.offset_threshold)
    return replace(rule, slug=faint(rule.slug), onset_threshold=onset, offset_threshold=offset)


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
