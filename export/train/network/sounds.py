"""The network: YAMNet's convolutions, fine-tuned over the whole window, and heads of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.train.network.yamnet import CONVOLUTIONS, Frozen, Weights, convolution

RARE = -4.0
"""Logits begin here: most labels are absent from most windows."""
MIDDLE = 23
"""Convolutions until frames of 160 ms: (batch, 512, frames / 16, 4)."""
FRAME = 4
"""Rows of the input that become a frame of the answer: 40 ms."""


@dataclass(frozen=True)
class Shape:
    """Everything that the network's form depends on, beside YAMNet's own."""

    labels: int
    frames: int = 512
    fixed: int = MIDDLE
    """Convolutions that stay as YAMNet's, 13 to 23 of them; the others are trained."""
    width: int = 160
    """Of a frame's features."""
    drop: float = 0.3
    """How often training leaves out a value before a head."""


class Sounds(nn.Module):
    """Tells labels from what YAMNet's trunk hears, for the window and for frames of 40 ms.

    The trunk is YAMNet's own and stays as it is; the convolutions after it begin as YAMNet's and
    are trained over the whole window. For the window, each label attends to the steps of 320 ms in
    which it is heard, and to YAMNet's own view of the patches. A frame is judged by all
    resolutions, from 40 to 320 ms.
    """

    def __init__(self, shape: Shape, weights: Weights) -> None:
        super().__init__()
        self.shape = shape
        self.middle = nn.Sequential(*(convolution(i, weights) for i in range(shape.fixed, MIDDLE)))
        self.late = nn.Sequential(*(convolution(i, weights) for i in range(MIDDLE, CONVOLUTIONS)))
        self.drop = nn.Dropout(shape.drop)
        self.clip = ClipHead(1024, shape.labels)
        self.patches = ClipHead(1024, shape.labels, rare=0.0)
        self.frames = FrameHead(shape)

    def forward(
        self, fine: Tensor, coarse: Tensor, middle: Tensor, patches: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What stays YAMNet's to logits: (batch, labels) and (batch, frames / 4, labels)."""
        middle = self.middle(middle)
        late = self.late(middle)
        clip: Tensor = self.clip(self.drop(late.mean(dim=3).transpose(1, 2)))
        clip = clip + self.patches(self.drop(patches))
        return clip, self.frames((fine, coarse, middle, late))

    def new(self) -> list[nn.Parameter]:
        """The parameters that are not YAMNet's."""
        heads = (self.clip, self.patches, self.frames)
        return [parameter for head in heads for parameter in head.parameters()]


class ClipHead(nn.Module):
    """(batch, steps, width) to (batch, labels): each label weighs the steps as it needs."""

    def __init__(self, width: int, labels: int, rare: float = RARE) -> None:
        super().__init__()
        self.attend = nn.Linear(width, labels)
        self.classify = nn.Linear(width, labels)
        self.overall = nn.Linear(width, labels, bias=False)
        nn.init.zeros_(self.attend.weight)
        nn.init.zeros_(self.overall.weight)
        nn.init.constant_(self.classify.bias, rare)

    def forward(self, steps: Tensor) -> Tensor:
        weights: Tensor = self.attend(steps).softmax(dim=1)
        heard: Tensor = (weights * self.classify(steps)).sum(dim=1)
        whole: Tensor = self.overall(steps.mean(dim=1))
        return heard + whole


class View(nn.Module):
    """(batch, patches, dim) to (batch, labels): a linear layer on their mean and their maximum."""

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(2 * dim, labels)

    @staticmethod
    def pool(patches: Tensor) -> Tensor:
        """(batch, 2 * dim)."""
        return torch.cat((patches.mean(dim=1), patches.amax(dim=1)), dim=1)

    def forward(self, patches: Tensor) -> Tensor:
        logits: Tensor = self.layer(self.pool(patches))
        return logits


class FrameHead(nn.Module):
    """Resolutions of 40, 80, 160 and 320 ms to the logits of frames of 40 ms."""

    INPUTS: Sequence[tuple[int, int, int]] = (
        (128, 16, 4),
        (256, 8, 4),
        (512, 4, 4),
        (1024, 2, 2),
    )
    """Channels, bands, and bands after pooling."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Linear(channels * bands, shape.width) for channels, _, bands in self.INPUTS
        )
        self.norm = nn.LayerNorm(shape.width)
        self.mix = nn.ModuleList(_Mix(shape.width) for _ in range(2))
        self.drop = nn.Dropout(shape.drop / 2)
        self.classify = nn.Linear(shape.width, shape.labels)
        nn.init.constant_(self.classify.bias, RARE)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        features: list[Tensor] = []
        for level, project, (_, bands, kept) in zip(levels, self.project, self.INPUTS, strict=True):
            pooled = level.reshape(*level.shape[:3], kept, bands // kept).mean(dim=4)
            features.append(project(pooled.permute(0, 2, 1, 3).flatten(2)))
        x = features[0]
        for feature in features[1:]:
            x = x + feature.repeat_interleave(x.shape[1] // feature.shape[1], dim=1)
        x = self.norm(x)
        for mix in self.mix:
            x = mix(x)
        logits: Tensor = self.classify(self.drop(x))
        return logits


class _Mix(nn.Module):
    """Each frame looks at its neighbours: 280 ms of them, then 440."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.neighbours = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.dense = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = self.neighbours(x.transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = x + self.dense(x + seen)
        return mixed


class Whole(nn.Module):
    """What stays and what is trained in one."""

    def __init__(self, weights: Weights, sounds: Sounds) -> None:
        super().__init__()
        self.frozen, self.sounds = Frozen(weights, sounds.shape.fixed), sounds

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        answers: tuple[Tensor, Tensor] = self.sounds(*self.frozen(x))
        return answers
