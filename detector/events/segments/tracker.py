"""What turns the scores of one model into events, whatever kind of model it is."""

from collections.abc import Sequence
from typing import Protocol

from detector.events.scores.steps import Step
from detector.records import Event, Scores


class SegmentTracker(Protocol):
    """Scores and their steps in, the events of one model and one source out.

    Who owns the steps makes them of the scores, so several trackers can be given the same ones.
    """

    @property
    def known_until(self) -> int:
        """Before this sample no segment can begin any more."""
        ...

    def push(self, scores: Scores, steps: Sequence[Step]) -> list[Event]:
        """Take the scores of the next window, and the steps that are certain with them."""
        ...

    def cut(self, end_sample: int, steps: Sequence[Step]) -> list[Event]:
        """Take the steps that were left, and end every segment at `end_sample`."""
        ...
