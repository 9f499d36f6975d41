"""Which recordings are held out: whole sources, some of each label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detector.errors import ConfigError
from export.heads.data.recordings import Collection, Recording


@dataclass(frozen=True, slots=True)
class Split:
    """Recordings on both sides; no source is on both."""

    fitted: tuple[Recording, ...]
    held_out: tuple[Recording, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """Copies of a recording."""

    recordings: tuple[Recording, ...]

    @property
    def labels(self) -> frozenset[int]:
        return frozenset().union(*(recording.labels for recording in self.recordings))


def split(collection: Collection, share: float, seed: int) -> Split:
    """Hold out about `share` of the sources of each label, at least one; and of the backgrounds.

    Args:
        collection: every label has at least two sources.
        share: 0..1, exclusive.
        seed: the same seed makes the same choice, whatever the order of the recordings.

    Raises:
        ConfigError: naming a label of which no source can be held out while another fits it.
    """
    rng = np.random.default_rng(seed)
    sources = _sources(collection.recordings)
    of_label = [[s for s in sources if i in s.labels] for i in range(len(collection.labels))]
    for name, own in zip(collection.labels, of_label, strict=True):
        if len(own) < 2:  # noqa: PLR2004
            raise ConfigError(
                f"the label {name!r} is heard in one recording alone (copies count once); at "
                "least two are needed, one to fit and one to hold out, and ten are better"
            )
    held: set[int] = set()
    for index in sorted(range(len(of_label)), key=lambda i: (len(of_label[i]), i)):
        own = of_label[index]
        wanted = _count(len(own), share)
        for source in (own[i] for i in rng.permutation(len(own))):
            if sum(id(s) in held for s in own) >= wanted:
                break
            if id(source) not in held and _can_go(source, of_label, held):
                held.add(id(source))
        if not any(id(s) in held for s in own):
            raise ConfigError(
                f"no recording of the label {collection.labels[index]!r} can be held out: each "
                "has another label's only other recording; record it apart from them"
            )
    quiet = [source for source in sources if not source.labels]
    if len(quiet) > 1:
        chosen = rng.permutation(len(quiet))[: _count(len(quiet), share)]
        held |= {id(quiet[i]) for i in chosen}
    return Split(
        fitted=tuple(r for s in sources if id(s) not in held for r in s.recordings),
        held_out=tuple(r for s in sources if id(s) in held for r in s.recordings),
    )


def _count(sources: int, share: float) -> int:
    return min(max(1, round(sources * share)), sources - 1)


def _can_go(source: _Source, of_label: Sequence[Sequence[_Source]], held: set[int]) -> bool:
    """Whether every label of the source keeps another one to be fitted to."""
    return all(
        any(id(other) not in held and other is not source for other in of_label[label])
        for label in source.labels
    )


def _sources(recordings: Sequence[Recording]) -> list[_Source]:
    by_digest: dict[str, list[Recording]] = {}
    for recording in sorted(recordings, key=lambda r: (r.path.name, r.digest, str(r.path))):
        by_digest.setdefault(recording.digest, []).append(recording)
    return [_Source(tuple(same)) for same in by_digest.values()]
