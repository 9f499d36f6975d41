"""The commands of `detector-export` and their arguments. What they do stands in `commands/`."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from detector import __version__
from detector.cli import run_app
from detector.errors import DetectorError

if TYPE_CHECKING:
    from export.checkpoints.tasks import Task

app = typer.Typer(
    name="detector-export",
    help="Makes bundles, which the detector runs, of trained checkpoints.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_EXTRAS = {
    **dict.fromkeys(
        (
            *("huggingface_hub", "onnx", "onnx_ir", "onnxscript", "safetensors", "torch"),
            "transformers",
        ),
        "export",
    ),
    "onnxruntime": "cpu",
}
"""Packages that commands need, and which extra installs them."""

Precision = Literal["fp32", "fp16", "int8"]
Decoding = Literal["multilabel", "multiclass"]
Pool = Literal["mean", "attention"]

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
BundleName = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A bundle's folder, or a built-in one (sounds).")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, instead of tables.")]

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
        from export.convert import ExportOptions

        export_from(
            checkpoint,
            task,
            out,
            ExportOptions(name, version, window, hop, precision, licence, attribution),
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


def _freeze(value: str) -> str:
    if value != "all" and not value.isdecimal():
        raise typer.BadParameter("must be 'all' or a number of layers")
    return value


@app.command()
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
    from export.commands.head import fit_head
    from export.heads.graph.base import BaseOptions
    from export.heads.options import HeadOptions

    options = HeadOptions(
        name=name,
        version=version,
        base=BaseOptions(frames, window, hop, precision, revision, allow_pickle),
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
    fit_head(base, data, out, options)


@app.command()
def verify(
    bundle: BundleName,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="C", help="What it was made from: a folder, or a name on the hub."),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False, help="Recordings to compare them on."
        ),
    ] = None,
    provider: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="What computes the bundle.")
    ] = "cpu",
    revision: Annotated[
        str | None, typer.Option(metavar="R", help="Of the checkpoint; the bundle's if absent.")
    ] = None,
    *,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read the checkpoint's weights from a pickle.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a bundle: that it is whole, and that its probabilities are the checkpoint's.

    The bundle is heard through the detector's own features, the checkpoint through its own feature
    extractor in PyTorch. Exit code 3: the bundle is broken. 4: probabilities differ by more than
    0.001 (fp32) or 0.002 (fp16); of int8 they are only reported.
    """
    from export.commands.verify import verify_bundle

    verify_bundle(
        bundle,
        checkpoint,
        audio,
        provider,
        revision,
        allow_pickle=allow_pickle,
        as_json=as_json,
    )


@app.command()
def inspect(
    bundle: BundleName,
    *,
    all_labels: Annotated[
        bool, typer.Option("--all", help="Every label, not the first 20.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is in a bundle: model, labels and thresholds, graph, what was measured.

    Exit code 3: the bundle is broken.
    """
    from export.commands.inspect import inspect_bundle

    inspect_bundle(bundle, all_labels=all_labels, as_json=as_json)


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
    try:
        run_app(app, "detector-export")
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _EXTRAS:
            raise
        sys.stderr.write(
            f"detector-export: the Python package {package!r} is missing; install it with "
            f"pip install 'audio-event-detector[{_EXTRAS[package]}]'\n"
        )
        sys.exit(DetectorError.exit_code)


if __name__ == "__main__":
    main()
