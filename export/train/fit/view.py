"""A linear layer on YAMNet's own view of a window, which nothing else has changed.

It learns in seconds what fine-tuning takes an hour for, from recordings as they are; together the
two are better than either. A window's view is the mean and the maximum of its patches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from detector.records import FloatArray
from export.train.data.augment import FRAMES, Sound
from export.train.data.log_mel import BINS, OFFSET, SILENCE
from export.train.network.sounds import RARE, View
from export.train.network.yamnet import HEARD

VERSIONS = ((1.0, 1.0), (1.09, 0.3))
"""Each recording is seen at these speeds, this loud."""
STEPS = 600
BATCH = 256
RATE = 3e-3
DROP = 0.3
DECAY = 0.01
AT_ONCE = 4
LEAST = 0.05
"""Deviation of a value under which it is not enlarged."""

Frozen = Callable[[Tensor], Sequence[Tensor]]
"""Windows to what stays YAMNet's; the last is (batch, patches, dim)."""


@dataclass(frozen=True)
class Piece:
    """A window of a recording as it is."""

    log_mel: FloatArray
    """(FRAMES, BINS)."""
    target: FloatArray
    """(labels,) 0 or 1."""
    known: FloatArray
    """(labels,) 0 where nothing is known of the label, else 1."""


def pieces(sound: Sound, labels: int) -> Iterator[Piece]:
    """One window after the other, of each version of it that there is."""
    for speed, gain in VERSIONS:
        if speed in sound.speeds:
            power = sound.powers[sound.speeds.index(speed)]
            for start in range(0, max(1, len(power) - HEARD // 2), HEARD):
                yield _piece(sound, power[start : start + HEARD], start, speed, gain, labels)


def _piece(
    sound: Sound, power: FloatArray, start: int, speed: float, gain: float, labels: int
) -> Piece:
    log_mel = np.full((FRAMES, BINS), SILENCE, np.float32)
    log_mel[: len(power)] = np.log(gain * np.sqrt(power) + OFFSET)
    original = ((start + np.arange(len(power))) * speed).astype(np.intp)
    original = np.minimum(original, len(sound.active) - 1)
    target, known = np.zeros(labels, np.float32), np.ones(labels, np.float32)
    known[list(sound.unknown)] = 0
    for label, mask in sound.labels.items():
        seen = int(mask[original].sum())
        target[label] = float(seen > 0)
        known[label] = float(seen == 0 or seen >= min(sound.visible, mask.sum() // 2))
    return Piece(log_mel, target, known)


def views(windows: Iterable[Piece], frozen: Frozen) -> tuple[Tensor, Tensor, Tensor]:
    """What YAMNet makes of them (n, patches, dim), what is true of them and what is known."""
    made = list(windows)
    seen = []
    for i in range(0, len(made), AT_ONCE):
        batch = np.stack([piece.log_mel for piece in made[i : i + AT_ONCE]])
        seen.append(frozen(torch.from_numpy(batch))[-1])
    target = torch.from_numpy(np.stack([piece.target for piece in made]))
    known = torch.from_numpy(np.stack([piece.known for piece in made]))
    return torch.cat(seen), target, known


def fit_view(seen: Tensor, target: Tensor, known: Tensor, seed: int = 0) -> View:
    """The layer, by binary cross-entropy; of each label, the windows in which it is known.

    Args:
        seen: (n, patches, dim).
        target: (n, labels) 0..1.
        known: (n, labels) 0 or 1.
        seed: of what is drawn and dropped.
    """
    torch.manual_seed(seed)
    x = View.pool(seen.float())
    mean, deviation = x.mean(dim=0), x.std(dim=0) + LEAST
    x = (x - mean) / deviation
    layer = nn.Linear(x.shape[1], target.shape[1])
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, RARE)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=RATE, weight_decay=DECAY)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        drawn = torch.randint(len(x), (BATCH,))
        logits = layer(nn.functional.dropout(x[drawn], DROP))
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
