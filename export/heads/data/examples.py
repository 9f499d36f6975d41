"""Examples as batches: of hidden states that are computed once, or of ever new windows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from detector.records import FloatArray
from export.heads.data.scenes import Composer, Example
from export.heads.fit.fit import Batch
from export.heads.graph.base import Hearing, HiddenStates
from export.heads.work import Work

_CHUNK = 16
"""Windows that are heard, and kept, together."""

_FITTED, _HELD_OUT = 0, 1
"""What a window is composed for: its place in the seed."""


@dataclass(frozen=True, slots=True)
class Composed:
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
        """The plain ones, then those in other circumstances."""
        yield from self.plain()
        for index in range(self.held_out_windows):
            yield self.held_out.compose(np.random.default_rng((self.seed, _HELD_OUT, index)))

    def plain(self) -> Iterator[Example]:
        """What was held out, as it was recorded."""
        yield from self.held_out.plain(np.random.default_rng((self.seed, _HELD_OUT)))


class FrozenExamples:
    """Hidden states of windows that are composed and heard once, and then kept."""

    def __init__(
        self,
        composed: Composed,
        hearing: Hearing,
        hidden: HiddenStates,
        work: Work,
        batch: int,
        tell: Callable[[int, int], None],
    ) -> None:
        """Hear all windows, but those that `work` has already.

        `tell` is called with how many windows of how many have been heard.
        """
        total = composed.windows + composed.held_out_count
        self._seed, self._size = composed.seed, batch

        def hear(name: str, examples: Iterable[Example], before: int) -> Batch:
            batches, heard = [], before
            for part in _in_parts(examples, _CHUNK):
                key = f"{name}-{heard - before:06}"
                states = work.load(key)
                if states is None:
                    states = hidden(np.stack([hearing.data(e.samples) for e in part]))
                    work.keep(key, states)
                batches.append(_batch(states, part))
                heard += len(part)
                tell(heard, total)
            return _joined(batches)

        fitted = (composed.example(0, index) for index in range(composed.windows))
        self._fitted = hear("fitted", fitted, 0)
        self._held_out = hear("held-out", composed.held_out_examples(), composed.windows)

    @property
    def hidden(self) -> Tensor:
        """Of what is fitted: (n, steps, dim) or (n, dim)."""
        return self._fitted.inputs

    def epoch(self, number: int) -> Iterator[Batch]:
        order = np.random.default_rng((self._seed, number)).permutation(len(self.hidden))
        for first in range(0, len(order), self._size):
            yield _choose(self._fitted, torch.from_numpy(order[first : first + self._size]))

    def held_out(self) -> Iterator[Batch]:
        yield self._held_out


class ComposedExamples:
    """Inputs of the encoder, of windows that are composed anew for each epoch."""

    def __init__(
        self, composed: Composed, hearing: Hearing, batch: int, tell: Callable[[int, int], None]
    ) -> None:
        """Call `tell` with how many windows of how many an epoch has heard."""
        self._tell = tell
        self._composed, self._hearing, self._size = composed, hearing, batch
        parts = _in_parts(composed.held_out_examples(), batch)
        self._held_out = [self._stack(part) for part in parts]

    def epoch(self, number: int) -> Iterator[Batch]:
        for first in range(0, self._composed.windows, self._size):
            indices = range(first, min(first + self._size, self._composed.windows))
            yield self._stack([self._composed.example(number, index) for index in indices])
            self._tell(indices.stop, self._composed.windows)

    def held_out(self) -> Iterator[Batch]:
        yield from self._held_out

    def _stack(self, examples: Sequence[Example]) -> Batch:
        return _batch(np.stack([self._hearing.data(e.samples) for e in examples]), examples)


def _in_parts(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    waiting = iter(examples)
    while part := list(islice(waiting, size)):
        yield part


def _batch(inputs: FloatArray, examples: Sequence[Example]) -> Batch:
    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(example, name) for example in examples]))

    targets = ("target", "known", "frame_target", "frame_known")
    return Batch(torch.from_numpy(inputs), *map(stack, targets))


def _joined(batches: Sequence[Batch]) -> Batch:
    return Batch(*(torch.cat([getattr(b, field.name) for b in batches]) for field in fields(Batch)))


def _choose(batch: Batch, rows: Tensor) -> Batch:
    return Batch(*(getattr(batch, field.name)[rows] for field in fields(Batch)))
