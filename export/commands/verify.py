"""`detector-export verify`: is the bundle whole, and does it say what its checkpoint says?"""

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from detector.inference.bundle import Bundle
from detector.inference.session import Session
from detector.records import FloatArray
from export.checkpoints.checkpoint import load_checkpoint
from export.commands.inspect import open_bundle
from export.features.window import window_of
from export.graphs.precision import PARITY_LIMITS
from export.parity.agreement import Agreement, check_labels, compare, task_of, verdict
from export.parity.parity import sounds_to_compare
from export.parity.recordings import read_sounds
from export.parity.shifts import most_moved, sensitivity

FAILED = 4
RECORDINGS = 5
"""How many windows of real sound, and as many of made ones."""
_SHOWN = 5
"""Labels."""

Sounds = dict[str, FloatArray]
"""Windows (n, samples), by what they are."""


def verify_bundle(
    bundle: str,
    checkpoint: str | None,
    audio: Path | None,
    provider: Literal["cpu", "cuda"],
    revision: str | None,
    *,
    allow_pickle: bool,
    as_json: bool,
) -> None:
    """Check the bundle, print what was found, and exit with 4 if it differs from its checkpoint.

    Raises:
        BundleError: it is broken.
    """
    loaded = open_bundle(bundle)
    session = Session(loaded, provider)
    sounds, names = _sounds(loaded, audio)
    agreements: list[Agreement] = []
    if checkpoint is not None:
        agreements = _compare(session, checkpoint, sounds, revision, allow_pickle=allow_pickle)
    result = _result(session, sounds, names, agreements)
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        _print(result)
    if any(row["verdict"] == "differs" for row in result["parity"]):
        raise typer.Exit(FAILED)


def _sounds(bundle: Bundle, audio: Path | None) -> tuple[Sounds, list[str]]:
    samples = bundle.spec.window.samples
    sounds, names = {"noise and tones": sounds_to_compare(samples)}, list[str]()
    if audio is not None:
        names, real = read_sounds(audio, RECORDINGS, samples)
        sounds = {"recordings": real} | sounds
    return sounds, names


def _compare(
    session: Session, where: str, sounds: Sounds, revision: str | None, *, allow_pickle: bool
) -> list[Agreement]:
    source = session.spec.source
    if revision is None and source.checkpoint == where and not Path(where).is_dir():
        revision = source.revision
    decoding = session.spec.decoding
    checkpoint = load_checkpoint(
        where,
        task_of(session.spec),
        revision=revision,
        allow_pickle=allow_pickle,
        decoding=None if decoding == "ctc" else decoding,
    )
    check_labels(session.spec, checkpoint)
    return [row for what, of in sounds.items() for row in compare(session, checkpoint, of, what)]


def _result(
    session: Session, sounds: Sounds, names: list[str], agreements: list[Agreement]
) -> dict[str, Any]:
    spec = session.spec
    limit = PARITY_LIMITS[spec.onnx.precision]
    return {
        "model": spec.id,
        "precision": spec.onnx.precision,
        "provider": session.provider,
        "sha256": spec.onnx.sha256,
        "labels": len(spec.labels),
        "recordings": names,
        "limit": None if math.isinf(limit) else limit,
        "parity": [asdict(row) | {"verdict": verdict(row, limit)} for row in agreements],
        "shifts": _shifts(session, *next(iter(sounds.items()))),
    }


def _shifts(session: Session, what: str, sounds: FloatArray) -> dict[str, Any] | None:
    """How scores move with the spectrogram's content, if the bundle is given a spectrogram."""
    spec = session.spec
    if not spec.frontend.describes_frames:
        return None
    shifts = sensitivity(session, [window_of(sound, spec) for sound in sounds])
    shown = most_moved(shifts, _SHOWN)
    return {
        "sounds": what,
        "windows": len(sounds),
        "all": {str(shift.bins): {"mean": shift.mean, "max": shift.max} for shift in shifts},
        "labels": {
            spec.labels[i].slug: {str(shift.bins): shift.labels[i] for shift in shifts}
            for i in shown
        },
    }


def _print(result: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{result['model']}, {result['precision']}: hash, schema, {result['labels']} labels and "
        f"graph are in order on {result['provider']}",
        markup=False,
    )
    if result["parity"]:
        console.print(_parity_table(result))
    if result["shifts"] is None:
        console.print("Its spectrogram, if it has one, is computed in the graph: not shifted.")
    else:
        console.print(_shift_table(result["shifts"]))


def _parity_table(result: dict[str, Any]) -> Table:
    limit = "" if result["limit"] is None else f" (at most {result['limit']:g})"
    table = Table(title=f"Probabilities beside the checkpoint's{limit}", title_justify="left")
    for column in ("sounds", "windows", "batch", "max |Δp|", "mean |Δp|", "same top label", ""):
        table.add_column(column, justify="left" if column in {"sounds", ""} else "right")
    for row in result["parity"]:
        table.add_row(
            row["sounds"],
            str(row["windows"]),
            str(row["batch"]),
            f"{row['max_difference']:.2g}",
            f"{row['mean_difference']:.2g}",
            f"{row['same_top']:.0%}",
            row["verdict"],
            style="red" if row["verdict"] == "differs" else None,
        )
    return table


def _shift_table(shifts: dict[str, Any]) -> Table:
    table = Table(
        title=f"Mean |Δp| when the spectrogram of {shifts['sounds']} is moved by mel bins",
        title_justify="left",
    )
    table.add_column("label")
    for bins in shifts["all"]:
        table.add_column(f"{int(bins):+d}", justify="right")
    table.add_row("all labels", *(f"{of['mean']:.4f}" for of in shifts["all"].values()))
    table.add_row(
        "furthest", *(f"{of['max']:.4f}" for of in shifts["all"].values()), end_section=True
    )
    for label, means in shifts["labels"].items():
        table.add_row(label, *(f"{mean:.4f}" for mean in means.values()))
    return table
