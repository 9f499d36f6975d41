"""YAMNet's log-mel from the detector's own, so that one stream of features serves both networks.

`sounds` hears 128 narrow bands of power, YAMNet 64 bands of magnitudes. A band of magnitudes is
nearly a sum of the roots of the narrow bands that it covers; the weights are fitted to recordings.
What is left is an error of about 1 dB, and YAMNet's scores move by as much as they do between
Google's integers and floating point.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, FloatArray
from export.audioset.front_end import FRAMES, FRONT_END
from export.train.augment import HEARD
from export.train.data import FBANK, power_mel

PATCHES: Final = HEARD // FRAMES
"""Patches of YAMNet in a window, one after the other; the last ends with the window's last row."""
FIRST_ROW: Final = HEARD - PATCHES * FRAMES
"""Of the first patch; the rows before it are in none."""
OFFSET: Final = FRONT_END.log_offset
_ROWS_EACH: Final = 40
_STEPS: Final = 3000
_QUIET: Final = 3e-3
"""Magnitudes below which an error counts less and less."""
_SAME: Final = 1e-4


class Bands(nn.Module):
    """The detector's windows (batch, rows, 128) to YAMNet's patches (batch * PATCHES, 96, 64)."""

    weights: Tensor

    def __init__(self, weights: FloatArray) -> None:
        """Take the weights, (128, 64), as `fit_bands` finds them."""
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(weights))

    def forward(self, windows: Tensor) -> Tensor:
        rows = windows[:, FIRST_ROW:HEARD]
        power = torch.exp(rows * (2 * FBANK.std) + FBANK.mean) - FBANK.log_floor
        magnitudes = power.clamp_min(0).sqrt() @ self.weights
        padding = (rows - FBANK.padding).abs().amax(dim=2, keepdim=True) < _SAME
        magnitudes = magnitudes * (~padding).float()  # to YAMNet padding is silence
        return torch.log(magnitudes + OFFSET).reshape(-1, FRAMES, FRONT_END.mel_bins)


def fit_bands(recordings: Iterable[FloatArray], seed: int = 0) -> FloatArray:
    """(128, 64): the weights, none negative, with the least relative error.

    By multiplicative updates (D. Lee and H. S. Seung, Algorithms for Non-negative Matrix
    Factorization, NIPS 2000), from filters that are equal.

    Args:
        recordings: (n,) float32 each.
        seed: of the frames that are drawn.
    """
    rng = np.random.default_rng(seed)
    narrow, wide = [], []
    for samples in recordings:
        power = power_mel(samples)
        magnitudes = np.exp(LogMel(FRONT_END, SAMPLE_RATE).push(samples)) - np.float32(OFFSET)
        drawn = rng.integers(min(len(power), len(magnitudes)), size=_ROWS_EACH)
        narrow.append(np.sqrt(power[drawn]))
        wide.append(magnitudes[drawn])
    roots, wanted = (np.concatenate(each).astype(np.float64) for each in (narrow, wide))
    return np.stack([_fit(roots, column) for column in wanted.T], axis=1).astype(np.float32)


def _fit(roots: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = 1 / (np.maximum(wanted, 0) + 1e-2 * wanted.mean() + _QUIET)
    inputs, target = roots * scale[:, None], np.maximum(wanted, 0) * scale
    against, among = inputs.T @ target, inputs.T @ inputs
    weights = np.full(roots.shape[1], 1 / roots.shape[1])
    for _ in range(_STEPS):
        weights *= against / np.maximum(among @ weights, 1e-30)
    return np.where(weights > weights.max() * 1e-5, weights, 0)
