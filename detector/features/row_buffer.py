"""The latest rows of a stream, addressed by their absolute index."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowBuffer:
    """Keeps at least the last `capacity` rows, contiguous in memory.

    Rows are written once, and moved once for every `slack` rows that are appended, so an append
    costs the same however long the stream is.
    """

    def __init__(
        self,
        capacity: int,
        slack: int,
        width: int | None = None,
        dtype: type[np.float32 | np.float64] = np.float32,
    ) -> None:
        """Set up.

        Args:
            capacity: rows that are kept.
            slack: room for more; at most so many are appended at once.
            width: the length of a row; None if a row is one number.
            dtype: of the numbers.
        """
        self._capacity = capacity
        self._buffer = np.empty((capacity + slack, *(() if width is None else (width,))), dtype)
        self._first = 0  # index of the row at the buffer's beginning
        self._used = 0

    @property
    def end(self) -> int:
        """One past the index of the newest row."""
        return self._first + self._used

    def append(self, rows: NDArray[Any]) -> None:
        """Add at most `slack` rows."""
        if self._used + len(rows) > len(self._buffer):
            drop = self._used - self._capacity
            self._buffer[: self._capacity] = self._buffer[drop : self._used]
            self._first += drop
            self._used = self._capacity
        self._buffer[self._used : self._used + len(rows)] = rows
        self._used += len(rows)

    def rows(self, first: int, end: int) -> NDArray[Any]:
        """A view of the rows `first <= i < end`, valid until the next append.

        Raises:
            IndexError: if they are no longer, or not yet, here.
        """
        if not self._first <= first <= end <= self.end:
            raise IndexError(f"rows {first}..{end} are not in {self._first}..{self.end}")
        return self._buffer[first - self._first : end - self._first]
