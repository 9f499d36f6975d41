"""Whatever scores windows: a session here, or a server elsewhere."""

from collections.abc import Sequence
from typing import Protocol

from detector.records import Scores, Window
from detector.spec import BundleSpec


class Scorer(Protocol):
    """A model that is ready to score."""

    @property
    def spec(self) -> BundleSpec:
        """What the model is."""
        ...

    @property
    def largest_batch(self) -> int:
        """How many windows it scores at once with profit."""
        ...

    @property
    def in_flight(self) -> int:
        """How many windows of one source may wait for its answers at once.

        More than one pays where an answer takes longer than the work on it, as over a network;
        else the window that waits only becomes older.
        """
        ...

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        """Score a batch of windows, in their order. Takes as long as it takes.

        Raises:
            InferenceError: it cannot be computed, or the answer is not made of probabilities.
            BundleError: the answer is not what the bundle promises.
        """
        ...
