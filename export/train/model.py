"""The network: convolutions that halve time and frequency, then attention over what is left."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

HALVES = 2
"""Frames that a token answers for."""
RARE = -4.0
"""Logits begin here: most labels are absent from most windows."""

Convolution = tuple[int, int, tuple[int, int]]
"""Channels, size, and stride in time and frequency."""

STEM: tuple[Convolution, ...] = (
    (16, 5, (2, 2)),
    (32, 3, (2, 2)),
    (32, 3, (1, 1)),
    (64, 3, (2, 2)),
    (64, 3, (1, 1)),
    (128, 3, (1, 2)),
    (128, 3, (1, 1)),
    (192, 3, (1, 2)),
)


@dataclass(frozen=True)
class Shape:
    """Everything that the network's form depends on."""

    labels: int
    frames: int = 512
    mel_bins: int = 128
    stem: tuple[Convolution, ...] = STEM
    width: int = 192
    layers: int = 2
    heads: int = 4
    skip: float = 0.1
    """How often training leaves out a layer for an example (stochastic depth)."""
    drop: float = 0.1
    """How often training leaves out a value before the heads."""


class Sounds(nn.Module):
    """An audio spectrogram transformer with a convolutional stem, and two heads.

    The stem turns (frames, mel_bins) into frames / 8 tokens of 80 ms; a pre-norm transformer
    relates them. For the window, each label attends to the tokens in which it is heard, so that a
    sound that fills a second of it counts as much as one that fills it. For the moments, each
    token says which labels are heard in either of its halves, of 40 ms.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inputs = (1, *(outputs for outputs, _, _ in shape.stem))
        self.stem = nn.Sequential(
            *(_convolution(into, *layer) for into, layer in zip(inputs, shape.stem, strict=False))
        )
        bands = shape.mel_bins // prod(stride[1] for _, _, stride in shape.stem)
        tokens = shape.frames // prod(stride[0] for _, _, stride in shape.stem)
        self.project = nn.Linear(inputs[-1] * bands, shape.width)
        self.position = nn.Parameter(torch.zeros(1, tokens, shape.width))
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.drop = nn.Dropout(shape.drop)
        self.head = Pool(shape.width, shape.labels)
        self.frames = nn.Linear(shape.width, HALVES * shape.labels)
        nn.init.constant_(self.frames.bias, RARE)
        nn.init.trunc_normal_(self.position, std=0.02)

    def tokens(self, x: Tensor) -> Tensor:
        """(batch, frames, mel_bins) to (batch, frames / 8, width)."""
        x = self.stem(x.unsqueeze(1)).permute(0, 2, 1, 3).flatten(2)
        x = self.project(x) + self.position
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.norm(x)
        return normed

    def heads(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, tokens, width) to logits: (batch, labels) and (batch, 2 * tokens, labels)."""
        tokens = self.drop(tokens)
        return self.head(tokens), self.frames(tokens).unflatten(2, (HALVES, -1)).flatten(1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, mel_bins) normalised log-mel to the logits of clip and frames."""
        return self.heads(self.tokens(x))


class Pool(nn.Module):
    """(batch, tokens, width) to (batch, labels): each label's logit, weighted over the tokens."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.attend = nn.Linear(width, labels)
        self.classify = nn.Linear(width, labels)
        nn.init.constant_(self.classify.bias, RARE)

    def forward(self, tokens: Tensor) -> Tensor:
        weights: Tensor = self.attend(tokens).softmax(dim=1)
        logits: Tensor = self.classify(tokens)
        return (weights * logits).sum(dim=1)


class _Layer(nn.Module):
    """Attention, then two dense layers, each normalised before and added after."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads, self.skip = shape.heads, shape.skip
        self.norm_attention, self.norm_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.query_key_value(self.norm_attention(x))
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(dim=-1)
        x = x + self._drop(self.out((weights @ v).transpose(1, 2).flatten(2)))
        dense: Tensor = x + self._drop(self.dense(self.norm_dense(x)))
        return dense

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training:
            return branch
        kept = torch.rand(len(branch), 1, 1) >= self.skip
        dropped: Tensor = branch * kept / (1 - self.skip)
        return dropped


def _convolution(inputs: int, outputs: int, size: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
