"""A linear layer on what YAMNet sees, before it decides on classes: learnt in seconds.

A window's view is the mean and the maximum of its patches. It is fitted to recordings as they are,
loud and quieter, since YAMNet itself has heard them in every condition.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, FloatArray
from export.train.augment import HEARD
from export.train.data import FBANK, Row, at_speed, read
from export.train.evaluate import window
from export.train.model import RARE

VERSIONS: Final = ((1.0, 1.0), (1.09, 0.3), (0.92, 0.1))
"""Each clip is seen at these speeds, this loud."""
GAINS: Final = (1.0, 0.3, 0.1)
"""Other recordings are seen as loud as one of these."""
WINDOWS_EACH: Final = 4
"""Of other recordings, at most."""
STEPS: Final = 600
BATCH: Final = 256
RATE: Final = 3e-3
DROP: Final = 0.3
DECAY: Final = 0.01
LEAST: Final = 0.05
"""Deviation of a value under which it is not enlarged."""


@dataclass(frozen=True)
class Piece:
    """A window of a recording as it is."""

    rows: FloatArray
    """(FRAMES, mel_bins)."""
    target: FloatArray
    """(labels,) 0 or 1."""
    known: FloatArray
    """(labels,) 0 where nothing is known of the label, else 1."""


def pieces(rows: Iterable[Row], slugs: Sequence[str]) -> Iterator[Piece]:
    """Windows of the recordings, clips in each of VERSIONS."""
    for number, row in enumerate(rows):
        samples = read(row.path)
        if row.fold:
            versions = [at_speed(samples, speed) * np.float32(gain) for speed, gain in VERSIONS]
        else:
            versions = [samples * np.float32(GAINS[number % len(GAINS)])]
        for version in versions:
            yield from cut(version, row.labels, row.unknown, slugs)


def cut(
    samples: FloatArray, labels: Sequence[str], unknown: Sequence[str], slugs: Sequence[str]
) -> Iterator[Piece]:
    """One window after the other, all with the labels of the whole."""
    log_mel = LogMel(FBANK, SAMPLE_RATE).push(samples)
    target = np.array([slug in labels for slug in slugs], np.float32)
    known = np.array([slug not in unknown for slug in slugs], np.float32)
    for start in range(0, min(max(1, len(log_mel) - HEARD // 2), WINDOWS_EACH * HEARD), HEARD):
        yield Piece(window(log_mel[start : start + HEARD]), target, known)


class View(nn.Module):
    """(batch, patches, dim) to (batch, labels)."""

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


def fit_view(
    found: Iterable[Piece], see: Callable[[FloatArray], FloatArray], seed: int = 0
) -> View:
    """The layer, by binary cross-entropy of the labels that are known.

    Args:
        found: what it is fitted to.
        see: (batch, FRAMES, mel_bins) to (batch, patches, dim): what YAMNet sees.
        seed: of what is drawn and dropped.
    """
    torch.manual_seed(seed)
    made = list(found)
    target, known = (
        torch.from_numpy(np.stack(each))
        for each in ([piece.target for piece in made], [piece.known for piece in made])
    )
    seen = np.concatenate([see(piece.rows[None]) for piece in made])
    inputs = View.pool(torch.from_numpy(seen))
    mean, deviation = inputs.mean(dim=0), inputs.std(dim=0) + LEAST
    inputs = (inputs - mean) / deviation
    layer = nn.Linear(inputs.shape[1], target.shape[1])
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, RARE)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=RATE, weight_decay=DECAY)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        drawn = torch.randint(len(inputs), (BATCH,))
        logits = layer(nn.functional.dropout(inputs[drawn], DROP))
        each = nn.functional.binary_cross_entropy_with_logits(
            logits, target[drawn], reduction="none"
        )
        loss = (each * known[drawn]).sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    view = View(seen.shape[2], target.shape[1])
    with torch.no_grad():  # the scale goes into the weights
        weight = layer.weight / deviation
        view.layer.weight.copy_(weight)
        view.layer.bias.copy_(layer.bias - weight @ mean)
    return view.eval()
