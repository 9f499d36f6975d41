"""A checkpoint's network with exactly a bundle's input, and what it says in PyTorch."""

import numpy as np
import torch
from torch import nn

from detector.errors import BundleError
from detector.records import FloatArray
from export.checkpoints.checkpoint import Checkpoint
from export.errors import first_line


class Classifier(nn.Module):
    """The checkpoint's whole network, from the bundle's input to its logits."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.prelude = checkpoint.features.prelude()
        self.model = checkpoint.model
        self.keyword = checkpoint.family.keyword

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, *shape of the input) to (batch, labels) or (batch, frames, labels)."""
        logits: torch.Tensor = self.model(**{self.keyword: self.prelude(values)}).logits
        return logits


class Encoder(nn.Module):
    """The checkpoint's encoder, from the bundle's input to hidden states, one for each frame."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        family, model = checkpoint.family, checkpoint.model
        self.prelude = checkpoint.features.prelude()
        self.model = getattr(model, family.encoder) if family.encoder else model.base_model
        self.keyword = family.keyword
        self.pool, self.config = family.pool, checkpoint.config

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, *shape of the input) to (batch, frames, dim), as `Layout.timing` says."""
        outputs = self.model(**{self.keyword: self.prelude(values)})
        hidden: torch.Tensor = outputs.last_hidden_state
        return hidden if self.pool is None else self.pool(hidden, self.config)


def reference_logits(checkpoint: Checkpoint, sounds: FloatArray) -> FloatArray:
    """What the checkpoint says of sounds with its own feature extractor, in PyTorch.

    Args:
        checkpoint: a classifier.
        sounds: (batch, samples) float32, whole windows.

    Returns:
        (batch, labels) or (batch, frames, labels): what the bundle must say.

    Raises:
        BundleError: the feature extractor does not fit the network.
    """
    try:
        values = checkpoint.features.reference(sounds)
        with torch.no_grad():
            outputs = checkpoint.model(**{checkpoint.family.keyword: values})
        return np.asarray(outputs.logits.numpy(), np.float32)
    except Exception as error:
        raise BundleError(
            "the checkpoint's network cannot take what its feature extractor delivers; they belong "
            f"to different models: {first_line(error)}"
        ) from error
