"""`detector-export head`: a new classification layer, fitted to one's own recordings."""

from pathlib import Path

import typer

from detector.commands.unreadable import UnreadableRecordings
from export.heads.make import make_head
from export.heads.options import HeadOptions
from export.heads.progress import ProgressDisplay
from export.heads.summary import summary


def fit_head(base: str, data: Path, out: Path, options: HeadOptions) -> None:
    """Fit a head to the recordings, with progress on stderr, and print what came out.

    Recordings that cannot be read are said and left out, and the exit code is then 4.

    Raises:
        ConfigError, AudioFileError, BundleError: as `make_head`.
    """
    unreadable = UnreadableRecordings("detector-export")
    with ProgressDisplay() as progress:
        spec = make_head(base, data, out, options, progress, unreadable.add)
    typer.echo(summary(out, spec))
    unreadable.leave()
