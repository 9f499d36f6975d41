"""How a network's frames lie in its window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """Frames of equal length, one after the other."""

    count: int
    hop_samples: int
    offset_samples: int

    @property
    def middles(self) -> NDArray[np.int64]:
        """(count,) the sample in the middle of each frame."""
        return (
            np.arange(self.count) * self.hop_samples + self.offset_samples + self.hop_samples // 2
        )
