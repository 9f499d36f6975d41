"""`detector-export head`: a new classification layer, fitted to one's own recordings."""

from pathlib import Path

import typer

from export.heads.make import make_head
from export.heads.options import HeadOptions
from export.heads.progress import ProgressDisplay
from export.heads.summary import summary


def fit_head(base: str, data: Path, out: Path, options: HeadOptions) -> None:
    """Fit a head to the recordings, with progress on stderr, and print what came out.

    Raises:
        ConfigError, AudioFileError, BundleError: as `make_head`.
    """
    with ProgressDisplay() as progress:
        spec = make_head(base, data, out, options, progress)
    typer.echo(summary(out, spec))
