"""Does the graph say what the network says?"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from detector.errors import BundleError
from detector.inference.bundle import Bundle
from detector.inference.session import Session
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Activation
from export.features.window import window_of
from export.parity.scores import activate, stacked

TOLERANCE = 1e-4
"""Largest difference of a probability that is put down to rounding."""
BUNDLE_TOLERANCE = 1e-3
"""The same where the front ends differ in their rounding too."""


@dataclass(frozen=True)
class Parity:
    """What was compared, and how far apart it was at most."""

    reference: str
    runtime: str
    batches: tuple[int, ...]
    inputs: int
    max_probability_difference: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"batches": list(self.batches)}


def compare(
    module: nn.Module, path: Path, batches: Iterable[FloatArray], activation: Activation
) -> Parity:
    """Run both on every batch (b, ...) float32 and compare the probabilities of every output.

    Raises:
        BundleError: they differ by more than TOLERANCE.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    module = module.eval()
    sizes, worst = [], 0.0
    for batch in batches:
        with torch.no_grad():
            answer = module(torch.from_numpy(batch))
        ours = answer if isinstance(answer, tuple) else (answer,)
        for our, their in zip(ours, session.run(None, {name: batch}), strict=True):
            apart = activate(our.numpy(), activation) - activate(their, activation)
            worst = max(worst, float(np.abs(apart).max()))
        sizes.append(len(batch))
    if not worst <= TOLERANCE:  # NaN is no parity
        raise BundleError(
            f"{path}: probabilities differ from PyTorch's by {worst:.2g}, "
            f"more than {TOLERANCE:g}: the export changed the network"
        )
    return Parity(
        reference=f"torch {torch.__version__}",
        runtime=f"onnxruntime {onnxruntime.__version__}",
        batches=tuple(sorted(set(sizes))),
        inputs=sum(sizes),
        max_probability_difference=worst,
    )


def compare_bundle(
    bundle: Bundle, sounds: FloatArray, expected: FloatArray, tolerance: float = BUNDLE_TOLERANCE
) -> Parity:
    """Let the detector hear the sounds, the first alone and then all at once.

    Args:
        bundle: need not have its bundle.json yet.
        sounds: (n, samples) float32, n at least 2, whole windows.
        expected: (n, ...) float32: the probabilities that the checkpoint gives, with features of
            its own.
        tolerance: largest difference of a probability.

    Raises:
        BundleError: the bundle does not load, or differs by more.
    """
    session = Session(bundle, "cpu")
    worst, sizes = 0.0, (1, len(sounds))
    for size in sizes:
        scores = session.score([window_of(sound, bundle.spec) for sound in sounds[:size]])
        found = stacked(scores)
        if found.shape != expected[:size].shape:
            raise BundleError(
                f"{bundle.spec.id}: the detector gets scores of shape {found.shape}, the "
                f"checkpoint gives {expected[:size].shape}: the export changed the model"
            )
        worst = max(worst, float(np.abs(found - expected[:size]).max()))
        if not worst <= tolerance:  # NaN is no parity
            raise BundleError(
                f"{bundle.spec.id}: the detector's probabilities differ from the checkpoint's by "
                f"{worst:.2g}, more than {tolerance:g}: the export changed the model"
            )
    return Parity(
        reference=f"transformers {version('transformers')} on torch {torch.__version__}",
        runtime=f"onnxruntime {onnxruntime.__version__}",
        batches=sizes,
        inputs=len(sounds),
        max_probability_difference=worst,
    )


def sounds_to_compare(samples: int) -> FloatArray:
    """(5, samples) float32, the same every time: noise and tones, loud and soft, and a pause."""
    rng = np.random.default_rng(0)
    seconds = np.arange(samples) / SAMPLE_RATE
    rising = 2 * np.pi * (60 + 3000 * seconds / seconds[-1]) * seconds
    noise = rng.standard_normal(samples)
    paused = np.where(seconds < seconds[-1] / 2, 0.1 * noise[::-1], 1e-4 * noise)
    sounds = [
        0.1 * noise,
        0.5 * np.sin(rising),
        1e-3 * noise,
        0.01 * np.sin(rising[::-1]) + 1e-3 * noise,
        paused,
    ]
    return np.asarray(sounds, np.float32)
