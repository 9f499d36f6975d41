"""How far a fit is, for the person at the terminal."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressReport(Protocol):
    """Where the steps say how far they are."""

    def note(self, text: str) -> None: ...

    def windows_prepared(self, windows: int, total: int) -> None: ...

    def epoch_fitted(self, epoch: int, epochs: int, loss: float) -> None: ...


class ProgressDisplay:
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
        self._windows = self._progress.add_task("preparing windows", visible=False, about="")
        self._epochs = self._progress.add_task("fitting", visible=False, about="")

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

    def windows_prepared(self, windows: int, total: int) -> None:
        self._progress.update(self._windows, completed=windows, total=total, visible=True)

    def epoch_fitted(self, epoch: int, epochs: int, loss: float) -> None:
        self._progress.update(
            self._epochs,
            completed=epoch,
            total=epochs,
            visible=True,
            about=f"held-out loss {loss:.3f}",
        )
