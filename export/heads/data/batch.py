"""Examples as tensors."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Examples, stacked."""

    inputs: Tensor
    """What the network takes: (b, steps, dim) or (b, dim) hidden states, or the bundle's input."""
    target: Tensor
    """(b, labels)."""
    known: Tensor
    frame_target: Tensor
    """(b, frames, labels)."""
    frame_known: Tensor
