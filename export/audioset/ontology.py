"""AudioSet's ontology: 632 kinds of sound, each with the kinds that it is made of.

ontology.csv is the AudioSet ontology (J. F. Gemmeke et al., "Audio Set: An ontology and
human-labeled dataset for audio events", ICASSP 2017; github.com/audioset/ontology), brought from
JSON to CSV without descriptions and examples. It is under CC BY-SA 4.0, and so is what is made of
it here: see NOTICE.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from detector.slugs import slugify


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sound."""

    mid: str
    """Its machine id."""
    name: str
    children: tuple[str, ...]
    """Machine ids of its direct subkinds. A kind may be a subkind of several others."""

    @property
    def slug(self) -> str:
        return slugify(self.name)


@cache
def ontology() -> Mapping[str, Kind]:
    """All kinds by their machine ids, in the ontology's order."""
    with Path(__file__).with_name("ontology.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["mid"]: Kind(row["mid"], row["name"], tuple(row["child_mids"].split()))
            for row in csv.DictReader(file)
        }


@cache
def mids() -> Mapping[str, str]:
    """Machine ids by slug; no two kinds share one."""
    return {kind.slug: kind.mid for kind in ontology().values()}


def subkinds(mid: str, known: Mapping[str, object]) -> tuple[str, ...]:
    """Machine ids of the nearest kinds below `mid` that are in `known`, in the ontology's order.

    A model may know a kind and its subkinds but not what is between them.
    """

    def nearest(parent: str) -> Iterator[str]:
        for child in ontology()[parent].children:
            if child in known:
                yield child
            else:
                yield from nearest(child)

    return tuple(dict.fromkeys(nearest(mid)))
