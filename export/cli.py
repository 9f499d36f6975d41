"""The commands of `detector-export` and their arguments. What they do stands in `commands/`."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from detector import __version__
from detector.cli import run_app
from export.commands.head import head
from export.commands.inspect import inspect
from export.commands.verify import verify

if TYPE_CHECKING:
    from export.checkpoints.checkpoint import Task

app = typer.Typer(
    name="detector-export",
    help="Makes bundles, which the detector runs, of trained checkpoints.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Precision = Literal["fp32", "fp16", "int8"]
Decoding = Literal["multilabel", "multiclass"]

Where = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A folder that save_pretrained wrote, or a name on the Hugging Face hub.",
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The bundle's folder; replaced if it is.")
]
Revision = Annotated[
    str | None, typer.Option(metavar="R", help="Branch, tag or commit on the hub.")
]
Name = Annotated[
    str | None, typer.Option(metavar="N", help="What events call the model; as DIR if absent.")
]
Version = Annotated[str, typer.Option(metavar="V", help="Of the bundle: events say name@version.")]
WindowS = Annotated[
    float | None,
    typer.Option("--window", metavar="SECONDS", help="How much the model hears at a time."),
]
HopS = Annotated[
    float | None,
    typer.Option("--hop", metavar="SECONDS", help="From a window to the next, if no config says."),
]
PrecisionOf = Annotated[Precision, typer.Option("--precision", help="Of the weights.")]
DecodingOf = Annotated[
    Decoding | None,
    typer.Option(
        "--decoding",
        help="Several labels at a time or one alone, where the checkpoint does not say it right.",
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Read weights from a pickle, which may run any program: only of people you trust.",
    ),
]
Licence = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Of the weights; the model card's if absent.")
]
Attribution = Annotated[str | None, typer.Option(metavar="TEXT", help="Whom to name.")]


# Commands import what they need when they are called: `--help` should not load torch.


def _export_command(name: str, task: "Task", explanation: str) -> None:
    """Declare one of the commands that take a checkpoint as it is."""

    @app.command(name, help=explanation)
    def export(  # noqa: PLR0913 (options of a command)
        checkpoint: Where,
        out: Out,
        *,
        revision: Revision = None,
        name: Name = None,
        version: Version = "1",
        window: WindowS = None,
        hop: HopS = None,
        precision: PrecisionOf = "fp32",
        decoding: DecodingOf = None,
        allow_pickle: AllowPickle = False,
        licence: Licence = None,
        attribution: Attribution = None,
    ) -> None:
        from export.commands.checkpoint import export_from
        from export.convert import Options

        export_from(
            checkpoint,
            task,
            out,
            Options(name, version, window, hop, precision, licence, attribution),
            revision=revision,
            allow_pickle=allow_pickle,
            decoding=decoding,
        )


_export_command(
    "model", "clip", "Export a classifier with one score set for its whole window: a tagger."
)
_export_command(
    "frames", "frames", "Export a classifier with one score set for each of its frames."
)
_export_command(
    "ctc", "ctc", "Export a CTC model: a classifier of frames, whose labels are its vocabulary."
)


app.command()(head)
app.command()(verify)
app.command()(inspect)


def _version(value: bool) -> None:  # noqa: FBT001 (typer's callback)
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    pass


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """End as by an error, so that what is half written is cleared away."""
    sys.exit(128 + signal.SIGTERM)


def main() -> None:
    signal.signal(signal.SIGTERM, _terminate)
    run_app(app, "detector-export")


if __name__ == "__main__":
    main()
