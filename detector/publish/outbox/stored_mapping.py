"""A table of the file, as it should be and as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MappingChanges:
    """What makes the table of the file what it should be."""

    put: Mapping[str, str]
    removed: Sequence[str]


NO_CHANGES = MappingChanges({}, ())


class StoredMapping:
    """Strings by strings, of which only what differs from the file is written.

    A value may change while earlier changes are being written.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._stored: dict[str, str] = {}
        self._differing: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Whether there is something to write."""
        return bool(self._differing)

    def put(self, key: str, value: str = "") -> bool:
        """Whether that is a change."""
        if self.values.get(key) == value:
            return False
        self.values[key] = value
        self._compare(key)
        return True

    def discard(self, key: str) -> bool:
        """Whether it was there."""
        if self.values.pop(key, None) is None:
            return False
        self._compare(key)
        return True

    def loaded(self, stored: Mapping[str, str]) -> None:
        """The file was read: what it holds is taken over, but for what is known better."""
        self._stored = dict(stored)
        self.values = {**stored, **self.values}
        for key in self.values:
            self._compare(key)

    def changes(self) -> MappingChanges:
        return MappingChanges(
            {key: self.values[key] for key in self._differing if key in self.values},
            [key for key in self._differing if key not in self.values],
        )

    def written(self, changes: MappingChanges) -> None:
        """The file holds these changes now."""
        self._stored.update(changes.put)
        for key in changes.removed:
            self._stored.pop(key, None)
        for key in (*changes.put, *changes.removed):
            self._compare(key)

    def _compare(self, key: str) -> None:
        if self.values.get(key) == self._stored.get(key):
            self._differing.pop(key, None)
        else:
            self._differing[key] = None
