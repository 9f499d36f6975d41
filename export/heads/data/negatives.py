"""Hidden states of what is none of the labels, which a bundle brings along for its heads.

Ten recordings of a sound say what it is, not what else there is in a room: a layer that is fitted
to them alone hears its labels in silence, music and talk. A few states of each of many windows are
kept; a whole window is made of one of them by drawing as many states as it has.
"""

from pathlib import Path
from typing import Final

import numpy as np

from detector.errors import BundleError
from detector.records import FloatArray

FILE: Final = "negatives.npz"
_LEVELS: Final = 127


def write_negatives(folder: Path, states: FloatArray) -> None:
    """Put the states (windows, few, dim) beside a bundle, a byte each."""
    scale = np.maximum(np.abs(states).max(axis=(0, 1)) / _LEVELS, 1e-12).astype(np.float32)
    np.savez_compressed(folder / FILE, states=np.rint(states / scale).astype(np.int8), scale=scale)


def read_negatives(folder: Path) -> FloatArray | None:
    """(windows, few, dim) float32; None if the bundle brings none.

    Raises:
        BundleError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path) as file:
            states, scale = file["states"], file["scale"]
        return np.asarray(states * scale, np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: is damaged: {error}") from None


def negative_windows(states: FloatArray, steps: int | None, seed: int) -> FloatArray:
    """(windows, steps, dim), or (windows, dim) if a window has one state."""
    rng = np.random.default_rng((seed, len(states)))
    drawn = rng.integers(states.shape[1], size=(len(states), steps or 1))
    windows = np.take_along_axis(states, drawn[..., None], axis=1)
    return np.asarray(windows if steps else windows[:, 0], np.float32)
