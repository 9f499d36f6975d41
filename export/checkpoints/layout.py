"""How a checkpoint's windows and frames lie in time."""

import math
from dataclasses import dataclass

from detector.errors import BundleError, ConfigError
from detector.records import SAMPLE_RATE
from detector.spec import Frontend, WindowSpec, hop_in_samples
from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.families import Timing

WINDOW_S = {"clip": 5.12, "frames": 4.0, "ctc": 4.0, "encoder": 5.12}
"""Seconds, where the network takes any length. A tagger needs context; frames are timed by what is
near them, and a shorter window is cheaper."""
HOP_S = {"clip": 1.0, "frames": 0.5, "ctc": 0.5, "encoder": 1.0}
"""Seconds. A network's work grows with one over it; delay, and the error of a tagger's times, with
it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the network hears at a time, and how its frames lie in that."""

    frontend: Frontend
    window: WindowSpec
    shape: tuple[int, ...]
    """Of one input of the graph, without the batch axis."""
    timing: Timing


def lay_out(
    checkpoint: Checkpoint, window_s: float | None = None, hop_s: float | None = None
) -> Layout:
    """How the checkpoint's windows and frames lie in time.

    Raises:
        ConfigError: the checkpoint cannot have such windows.
        BundleError: its feature extractor does not fit its network.
    """
    features, family = checkpoint.features, checkpoint.family
    for theirs, ours in (family.sizes or {}).items():
        found, wanted = features.setting(theirs), getattr(checkpoint.config, ours)
        if found != wanted:
            raise BundleError(
                f"{checkpoint.origin.checkpoint}: the feature extractor's {theirs} = {found}, but "
                f"config.json's {ours} = {wanted}: they belong to different models"
            )
    timing = family.timing(features, checkpoint.config)
    window = _window(checkpoint, timing, window_s)
    return Layout(
        frontend=features.frontend,
        window=WindowSpec(samples=window, hop_samples=_hop(checkpoint, timing, window, hop_s)),
        shape=features.shape(window),
        timing=timing,
    )


def _window(checkpoint: Checkpoint, timing: Timing, window_s: float | None) -> int:
    family = checkpoint.family
    wanted = None if window_s is None else round(window_s * SAMPLE_RATE)
    if family.window is not None:
        dictated = int(family.window(checkpoint.config))
        if wanted not in (None, dictated):
            raise ConfigError(
                f"--window {window_s}: {checkpoint.origin.architecture} takes windows of "
                f"{dictated / SAMPLE_RATE:g} s alone; leave the option out"
            )
        return dictated
    step = math.lcm(checkpoint.features.step, timing.hop_samples)
    if wanted is None:
        return round(WINDOW_S[checkpoint.task] * SAMPLE_RATE) // step * step
    if wanted % step or wanted < timing.span_samples:
        raise ConfigError(
            f"--window {window_s}: {checkpoint.origin.architecture} takes a multiple of "
            f"{step / SAMPLE_RATE:g} s, at least {timing.span_samples / SAMPLE_RATE:g} s"
        )
    return wanted


def _hop(checkpoint: Checkpoint, timing: Timing, window: int, hop_s: float | None) -> int:
    step = checkpoint.features.frontend.hop_multiple
    if checkpoint.task in ("frames", "ctc"):
        step = math.lcm(step, timing.hop_samples)  # so the frames of all windows coincide
    if hop_s is None:
        return min(max(round(HOP_S[checkpoint.task] * SAMPLE_RATE) // step * step, step), window)
    subject = f"--hop {hop_s:g}: {checkpoint.origin.architecture}"
    return hop_in_samples(hop_s, step, window, subject)
