"""Which patterns there are at a source, and what each of them listens to."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from detector.errors import ConfigError
from detector.events.patterns.repetition import faint
from detector.events.scores.steps import Steps
from detector.events.segments.label_rules import LabelRule, hint, label_rules
from detector.settings.models import ModelSettings
from detector.settings.patterns import (
    GroupSettings,
    LoudUnlabelledSettings,
    PatternSettings,
    RepetitionSettings,
)
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


class Plan:
    """Which pattern of a source listens to what."""

    def __init__(self, settings: Mapping[str, PatternSettings], ears: Sequence[Ear]) -> None:
        """Plan those patterns that name a label that one of the models has.

        Args:
            settings: of each pattern, by its slug.
            ears: the models that listen to the source.

        Raises:
            ConfigError: if a pattern has the slug of a label that is published, it is not clear
                whose label it means, or the thresholds of a label that it counts contradict.
        """
        self.settings = settings
        self.ears = ears
        self.streams: dict[str, list[Stream]] = {}
        """What each pattern listens to; groups come last, since they may listen to others."""
        self._members: dict[tuple[int, Kind], set[str]] = {}
        for slug, pattern in settings.items():
            if not isinstance(pattern, GroupSettings):
                self._add(slug, self._listen(slug, pattern))
        for slug, pattern in settings.items():
            if isinstance(pattern, GroupSettings):
                self._add(slug, self._join(slug, pattern))
        self.rules = {
            (index, kind): _rules(ears[index], kind, slugs)
            for (index, kind), slugs in self._members.items()
        }
        """The labels of models that are heard for patterns alone."""

    def _add(self, slug: str, streams: list[Stream]) -> None:
        if not streams:
            return
        for ear in self.ears:
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
        return [self._all(index) for index in range(len(self.ears))]

    def _count(self, slug: str, pattern: RepetitionSettings) -> list[Stream]:
        found = [
            index
            for index, ear in enumerate(self.ears)
            if pattern.model in (None, ear.name) and not ear.spec.ctc and pattern.label in ear.known
        ]
        if len(found) > 1:
            names = " and ".join(self.ears[index].name for index in found)
            raise ConfigError(
                f"patterns.{slug}.label: {names} have a label {pattern.label!r}; "
                "say with model = … whose is meant"
            )
        return [self._member(index, "beeps", pattern.label) for index in found]

    def _all(self, index: int) -> Stream:
        """All that a model hears: what its bundle enables too, even if it is not published."""
        ear = self.ears[index]
        if ear.spec.ctc:
            return (index, "published")
        self._members.setdefault((index, "raw"), set())
        for label in ear.spec.labels:
            if label.enabled or label.slug in ear.published:
                self._member(index, "raw", label.slug)
        return (index, "raw")

    def _join(self, slug: str, pattern: GroupSettings) -> list[Stream]:
        streams: list[Stream] = []
        for label in pattern.labels:
            if label != slug and label in self.settings:
                streams += [label] if label in self.streams else []
                continue
            for index, ear in enumerate(self.ears):
                if label in ear.published:
                    streams.append((index, "published"))
                elif label in ear.known:
                    streams.append(self._member(index, "hidden", label))
        return streams

    def _member(self, index: int, kind: Kind, label: str) -> Stream:
        self._members.setdefault((index, kind), set()).add(label)
        return (index, kind)


def _rules(ear: Ear, kind: Kind, slugs: Collection[str]) -> list[LabelRule]:
    try:
        rules = label_rules(ear.spec, ear.settings, slugs)
    except ConfigError as error:
        raise ConfigError(f"models.{ear.name}: {error}") from None
    if kind in ("raw", "beeps"):
        rules = [replace(rule, min_samples=0, merge_samples=0) for rule in rules]
    if kind == "beeps":
        rules += [_faint(rule) for rule in rules]
    return rules


def _faint(rule: LabelRule) -> LabelRule:
    onset = rule.onset_threshold / 2
    offset = min(onset, rule.offset_threshold)
    return replace(rule, slug=faint(rule.slug), onset_threshold=onset, offset_threshold=offset)
