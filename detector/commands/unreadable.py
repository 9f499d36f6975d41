"""What a command over many recordings does about those that cannot be read."""

import contextlib
import sys
from collections.abc import Iterator

from detector.errors import AudioFileError

EXIT_CODE = 4
"""Not all was done that was asked for."""


class UnreadableRecordings:
    """Says each on stderr and passes over it: the others are not to blame."""

    def __init__(self, program: str = "detector") -> None:
        self._program = program
        self._first: AudioFileError | None = None
        self.count = 0

    @contextlib.contextmanager
    def passed_over(self) -> Iterator[None]:
        """Leave the block where the recording that it reads cannot be read."""
        try:
            yield
        except AudioFileError as error:
            self.add(error)

    def add(self, error: AudioFileError) -> None:
        self._first = self._first or error
        self.count += 1
        sys.stderr.write(f"{self._program}: {error}\n")

    def check(self, recordings: int) -> None:
        """Go no further if none could be read.

        Raises:
            AudioFileError: that is so.
        """
        if self._first and self.count == recordings:
            several = f"none of the {recordings} recordings can be read; the first: "
            raise AudioFileError((several if recordings > 1 else "") + str(self._first))

    def leave(self) -> None:
        """End the command, as its last step, if some could not be read."""
        if self.count:
            sys.stderr.write(f"{self._program}: left out: {self.count} that cannot be read\n")
            sys.exit(EXIT_CODE)
