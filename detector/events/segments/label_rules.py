"""Which labels become events, and by which thresholds: the bundle's word, then the user's."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from detector.errors import ConfigError
from detector.records import SAMPLE_RATE
from detector.settings.models import ModelSettings
from detector.spec import BundleSpec, Label

_MOST_SHOWN: Final = 100
"""Labels that an error lists."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """How one label's scores become segments."""

    index: int
    """The label's place in the model's scores."""
    slug: str
    name: str
    onset_threshold: float
    """A segment begins at a score of at least this."""
    offset_threshold: float
    """It ends at a score below this."""
    min_samples: int
    """A shorter segment is no event."""
    merge_samples: int
    """Segments with a shorter pause between them are one."""


def label_rules(
    spec: BundleSpec, settings: ModelSettings, wanted: Collection[str] | None = None
) -> list[LabelRule]:
    """Apply the configuration to the labels of a bundle.

    Args:
        spec: of the bundle.
        settings: what the configuration says of its labels.
        wanted: the labels for which there are rules; those that become events if absent.

    Returns:
        The rules in the bundle's order.

    Raises:
        ConfigError: for a label that the bundle does not have, or thresholds that contradict.
    """
    settings = settings.by_slug(spec.labels)
    known = {label.slug for label in spec.labels}
    names = [*(label.slug for label in spec.labels), *(a for x in spec.labels for a in x.aliases)]
    for field, slugs in (("labels", settings.labels), ("only", settings.only or ())):
        for slug in slugs:
            if slug not in known:
                raise ConfigError(f"{field}: {spec.id} has no label {slug!r}{hint(slug, names)}")
    blank = spec.ctc.blank if spec.ctc else None
    rules = []
    for index, label in enumerate(spec.labels):
        own = settings.labels.get(label.slug)
        changes = own.model_dump(exclude_none=True) if own else {}
        if settings.only is not None:
            changes.setdefault("enabled", label.slug in settings.only)
        changed = label.model_copy(update=changes) if changes else label
        listed = changed.enabled if wanted is None else label.slug in wanted
        if listed and label.slug != blank:
            rules.append(_rule(index, changed, spec.id))
    return rules


def hint(slug: str, known: Collection[str]) -> str:
    """The end of an error about a label that is not known."""
    close = difflib.get_close_matches(slug, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    more = f" and {len(known) - _MOST_SHOWN} more" if len(known) > _MOST_SHOWN else ""
    return f", only {', '.join([*known][:_MOST_SHOWN])}{more}"


def _rule(index: int, label: Label, model: str) -> LabelRule:
    if label.offset_threshold > label.onset_threshold:
        raise ConfigError(
            f"labels.{label.slug}: offset_threshold {label.offset_threshold} is above "
            f"onset_threshold {label.onset_threshold} ({model}); set both"
        )
    return LabelRule(
        index=index,
        slug=label.slug,
        name=label.name,
        onset_threshold=label.onset_threshold,
        offset_threshold=label.offset_threshold,
        min_samples=round(label.min_duration_s * SAMPLE_RATE),
        merge_samples=round(label.merge_gap_s * SAMPLE_RATE),
    )
