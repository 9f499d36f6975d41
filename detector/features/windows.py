"""Sliding windows over the features of one source, for all models that listen to it.

What two models share is computed once: there is one log-mel stream for each front end and one
history of samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detector.features.fbank import LogMel
from detector.features.row_buffer import History
from detector.features.waveform import prepare
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Window
from detector.spec import Fbank, Frontend, LogMelSpec, WindowSpec


@dataclass(frozen=True, slots=True)
class WindowRequest:
    """What one model wants to see."""

    frontend: Frontend
    window: WindowSpec
    rows: int
    """The length of the model's input: frames for log-mel, samples for a waveform."""
    trailing: bool
    """At an end, let the window's trailing edge pass too: a model with one score set for the whole
    window shows only thereby when a sound ended."""


class _LogMelStream:
    """Log-mel frames since the last reset."""

    def __init__(
        self, frontend: Fbank | LogMelSpec, longest_window: int, most_at_once: int
    ) -> None:
        self._frontend = frontend
        self._log_mel = LogMel(frontend, SAMPLE_RATE)
        capacity = (longest_window + most_at_once) // frontend.shift_samples + 1
        self._frames = History(capacity, frontend.mel_bins)

    def reset(self) -> None:
        self._log_mel.reset()
        self._frames.reset()

    def push(self, samples: FloatArray) -> None:
        self._frames.append(self._log_mel.push(samples))

    def cut(self, first: int, end: int, rows: int) -> FloatArray | None:
        """(rows, mel_bins): the frames that lie in samples `first..end`, padded at the end."""
        begin = first // self._frontend.shift_samples
        stop = self._frontend.frames_in(end)
        if stop <= begin:
            return None
        frames = self._frames.rows(begin, stop)
        window = np.empty((rows, self._frontend.mel_bins), np.float32)
        window[: len(frames)] = frames
        window[len(frames) :] = self._frontend.padding
        return window


class Windower:
    """Audio of one source in, windows of every model out.

    A model's windows end at every multiple of its hop since the source (or the sound after a gap)
    began. Until the sound is as long as the window, what is missing is padded at the end, as the
    models' own feature extractors pad a short clip: the first answer comes after one hop.
    """

    _SLICE: Final = SAMPLE_RATE
    """Samples handled at once; a longer block is taken in pieces, so memory stays bounded."""

    def __init__(self, requests: Sequence[WindowRequest]) -> None:
        self._requests = tuple(requests)
        longest = max(r.window.samples for r in requests)
        hop = max(r.window.hop_samples for r in requests)
        waveform = any(not isinstance(r.frontend, Fbank | LogMelSpec) for r in requests)
        self._samples = History((longest if waveform else hop) + self._SLICE)
        self._log_mels = {
            frontend: _LogMelStream(frontend, longest, self._SLICE)
            for frontend in {
                r.frontend for r in requests if isinstance(r.frontend, Fbank | LogMelSpec)
            }
        }
        self._origin = 0
        self._seen = [0] * len(requests)  # up to where each model has windows, from the origin

    @property
    def end_sample(self) -> int:
        return self._origin + self._samples.end

    def restart(self, first_sample: int) -> None:
        """Forget what was heard: the sound begins anew at `first_sample`."""
        self._origin = first_sample
        self._samples.reset()
        self._seen = [0] * len(self._requests)
        for stream in self._log_mels.values():
            stream.reset()

    def push(self, block: AudioBlock) -> Iterator[tuple[int, Window]]:
        """Take a block; yield (index of the model, window), the oldest window first.

        Raises:
            ValueError: if the block does not follow the one before it.
        """
        if block.first_sample != self.end_sample:
            raise ValueError(
                f"block begins at sample {block.first_sample}, expected {self.end_sample}"
            )
        for i in range(0, len(block.samples), self._SLICE):
            piece = block.samples[i : i + self._SLICE]
            self._samples.append(piece)
            for stream in self._log_mels.values():
                stream.push(piece)
            yield from self._due()

    def flush(self) -> Iterator[tuple[int, Window]]:
        """The last windows: over what no window has shown yet, then ever shorter ones.

        The shortest is one hop long, as is the first window of a sound.
        """
        end = self._samples.end
        for index, request in enumerate(self._requests):
            if self._seen[index] < end:
                yield from self._cut(index, end)
            if request.trailing:
                hop = request.window.hop_samples
                shortest = end - hop
                first = max(0, end - request.window.samples)
                while first < shortest:
                    first = min(first + hop, shortest)
                    yield from self._cut(index, end, first)

    def _due(self) -> Iterator[tuple[int, Window]]:
        now = self._samples.end
        ends = [
            (end, index)
            for index, (request, seen) in enumerate(zip(self._requests, self._seen, strict=True))
            for hop in (request.window.hop_samples,)
            for end in range(seen + hop, now + 1, hop)
        ]
        for end, index in sorted(ends):
            yield from self._cut(index, end)

    def _cut(self, index: int, end: int, first: int | None = None) -> Iterator[tuple[int, Window]]:
        """The window of model `index` over the samples `first..end` from the origin."""
        request = self._requests[index]
        first = max(0, end - request.window.samples) if first is None else first
        new = end - self._seen[index]
        if isinstance(request.frontend, Fbank | LogMelSpec):
            # A last window may end between two frames; it begins where a frame does.
            shift = request.frontend.shift_samples
            first = -(-first // shift) * shift
            data = self._log_mels[request.frontend].cut(first, end, request.rows)
        else:
            data = prepare(self._samples.rows(first, end), request.frontend, request.rows)
        if data is not None:  # else what is new waits for a window that is long enough
            self._seen[index] = end
            power = float(np.square(self._samples.rows(end - new, end), dtype=np.float64).sum())
            yield (
                index,
                Window(
                    first_sample=self._origin + first,
                    end_sample=self._origin + end,
                    new_samples=new,
                    data=data,
                    power=power / max(new, 1),
                ),
            )
