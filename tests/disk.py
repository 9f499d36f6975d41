"""A disk that is full."""

import errno
from pathlib import Path


def fill_up(folder: Path) -> None:
    """Write the file `stuff` until the disk takes no more; removed, it gives all of it back."""
    try:
        with (folder / "stuff").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
