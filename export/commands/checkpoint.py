"""`detector-export model`, `frames` and `ctc`: a checkpoint as it is becomes a bundle."""

from pathlib import Path
from typing import Literal

import typer

from detector.records import SAMPLE_RATE
from detector.spec import BundleSpec
from export.checkpoints.checkpoint import load_checkpoint
from export.checkpoints.tasks import Task
from export.convert import ExportOptions, export_checkpoint

_SHOWN = 5
"""Labels that a summary names."""


def export_from(
    where: str,
    task: Task,
    out: Path,
    options: ExportOptions,
    *,
    revision: str | None,
    allow_pickle: bool,
    decoding: Literal["multilabel", "multiclass"] | None,
) -> None:
    """Load the checkpoint `where`, write the bundle `out`, print what it became.

    Raises:
        ConfigError, BundleError: as `load_checkpoint` and `export_checkpoint`.
    """
    checkpoint = load_checkpoint(
        where, task, revision=revision, allow_pickle=allow_pickle, decoding=decoding
    )
    typer.echo(f"exporting {checkpoint.origin.architecture}", err=True)
    typer.echo(summary(out, export_checkpoint(checkpoint, out, options)))


def summary(out: Path, spec: BundleSpec) -> str:
    """What a bundle is, in a few lines for the person who made it."""
    slugs = [label.slug for label in spec.labels]
    shown = ", ".join(slugs[:_SHOWN]) + (", …" if len(slugs) > _SHOWN else "")
    window, hop = (n / SAMPLE_RATE for n in (spec.window.samples, spec.window.hop_samples))
    frames = spec.outputs.frames
    frame_s = f", frames of {frames.hop_samples / SAMPLE_RATE:g} s" if frames else ""
    lines = [
        f"{out}: {spec.id}, {spec.source.architecture}, {spec.onnx.precision}",
        f"  {len(slugs)} labels, {spec.decoding}: {shown}",
        f"  windows of {window:g} s, every {hop:g} s{frame_s}",
    ]
    if "max_probability_difference" in spec.parity:
        lines.append(
            f"  probabilities within {spec.parity['max_probability_difference']:.1g} of the "
            "checkpoint's own"
        )
    lines.append(f"  licence: {spec.licence}")
    return "\n".join(lines)
