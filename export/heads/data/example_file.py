"""Examples in a file, one record each, so that memory holds only those that are in use."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detector.records import FloatArray
from export.heads.data.batch import TrainingBatch
from export.heads.data.scenes import Example

_TARGETS = ("target", "known", "frame_target", "frame_known")


class ExampleFile:
    """Hidden states and targets; what was appended is there when the file is opened again."""

    def __init__(self, path: Path, inputs: tuple[int, ...], labels: int, frames: int) -> None:
        """Open the file; part of a record at its end is dropped.

        Args:
            path: the file.
            inputs: shape of one example's hidden states, (steps, dim) or (dim,).
            labels: how many.
            frames: with targets of their own; 0 if there are none.
        """
        self._path = path
        self._record = np.dtype(
            [
                ("inputs", np.float32, inputs),
                ("target", np.bool_, (labels,)),
                ("known", np.bool_, (labels,)),
                ("frame_target", np.bool_, (frames, labels)),
                ("frame_known", np.bool_, (frames, labels)),
            ]
        )
        path.touch()
        self.truncate(len(self))

    def __len__(self) -> int:
        return self._path.stat().st_size // self._record.itemsize

    def truncate(self, count: int) -> None:
        """Keep the first `count` examples."""
        with self._path.open("r+b") as file:
            file.truncate(count * self._record.itemsize)

    def append(self, inputs: FloatArray, examples: Sequence[Example]) -> None:
        """Write examples, (n, ...) hidden states and what they are of, after those there are."""
        records = np.zeros(len(examples), self._record)
        records["inputs"] = inputs
        for name in _TARGETS:
            records[name] = np.stack([getattr(example, name) for example in examples])
        with self._path.open("ab") as file:
            file.write(records.tobytes())

    def read(self, rows: NDArray[np.int64] | slice) -> TrainingBatch:
        """Some of the examples, copied out of the file."""
        # Mapped anew each time: pages that were looked at count as memory until they are unmapped.
        records = np.array(np.memmap(self._path, self._record, "r")[rows])
        targets = (torch.from_numpy(records[name].astype(np.float32)) for name in _TARGETS)
        return TrainingBatch(torch.from_numpy(records["inputs"].copy()), *targets)

    def in_order(self, size: int) -> Iterator[TrainingBatch]:
        """All examples, `size` at a time."""
        for first in range(0, len(self), size):
            yield self.read(slice(first, first + size))
