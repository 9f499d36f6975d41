"""Examples as batches: of hidden states that are computed once, or of ever new windows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from detector.records import FloatArray
from export.heads.data.batch import TrainingBatch
from export.heads.data.example_file import ExampleFile
from export.heads.data.scenes import Composer, Example
from export.heads.graph.base import EncoderSpec, HiddenStates

_CHUNK = 16
"""Windows whose hidden states are computed, and kept, together."""
_READ_AT_ONCE = 256
"""Examples, where all are read in their order."""

_FITTED, _HELD_OUT = 0, 1
"""What a window is composed for: its place in the seed."""

ReportProgress = Callable[[int, int], None]
"""Called with how many windows of how many are prepared."""


@dataclass(frozen=True, slots=True)
class ComposedWindows:
    """Windows of both sides of the split, each the same whenever it is asked for."""

    fitted: Composer
    held_out: Composer
    seed: int
    windows: int
    """Composed for each epoch, from the recordings that are fitted."""
    held_out_windows: int
    """Composed besides the plain ones."""

    @property
    def held_out_count(self) -> int:
        """Windows of what was held out, in all."""
        return self.held_out.plain_count + self.held_out_windows

    def example(self, epoch: int, index: int) -> Example:
        return self.fitted.compose(np.random.default_rng((self.seed, _FITTED, epoch, index)))

    def held_out_examples(self) -> Iterator[Example]:
        """What was held out as it was recorded, then in other circumstances."""
        yield from self.held_out.plain(np.random.default_rng((self.seed, _HELD_OUT)))
        for index in range(self.held_out_windows):
            yield self.held_out.compose(np.random.default_rng((self.seed, _HELD_OUT, index)))


class FrozenExamples:
    """Hidden states of windows that are composed once, and kept in two files."""

    def __init__(
        self,
        windows: ComposedWindows,
        encoder: EncoderSpec,
        hidden: HiddenStates,
        files: tuple[ExampleFile, ExampleFile],
        batch: int,
        report: ReportProgress,
        negatives: FloatArray | None = None,
    ) -> None:
        """Compute the hidden states that the files, of fitted and of held-out ones, lack.

        Args:
            windows: of both sides of the split.
            encoder: what the hidden states are of.
            hidden: computes them.
            files: for the fitted and the held-out ones.
            batch: how many are fitted at once.
            report: is told how far it is.
            negatives: (n, …) hidden states in which no label is heard, fitted besides.
        """
        self._fitted, self._held_out = files
        self._seed, self._batch = windows.seed, batch
        fitted = (windows.example(0, index) for index in range(windows.windows))
        counts = windows.windows, windows.held_out_count
        prepared = 0
        for file, examples, count in zip(
            files, (fitted, windows.held_out_examples()), counts, strict=True
        ):
            # A chunk that was cut short is computed whole again: rounding depends on the batch.
            file.truncate(len(file) if len(file) == count else len(file) // _CHUNK * _CHUNK)
            for chunk in _in_chunks(islice(examples, len(file), None), _CHUNK):
                file.append(hidden(np.stack([encoder.features(e.samples) for e in chunk])), chunk)
                report(prepared + len(file), sum(counts))
            prepared += count
        self._negatives = None if negatives is None else torch.from_numpy(negatives)

    def hidden(self) -> Iterator[Tensor]:
        """Of what is fitted: (n, steps, dim) or (n, dim)."""
        return (batch.inputs for batch in self._fitted.in_order(_READ_AT_ONCE))

    def epoch(self, number: int) -> Iterator[TrainingBatch]:
        rng = np.random.default_rng((self._seed, number))
        order = rng.permutation(len(self._fitted))
        for first in range(0, len(order), self._batch):
            batch = self._fitted.read(order[first : first + self._batch])
            yield batch if self._negatives is None else _with_negatives(batch, self._negatives, rng)

    def held_out(self) -> Iterator[TrainingBatch]:
        return self._held_out.in_order(_READ_AT_ONCE)


class ComposedExamples:
    """Inputs of the encoder, of windows that are composed anew for each epoch."""

    def __init__(
        self,
        windows: ComposedWindows,
        encoder: EncoderSpec,
        batch: int,
        report: ReportProgress,
    ) -> None:
        self._windows, self._encoder, self._batch = windows, encoder, batch
        self._report = report

    def epoch(self, number: int) -> Iterator[TrainingBatch]:
        count = self._windows.windows
        for first in range(0, count, self._batch):
            indices = range(first, min(first + self._batch, count))
            yield self._stack([self._windows.example(number, index) for index in indices])
            self._report(indices.stop, count)

    def held_out(self) -> Iterator[TrainingBatch]:
        return map(self._stack, _in_chunks(self._windows.held_out_examples(), self._batch))

    def _stack(self, examples: Sequence[Example]) -> TrainingBatch:
        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(example, name) for example in examples]))

        inputs = np.stack([self._encoder.features(e.samples) for e in examples])
        names = ("target", "known", "frame_target", "frame_known")
        return TrainingBatch(torch.from_numpy(inputs), *map(stack, names))


def _with_negatives(
    batch: TrainingBatch, negatives: Tensor, rng: np.random.Generator
) -> TrainingBatch:
    """The batch, and half as many windows in which nothing is heard."""
    drawn = torch.from_numpy(rng.integers(len(negatives), size=max(1, len(batch.inputs) // 2)))

    def filled(given: Tensor, value: float) -> Tensor:
        return torch.cat((given, torch.full((len(drawn), *given.shape[1:]), value)))

    return TrainingBatch(
        torch.cat((batch.inputs, negatives[drawn])),
        filled(batch.target, 0.0),
        filled(batch.known, 1.0),
        filled(batch.frame_target, 0.0),
        filled(batch.frame_known, 1.0),
    )


def _in_chunks(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    waiting = iter(examples)
    while chunk := list(islice(waiting, size)):
        yield chunk
