"""The folder in which an unfinished run is kept, so that the same command goes on with it."""

import errno
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from detector.errors import BundleError
from detector.records import FloatArray

_PLAN = "plan.json"


class Work:
    """A folder beside the bundle; removed when the bundle is whole."""

    def __init__(self, out: Path, plan: Mapping[str, object]) -> None:
        """Open it.

        Args:
            out: the bundle's folder.
            plan: all that the result depends on. What another plan left behind is removed.
        """
        self.folder = out.absolute().parent / f".{out.absolute().name}-work"
        self.resumed = False
        text = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        file = self.folder / _PLAN
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            self.resumed = True
            return
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")

    def path(self, name: str) -> Path:
        return self.folder / name

    def load(self, name: str) -> FloatArray | None:
        """An array that was kept, if it was; damaged ones count as never kept."""
        try:
            array: FloatArray = np.load(self.path(f"{name}.npy"), allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            return None
        return array

    def keep(self, name: str, array: FloatArray) -> None:
        """Write an array, whole or not at all."""
        file = self.path(f"{name}.npy")
        part = file.with_suffix(".part")
        content = io.BytesIO()
        np.save(content, array)
        part.write_bytes(content.getbuffer())  # np.save does not tell why a disk refuses
        part.replace(file)

    def remove(self) -> None:
        shutil.rmtree(self.folder)


@contextmanager
def telling_what_cannot_be_written(out: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error for people.

    Raises:
        BundleError: naming the folder and the cause.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "; make room, and the same command goes on where it stopped" if full else ""
        raise BundleError(
            f"{error.filename or out}: cannot be written: {error.strerror or error}{hint}"
        ) from None
