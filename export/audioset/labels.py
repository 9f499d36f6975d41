"""YAMNet's classes as labels: named and arranged as in AudioSet's ontology."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from detector.errors import BundleError
from detector.slugs import slugify
from detector.spec import Label
from export.audioset.ontology import mids, ontology, subkinds

USEFUL: Final = frozenset({
    # What Frigate listens to unless its user says otherwise,
    "bark", "fire_alarm", "screaming", "speech", "yell",
    # and what people ask for.
    "baby_cry_infant_cry", "car_alarm", "cat", "cough", "doorbell", "glass", "gunshot_gunfire",
    "knock", "music", "siren", "snoring",
})  # fmt: skip
"""Labels that are enabled."""

MERGE_GAP_S: Final = 1.0
_SPLIT: Final = re.compile(r", (?![^(]*\))")
"""Between two synonyms, but not inside parentheses."""
SHORT: Final = {"screaming": "scream"}
"""Names that other programs have for a label, beside those that the ontology gives."""


def labels_of(names: Sequence[str]) -> tuple[Label, ...]:
    """The labels of AudioSet's classes of these names, none calibrated.

    A label is a parent of those that the ontology places below it, nearest first known. The
    ontology lists synonyms in a name: each that stands for one class alone is an alias, as
    `gunfire` of "Gunshot, gunfire".

    Raises:
        BundleError: a name is not AudioSet's.
    """
    if unknown := [name for name in names if slugify(name) not in mids()]:
        raise BundleError(f"AudioSet's ontology has no class {unknown[0]!r}")
    known = {mids()[slugify(name)]: name for name in names}
    counts = Counter(synonym for name in names for synonym in _synonyms(name))
    return tuple(
        Label(
            slug=slugify(name),
            name=name,
            mid=mid,
            merge_gap_s=MERGE_GAP_S,
            enabled=slugify(name) in USEFUL,
            children=tuple(ontology()[child].slug for child in subkinds(mid, known)),
            aliases=tuple(
                synonym
                for synonym in _synonyms(name)
                if counts[synonym] == 1 and synonym != slugify(name)
            ),
        )
        for mid, name in known.items()
    )


def _synonyms(name: str) -> tuple[str, ...]:
    """The slugs of a name, whole and in parts."""
    slug = slugify(name)
    parts = [slugify(part.removeprefix("and ")) for part in _SPLIT.split(name) if part != "etc."]
    return tuple(dict.fromkeys([slug, *parts, *([SHORT[slug]] if slug in SHORT else [])]))
