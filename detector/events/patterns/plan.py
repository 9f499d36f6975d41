"""Which patterns there are at a source, and what each of them listens to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from detector.errors import ConfigError
from detector.events.patterns.repetition import low_threshold_slug
from detector.events.patterns.streams import ModelStream, PatternStream, Stream, StreamKind
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
class PatternInput:
    """A model that listens to the source, as patterns need it."""

    name: str
    """What the configuration calls it."""
    spec: BundleSpec
    settings: ModelSettings
    hop_samples: int
    published: Collection[str]
    """The slugs of its labels that become events."""

    @property
    def known(self) -> list[str]:
        """The slugs that a pattern can name."""
        return list(self.published) if self.spec.ctc else [x.slug for x in self.spec.labels]


def check_patterns(settings: Mapping[str, PatternSettings], inputs: Sequence[PatternInput]) -> None:
    """Refuse patterns that name what none of the models has.

    Args:
        settings: of each pattern, by its slug.
        inputs: all models of the configuration.

    Raises:
        ConfigError: naming the pattern, the field and the label.
    """
    for slug, pattern in settings.items():
        try:
            if isinstance(pattern, GroupSettings):
                others = {name: other for name, other in settings.items() if name != slug}
                _check_group(pattern, others, inputs)
            elif isinstance(pattern, RepetitionSettings):
                _check_repetition(pattern, inputs)
        except ConfigError as error:
            raise ConfigError(f"patterns.{slug}.{error}") from None


def _check_group(
    group: GroupSettings, others: Mapping[str, PatternSettings], inputs: Sequence[PatternInput]
) -> None:
    known = sorted({*others, *(label for model in inputs for label in model.known)})
    for label in group.labels:
        if isinstance(others.get(label), GroupSettings):
            raise ConfigError(f"labels: {label!r} is a group; list its labels instead")
        if label not in known:
            raise ConfigError(f"labels: no model has a label {label!r}{hint(label, known)}")


def _check_repetition(repetition: RepetitionSettings, inputs: Sequence[PatternInput]) -> None:
    label, model = repetition.label, repetition.model
    names = [one.name for one in inputs]
    if model is not None and model not in names:
        raise ConfigError(f"model: there is no model {model!r}{hint(model, names)}")
    asked = [one for one in inputs if model in (None, one.name) and not one.spec.ctc]
    known = sorted({slug for one in asked for slug in one.known})
    if label not in known:
        who = f"{model} has no" if model else "no model has a"
        raise ConfigError(f"label: {who} label {label!r}{hint(label, known)}")


class PatternPlan:
    """Which pattern of a source listens to what."""

    def __init__(
        self, settings: Mapping[str, PatternSettings], inputs: Sequence[PatternInput]
    ) -> None:
        """Plan those patterns that name a label that one of the models has.

        Args:
            settings: of each pattern, by its slug.
            inputs: the models that listen to the source.

        Raises:
            ConfigError: if a pattern has the slug of a label that is published, it is not clear
                whose label it means, or the thresholds of a label that it counts contradict.
        """
        self.settings = settings
        self.inputs = {model.name: model for model in inputs}
        self.streams: dict[str, list[Stream]] = {}
        """What each pattern listens to; groups come last, since they may listen to others."""
        self._members: dict[ModelStream, set[str]] = {}
        for slug, pattern in settings.items():
            if not isinstance(pattern, GroupSettings):
                self._add(slug, self._listen(slug, pattern))
        for slug, pattern in settings.items():
            if isinstance(pattern, GroupSettings):
                self._add(slug, self._join(slug, pattern))
        self.rules = {
            stream: _rules(self.inputs[stream.model], stream.kind, slugs)
            for stream, slugs in self._members.items()
        }
        """The labels whose events are made for patterns alone."""

    def _add(self, slug: str, streams: list[Stream]) -> None:
        if not streams:
            return
        for model in self.inputs.values():
            if slug in model.published:
                raise ConfigError(
                    f"patterns.{slug}: {model.spec.id} has events of that name; set "
                    f"models.{model.name}.labels.{slug}.enabled = false, or call the pattern "
                    "something else"
                )
        self.streams[slug] = list(dict.fromkeys(streams))

    def _listen(
        self, slug: str, pattern: RepetitionSettings | LoudUnlabelledSettings
    ) -> list[Stream]:
        if isinstance(pattern, RepetitionSettings):
            return self._count(slug, pattern)
        return [self._all(model) for model in self.inputs.values()]

    def _count(self, slug: str, pattern: RepetitionSettings) -> list[Stream]:
        found = [
            name
            for name, model in self.inputs.items()
            if pattern.model in (None, name) and not model.spec.ctc and pattern.label in model.known
        ]
        if len(found) > 1:
            raise ConfigError(
                f"patterns.{slug}.label: {' and '.join(found)} have a label {pattern.label!r}; "
                "say with model = … whose is meant"
            )
        return [self._member(ModelStream(name, "beeps"), pattern.label) for name in found]

    def _all(self, model: PatternInput) -> Stream:
        """All labels of a model that its bundle enables, even those that are not published."""
        if model.spec.ctc:
            return ModelStream(model.name, "published")
        raw = ModelStream(model.name, "raw")
        self._members.setdefault(raw, set())
        for label in model.spec.labels:
            if label.enabled or label.slug in model.published:
                self._member(raw, label.slug)
        return raw

    def _join(self, slug: str, pattern: GroupSettings) -> list[Stream]:
        streams: list[Stream] = []
        for label in pattern.labels:
            if label != slug and label in self.settings:
                streams += [PatternStream(label)] if label in self.streams else []
                continue
            for name, model in self.inputs.items():
                if label in model.published:
                    streams.append(ModelStream(name, "published"))
                elif label in model.known:
                    streams.append(self._member(ModelStream(name, "unpublished"), label))
        return streams

    def _member(self, stream: ModelStream, label: str) -> Stream:
        self._members.setdefault(stream, set()).add(label)
        return stream


def _rules(model: PatternInput, kind: StreamKind, slugs: Collection[str]) -> list[LabelRule]:
    try:
        rules = label_rules(model.spec, model.settings, slugs)
    except ConfigError as error:
        raise ConfigError(f"models.{model.name}: {error}") from None
    if kind in ("raw", "beeps"):
        rules = [replace(rule, min_samples=0, merge_samples=0) for rule in rules]
    if kind == "beeps":
        rules += [_low_threshold(rule) for rule in rules]
    return rules


def _low_threshold(rule: LabelRule) -> LabelRule:
    onset = rule.onset_threshold / 2
    offset = min(onset, rule.offset_threshold)
    slug = low_threshold_slug(rule.slug)
    return replace(rule, slug=slug, onset_threshold=onset, offset_threshold=offset)
