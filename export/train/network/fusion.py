"""Several opinions in one graph: what was trained here, and YAMNet's own, patch by patch.

They err differently: what all hear is there far more often than what one of them hears.
"""

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from export.train.network.sounds import FRAME, Sounds, View
from export.train.network.yamnet import HEARD, PATCH, Frozen, Weights, classifier


def audioset_classes() -> dict[str, tuple[int, ...]]:
    """For each label, the classes of YAMNet that mean it.

    Chosen by hand from their names and, where those leave a doubt, by what names more clips of
    folds 1 to 4 right.
    """
    classes: dict[str, tuple[int, ...]] = {}
    file = Path(__file__).with_name("yamnet_labels.csv")
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            classes[row["label"]] = (*classes.get(row["label"], ()), int(row["class"]))
    return classes


@dataclass(frozen=True)
class Weighing:
    """How much each opinion counts, in logits."""

    tuned: float
    """Of the fine-tuned convolutions."""
    view: float
    """Of the layer on YAMNet's own view; frames have none."""
    classes: float
    """Of YAMNet's own classes."""

    def rows(
        self, slugs: Sequence[str], trained: int, classes: Collection[str]
    ) -> list[tuple[float, float, float]]:
        """For each label; one that lacks an opinion counts the others for more."""
        found = []
        for i, slug in enumerate(slugs):
            if i >= trained:
                found.append((0.0, 0.0, 1.0))
            elif slug in classes:
                found.append((self.tuned, self.view, self.classes))
            else:
                whole = (self.tuned + self.view + self.classes) / (self.tuned + self.view)
                found.append((self.tuned * whole, self.view * whole, 0.0))
        return found


class Fused(nn.Module):
    """(batch, frames, 64) to logits: (batch, labels) and (batch, frames / 4, labels).

    A label that was not trained is YAMNet's alone; one that YAMNet does not have is ours alone.
    A frame gets YAMNet's opinion of the patch that it is in.
    """

    places: Tensor
    """(labels, k): which of the classes mean the label; the first again where there are fewer."""
    clip_weights: Tensor
    """(3, labels): of what was fine-tuned, of the view, and of YAMNet's classes."""
    frames_weights: Tensor

    def __init__(
        self,
        weights: Weights,
        sounds: Sounds,
        view: View,
        slugs: Sequence[str],
        classes: Mapping[str, Sequence[int]],
        clip: Weighing,
        frames: Weighing,
    ) -> None:
        """Put them together.

        Args:
            weights: YAMNet's.
            sounds: what was fine-tuned.
            view: what was trained on YAMNet's own view.
            slugs: the labels: those that were trained, in their order, then the others.
            classes: YAMNet's, for each label that it has.
            clip: for the window.
            frames: for its frames.
        """
        super().__init__()
        self.frozen, self.sounds = Frozen(weights, sounds.shape.fixed), sounds
        self.view = view
        self.trained = sounds.shape.labels
        wanted = sorted({one for each in classes.values() for one in each})
        self.classes = classifier(weights, wanted)
        widest = max(map(len, classes.values()))
        table = [[wanted.index(one) for one in classes.get(slug, wanted[:1])] for slug in slugs]
        places = torch.tensor([[*each, *each[:1] * (widest - len(each))] for each in table])
        self.register_buffer("places", places)
        for name, weighing in (("clip", clip), ("frames", frames)):
            rows = weighing.rows(slugs, self.trained, classes)
            self.register_buffer(f"{name}_weights", torch.tensor(rows).T.contiguous())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        *steps, patches = self.frozen(x)
        clip, frames = self.sounds(*steps, patches)
        other = self.other(patches)
        by_frame = self.by_frame(other, frames.shape[1])
        return (
            self._weigh(self.clip_weights, clip, self.view(patches), other.amax(dim=1)),
            self._weigh(self.frames_weights, frames, torch.zeros_like(frames), by_frame),
        )

    def other(self, patches: Tensor) -> Tensor:
        """(batch, patches, labels): YAMNet's logit of each label's best class."""
        classes = self.classes(patches)
        count = len(self.places)
        found: Tensor = classes[:, :, self.places.flatten()].reshape(*classes.shape[:2], count, -1)
        return found.amax(dim=3)

    def by_frame(self, other: Tensor, frames: int) -> Tensor:
        """(batch, frames, labels): of the patch that a frame is in, or of the nearest."""
        row = FRAME * torch.arange(frames) + FRAME // 2 - (HEARD - other.shape[1] * PATCH)
        found: Tensor = other[:, (row // PATCH).clamp(0, other.shape[1] - 1)]
        return found

    def _weigh(self, weights: Tensor, tuned: Tensor, view: Tensor, classes: Tensor) -> Tensor:
        missing = torch.zeros_like(classes[..., self.trained :])
        tuned, view = (torch.cat((each, missing), dim=-1) for each in (tuned, view))
        weighed: Tensor = weights[0] * tuned + weights[1] * view + weights[2] * classes
        return weighed
