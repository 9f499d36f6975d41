"""How near a bundle comes to the checkpoint that it was made from, window by window."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from detector.errors import BundleError, ConfigError
from detector.inference.session import Session
from detector.records import FloatArray
from detector.spec import BundleSpec
from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.network import reference_logits
from export.checkpoints.tasks import Task
from export.features.window import window_of
from export.parity.scores import activate, stacked

BATCHES = (1, 5)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Probabilities of the bundle beside those of the checkpoint."""

    sounds: str
    """What was heard."""
    windows: int
    batch: int
    max_difference: float
    mean_difference: float
    same_top: float
    """Share of windows (of frames, if those are scored) in which both find one label likeliest."""


def task_of(spec: BundleSpec) -> Task:
    """What its checkpoint does.

    Raises:
        ConfigError: the bundle was not made from a checkpoint alone.
    """
    if spec.outputs.clip is not None and spec.outputs.frames is not None:
        raise ConfigError(
            f"--checkpoint: {spec.id} scores the window and its frames, which no checkpoint of "
            "transformers does; `detector-export head` has compared it when it made it"
        )
    if spec.decoding == "ctc":
        return "ctc"
    return "clip" if spec.outputs.frames is None else "frames"


def check_labels(spec: BundleSpec, checkpoint: Checkpoint) -> None:
    """Demand the checkpoint's labels, in the order of its outputs.

    Raises:
        BundleError: naming the first that differs.
    """
    ours, theirs = ([label.slug for label in of.labels] for of in (spec, checkpoint))
    if len(ours) != len(theirs):
        raise BundleError(
            f"{spec.id}: labels: has {len(ours)}; the checkpoint {checkpoint.origin.checkpoint} "
            f"has {len(theirs)}"
        )
    for index, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        if our != their:
            raise BundleError(
                f"{spec.id}: labels.{index}.slug: {our!r}; output {index} of the checkpoint "
                f"{checkpoint.origin.checkpoint} is {their!r}"
            )


def compare(
    session: Session, checkpoint: Checkpoint, sounds: FloatArray, what: str
) -> list[Agreement]:
    """Let both hear the sounds, each with features of its own: the detector's, transformers'.

    Args:
        session: of the bundle.
        checkpoint: in PyTorch.
        sounds: (n, samples) float32, whole windows.
        what: they are.

    Returns:
        One for each size in BATCHES.

    Raises:
        BundleError: the scores have not the shape of the checkpoint's.
    """
    spec = session.spec
    logits = np.concatenate([reference_logits(checkpoint, sound[None]) for sound in sounds])
    expected = activate(logits, spec.outputs.first.activation)
    windows = [window_of(sound, spec) for sound in sounds]
    agreements = []
    for batch in BATCHES:
        parts = [windows[i : i + batch] for i in range(0, len(windows), batch)]
        found = stacked([scores for part in parts for scores in session.score(part)])
        if found.shape != expected.shape:
            raise BundleError(
                f"{spec.id}: answers {found.shape} for {len(sounds)} windows, the checkpoint "
                f"{checkpoint.origin.checkpoint} {expected.shape}: it is another model's"
            )
        apart = np.abs(found - expected)
        agreements.append(
            Agreement(
                sounds=what,
                windows=len(sounds),
                batch=batch,
                max_difference=float(apart.max()),
                mean_difference=float(apart.mean()),
                same_top=float(np.mean(found.argmax(-1) == expected.argmax(-1))),
            )
        )
    return agreements


Verdict = Literal["agrees", "differs", "reported"]


def verdict(found: Agreement, limit: float) -> Verdict:
    """Whether a difference is within a limit, which may be infinite: then it is only reported."""
    if not np.isfinite(found.max_difference):
        return "differs"
    if np.isinf(limit):
        return "reported"
    return "agrees" if found.max_difference <= limit else "differs"
