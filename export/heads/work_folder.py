"""The folder in which an unfinished run is kept, so that the same command goes on with it."""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from detector.errors import BundleError

_INPUTS = "inputs.sha256"


class WorkFolder:
    """A folder beside the bundle; removed when the bundle is whole."""

    def __init__(self, out: Path, inputs: Mapping[str, object]) -> None:
        """Open it.

        Args:
            out: the bundle's folder.
            inputs: all that the result depends on. What other inputs left behind is removed.
        """
        self.folder = out.absolute().parent / f".{out.absolute().name}-work"
        self.resumed = False
        text = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        file = self.folder / _INPUTS
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            self.resumed = True
            return
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")

    def path(self, name: str) -> Path:
        return self.folder / name

    def remove(self) -> None:
        shutil.rmtree(self.folder)


@contextmanager
def explaining_write_errors(out: Path) -> Iterator[None]:
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
