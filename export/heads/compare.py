"""Does the finished graph say what the base and the fitted head say in PyTorch?"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from detector.inference.bundle import Bundle
from detector.records import FloatArray
from detector.spec import Outputs
from export.checkpoints.network import Encoder
from export.graphs.precision import PARITY_LIMITS
from export.heads.fit.layers import Head
from export.heads.graph.base import Base, HiddenStates
from export.parity.parity import Parity, compare_bundle, sounds_to_compare
from export.parity.scores import activate

ReferenceLogits = Callable[[FloatArray], dict[str, FloatArray]]
"""Windows of sound, (batch, samples), to the logits of each output."""


def reference_of(
    base: Base, network: Encoder | None, hidden: HiddenStates, head: Head
) -> ReferenceLogits:
    """What the bundle must say: the base's own features and network, then the head."""
    checkpoint = base.checkpoint
    if checkpoint is not None:
        encoder = network or Encoder(checkpoint).eval()
        encoder.prelude = nn.Identity()

    def logits(sounds: FloatArray) -> dict[str, FloatArray]:
        with torch.no_grad():
            if checkpoint is not None:
                states = encoder(checkpoint.features.reference(sounds))
            else:
                inputs = np.stack([base.spec.features(sound) for sound in sounds])
                states = torch.from_numpy(hidden(inputs))
            clip, frames = head(states)
        return {"clip": clip.numpy()} | ({} if frames is None else {"frames": frames.numpy()})

    return logits


def compare_head(bundle: Bundle, base: Base, reference: ReferenceLogits) -> dict[str, Any]:
    """Hold each output against what PyTorch says.

    Returns:
        The bundle's `parity`.

    Raises:
        BundleError: they differ.
    """
    spec = bundle.spec
    sounds = sounds_to_compare(spec.window.samples)
    logits = reference(sounds)
    # In lower precision the head was fitted to hidden states as they are: the distance from
    # PyTorch's is reported, and how good the result is was measured on the graph itself.
    limit = PARITY_LIMITS["fp32"] if base.spec.precision == "fp32" else math.inf
    found: list[Parity] = []
    for kind, output in (("clip", spec.outputs.clip), ("frames", spec.outputs.frames)):
        if output is not None:
            alone = spec.model_copy(update={"outputs": Outputs(**{kind: output})})
            expected = activate(logits[kind], output.activation)
            found.append(compare_bundle(Bundle(bundle.folder, alone), sounds, expected, limit))
    parity = max(found, key=lambda p: p.max_probability_difference).as_json()
    if base.checkpoint is None:
        parity["reference"] = f"hidden states of {spec.source.checkpoint}, a layer in PyTorch"
    return parity
