"""What the person at the terminal sees: how far it is, and what came out."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from detector.records import SAMPLE_RATE
from detector.spec import BundleSpec

_FEW = 5
"""With fewer windows of a label held out, its accuracy is little more than an anecdote."""


class TerminalReporter:
    """Two bars on stderr, and notes above them."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[about]}"),
            console=Console(stderr=True),
        )
        self._hearing = self._progress.add_task("hearing windows", visible=False, about="")
        self._fitting = self._progress.add_task("fitting", visible=False, about="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        self._progress.console.print(escape(text), highlight=False, soft_wrap=True)

    def heard(self, windows: int, total: int) -> None:
        self._progress.update(self._hearing, completed=windows, total=total, visible=True)

    def fitted(self, epoch: int, epochs: int, loss: float) -> None:
        self._progress.update(
            self._fitting,
            completed=epoch,
            total=epochs,
            visible=True,
            about=f"held-out loss {loss:.3f}",
        )


def summary(out: Path, spec: BundleSpec) -> str:
    """What was made, and how good it is."""
    metrics = spec.metrics
    fit, held_out = metrics["fit"], metrics["held_out"]
    window, hop = spec.window.samples / SAMPLE_RATE, spec.window.hop_samples / SAMPLE_RATE
    thresholds = {label.slug: label.onset_threshold for label in spec.labels}
    lines = [
        f"{out}: {spec.id}, a new layer on {spec.source.checkpoint}",
        f"  windows of {window:g} s, every {hop:g} s; {spec.decoding}",
        f"  fitted to {fit['windows']} windows; the best epoch was {fit['best_epoch']}",
        "  on recordings that were held out:",
    ]
    width = max(map(len, held_out["labels"]))
    for name, found in held_out["labels"].items():
        if not found["windows"]:
            continue
        others = {k: n for k, n in held_out["confusion"][name].items() if k != name}
        taken = ", ".join(f"{other} {n}" for other, n in others.items())
        threshold = f"  threshold {thresholds[name]:.2f}" if name in thresholds else ""
        lines.append(
            f"    {name:<{width}}  {found['right']}/{found['windows']} right{threshold}"
            + (f"  taken for: {taken}" if taken else "")
        )
    for name, found in held_out.get("frames", {}).items():
        precision, recall = (
            "-" if found[what] is None else f"{100 * found[what]:.0f} %"
            for what in ("precision", "recall")
        )
        lines.append(f"    {name:<{width}}  frames: precision {precision}, recall {recall}")
    if any(0 < found["windows"] < _FEW for found in held_out["labels"].values()):
        lines.append("  so few windows say little; more recordings would say, and help, more")
    return "\n".join(lines)
