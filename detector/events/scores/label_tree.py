"""Labels that are kinds of other labels: a dog is heard where a bark is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detector.records import FloatArray, Scores
from detector.spec import Label


class LabelTree:
    """Gives each label the highest score of its own and of all that lie below it.

    Labels need not form a tree: one may be a kind of several others.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        """`labels` in the order of the scores."""
        places = {label.slug: place for place, label in enumerate(labels)}
        below = [[places[child] for child in label.children] for label in labels]
        families = [_family(place, below) for place in range(len(labels)) if below[place]]
        self._parents = np.array([family[0] for family in families], np.intp)
        self._members = np.array([place for family in families for place in family], np.intp)
        sizes = [len(family) for family in families]
        self._begins = np.cumsum([0, *sizes[:-1]], dtype=np.intp)

    def apply(self, scores: Scores) -> Scores:
        """The scores of a window, those of labels that have children raised to their children's."""
        if not len(self._parents):
            return scores
        clip, frames = (
            None if one is None else self.raised(one) for one in (scores.clip, scores.frames)
        )
        return replace(scores, clip=clip, frames=frames)

    def raised(self, scores: FloatArray) -> FloatArray:
        """(…, n_labels) to the same."""
        raised = scores.copy()
        raised[..., self._parents] = np.maximum.reduceat(
            scores[..., self._members], self._begins, axis=-1
        )
        return raised


def _family(place: int, below: Sequence[Sequence[int]]) -> list[int]:
    """A label and all that lie below it, itself first; circles end where they began."""
    found = dict.fromkeys([place])
    ahead = [place]
    while ahead:
        new = [child for child in below[ahead.pop()] if child not in found]
        found.update(dict.fromkeys(new))
        ahead += new
    return list(found)
