"""`detector-export head`: a new classification layer, fitted to one's own recordings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from detector.spec import BundleSpec

Decoding = Literal["multilabel", "multiclass"]
Pool = Literal["mean", "attention"]
Precision = Literal["fp32", "fp16", "int8"]


def _freeze(value: str) -> str:
    if value != "all" and not value.isdecimal():
        raise typer.BadParameter("must be 'all' or a number of layers")
    return value


def head(  # noqa: PLR0913 (options of a command)
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE",
            help="A built-in model (sounds), a bundle's folder, a folder that save_pretrained "
            "wrote, or a name on the Hugging Face hub. A CTC model's labels are replaced.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR|CSV",
            help="A folder with a folder of recordings for each label (and one called background "
            "for what is none of them), or a table filename,onset,offset,label in seconds.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="The bundle's folder; replaced if it is."),
    ],
    *,
    frames: Annotated[
        bool, typer.Option("--frames", help="Score every frame too, so that edges are exact.")
    ] = False,
    freeze: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            callback=_freeze,
            help="How many of the encoder's layers stay as they are.",
        ),
    ] = "all",
    pool: Annotated[
        Pool | None,
        typer.Option(
            help="The mean of the hidden states, or each label's own weighting of them (better "
            "for short sounds); as the base does it if absent."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="N", help="What events call the model; as DIR if absent.")
    ] = None,
    version: Annotated[str, typer.Option(metavar="V", help="Of the bundle.")] = "1",
    window: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How much a checkpoint hears at a time."),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="From a window to the next, if no config says."),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Of a checkpoint's weights; fp32 if absent.")
    ] = None,
    decoding: Annotated[
        Decoding | None,
        typer.Option(
            help="Any number of labels at a time, or always one; if absent, as it is in "
            "the recordings."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="At most; it stops when what is held out is heard no better."),
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="Composed of each recording.")] = 12,
    held_out: Annotated[
        float,
        typer.Option(min=0.05, max=0.5, help="Share of the recordings that measures the result."),
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="The same one gives the same bundle.")] = 0,
    revision: Annotated[
        str | None, typer.Option(metavar="R", help="Branch, tag or commit on the hub.")
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Read weights from a pickle, which may run any program: only of people you trust.",
        ),
    ] = False,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of the bundle; the base's if absent.")
    ] = None,
    attribution: Annotated[str | None, typer.Option(metavar="TEXT", help="Whom to name.")] = None,
) -> None:
    """Teach a model the sounds in your own recordings: fit a new classification layer to them.

    Ten recordings of each label are enough to try. A run that was ended goes on with the same
    command.
    """
    from export.heads.graph.base import Choice  # noqa: PLC0415 (--help should not load torch)
    from export.heads.make import Options, make_head  # noqa: PLC0415
    from export.heads.telling import TerminalReporter, summary  # noqa: PLC0415

    options = Options(
        name=name,
        version=version,
        choice=Choice(frames, window, hop, precision, revision, allow_pickle),
        freeze=None if freeze == "all" else int(freeze),
        pool=pool,
        decoding=decoding,
        epochs=epochs,
        windows=windows,
        held_out=held_out,
        seed=seed,
        licence=licence,
        attribution=attribution,
    )
    with TerminalReporter() as tell:
        spec: BundleSpec = make_head(base, data, out, options, tell)
    typer.echo(summary(out, spec))
