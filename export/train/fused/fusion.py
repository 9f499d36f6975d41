"""Three opinions become one: of the network trained here, and two on what YAMNet makes of patches.

They err differently: what all of them hear is there far more often than what one of them hears. So
whether a label is believed is decided by the window, by the mean of their logits. Where it begins
and ends is another question, which the trained network's frames answer: relative to the loudest of
them in the window, lest a doubt about what it is move the edges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from export.audioset.front_end import FRAMES as PATCH
from export.train.augment import FRAME, FRAMES
from export.train.data import BEEP, MONOXIDE, SMOKE
from export.train.fused.bands import FIRST_ROW, PATCHES
from export.train.fused.view import View
from export.train.teacher import CLASSES

ALONE: Final = (BEEP, SMOKE, MONOXIDE)
"""Labels that the trained network tells alone: it learnt them from thousands of mixtures, the layer
on what YAMNet sees from a few, and YAMNet doubts them over speech."""
HELD: Final = 24
"""Frames, 0.96 s, of a tone that is longer than a beep of an alarm, and than four quick ones."""
NEVER: Final = 100.0
CERTAIN: Final = 3.0
"""The network's frames are careful: their logits count as so many times as high."""
PEAK: Final = 2.0
"""Frames of a label are lifted until the highest of the window has this logit, if it has less."""


@dataclass(frozen=True)
class Weighing:
    """How much each opinion counts. A label that lacks one counts the others for more."""

    network: float = 0.4
    view: float = 0.3
    """Of the layer on what YAMNet sees in the patches."""
    classes: float = 0.3
    """Of YAMNet's own classes, the best patch."""

    def rows(self, has: Sequence[tuple[bool, bool, bool]]) -> Tensor:
        """(3, labels): the weights, for each label with one for each opinion that it has."""
        found = torch.tensor(has, dtype=torch.float32).T * torch.tensor(
            [[self.network], [self.view], [self.classes]]
        )
        return found / found.sum(dim=0)


class Fusion(nn.Module):
    """The opinions of a window to its logits: (batch, labels) and (batch, frames, labels)."""

    weights: Tensor
    """(3, labels)."""
    places: Tensor
    """(labels, k): which of YAMNet's classes mean it; the first again where there are fewer."""
    network_places: Tensor
    """(labels,): where the trained network has it; 0 if it does not."""
    view_places: Tensor
    has_frames: Tensor
    """(labels,): 1 if the trained network has it."""
    patches: Tensor
    """(frames,): in which patch a frame is, or which is the nearest."""

    def __init__(
        self,
        slugs: Sequence[str],
        network: Sequence[str],
        view: View,
        view_slugs: Sequence[str],
        classes: Mapping[str, Sequence[int]],
        weighing: Weighing = Weighing(),
    ) -> None:
        """Set up.

        Args:
            slugs: the labels.
            network: those of the trained network, in the order of its outputs.
            view: the layer on what YAMNet sees.
            view_slugs: its labels.
            classes: YAMNet's for each label that it has.
            weighing: what each opinion counts.
        """
        super().__init__()
        self.view, self.network_labels, self.classes = view, len(network), CLASSES
        self._beep = network.index(BEEP) if BEEP in network else None
        has = [
            (True, False, False)
            if slug in ALONE and slug in network
            else (slug in network, slug in view_slugs, slug in classes)
            for slug in slugs
        ]
        widest = max(map(len, classes.values()))
        table = [classes.get(slug, (0,)) for slug in slugs]
        row = FRAME * torch.arange(FRAMES // FRAME) + FRAME // 2 - FIRST_ROW
        buffers = {
            "weights": weighing.rows(has),
            "places": torch.tensor([(*each, *[each[0]] * (widest - len(each))) for each in table]),
            "network_places": _places(slugs, network),
            "view_places": _places(slugs, view_slugs),
            "has_frames": torch.tensor([float(own) for own, _, _ in has]),
            SMOKE: torch.tensor([slug == SMOKE for slug in slugs]),
            MONOXIDE: torch.tensor([slug == MONOXIDE for slug in slugs]),
            "patches": (row // PATCH).clamp(0, PATCHES - 1),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(
        self, clip: Tensor, frames: Tensor, sights: Tensor, scored: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weigh.

        Args:
            clip: (batch, network's labels), logits.
            frames: (batch, frames, network's labels), logits.
            sights: (batch, PATCHES, dim): what YAMNet sees in each patch.
            scored: (batch, PATCHES, classes), its logits.
        """
        count = len(self.places)
        found = scored[:, :, self.places.flatten()].reshape(
            -1, PATCHES, count, self.places.shape[1]
        )
        patches = found.amax(dim=3)
        opinions = (
            clip[:, self.network_places],
            self.view(sights)[:, self.view_places],
            patches.amax(dim=1),
        )
        believed = sum(weight * each for weight, each in zip(self.weights, opinions, strict=True))
        if self._beep is not None:
            most = _beeping(frames[:, :, self._beep])
            for alarm, limit in zip((MONOXIDE, SMOKE), most, strict=True):
                limited = torch.minimum(believed, limit)
                believed = torch.where(getattr(self, alarm), limited, believed)
        own = frames[:, :, self.network_places]
        by_frame = self.has_frames * own + (1 - self.has_frames) * patches[:, self.patches]
        lift = (PEAK - by_frame.amax(dim=1, keepdim=True)).clamp_min(0)
        return believed, by_frame + lift


def _beeping(beep: Tensor) -> tuple[Tensor, Tensor]:
    """How sure it is that nothing is held, and that besides a beep is followed by another.

    Args:
        beep: (batch, frames), logits.

    Returns:
        (batch, 1) each, logits.
    """
    inside = beep.unsqueeze(1)
    short = nn.functional.max_pool1d(-inside, HELD, 1).amin(dim=2)
    length = beep.shape[1]
    never = nn.functional.pad(inside, (length - 1, length - 1), value=-NEVER)
    reached = nn.functional.max_pool1d(never, length, 1)
    before, after = reached[..., :length], reached[..., length - 1 :]
    again = torch.minimum(torch.minimum(before, after), -inside).amax(dim=2)
    return CERTAIN * short, CERTAIN * torch.minimum(short, again)


def _places(slugs: Sequence[str], among: Sequence[str]) -> Tensor:
    return torch.tensor([among.index(slug) if slug in among else 0 for slug in slugs])
