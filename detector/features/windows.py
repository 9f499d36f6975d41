"""Sliding windows over an unbroken stretch of sound, for all models that listen to it.

What two models share is computed once: there is one log-mel stream for each front end and one
buffer of samples. A window is cut from them only when its model is ready for it, so a model that
is late costs no memory, and one that skips windows costs no work.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from detector.features.energy import Energy, can_sum
from detector.features.front_ends import Samples, front_end
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray, Window
from detector.spec import Frontend, WindowSpec

MOST_AT_ONCE: Final = SAMPLE_RATE
"""Samples that can be pushed at once."""
MOST_BEHIND: Final = SAMPLE_RATE * 3 // 2
"""Samples by which a window that is due may be older than the newest sound."""


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


class Stretch:
    """Sound without a gap, as far back as the models need it, and its features.

    Inside, samples are counted from the beginning of the stretch.
    """

    def __init__(self, first_sample: int, requests: Sequence[WindowRequest]) -> None:
        """Set up for sound that begins at `first_sample` of the source."""
        self.first_sample = first_sample
        self.ended = False
        """Nothing more comes."""
        late = MOST_BEHIND + MOST_AT_ONCE
        kept = max(r.window.samples for r in requests) + late
        sums_do = all(r.frontend.describes_frames and can_sum(r.window) for r in requests)
        self._samples = Samples(kept, MOST_AT_ONCE, remembered=MOST_AT_ONCE if sums_do else kept)
        self._energy = Energy(self._samples, kept, MOST_AT_ONCE)
        self._front_ends = {
            frontend: front_end(frontend, self._samples)
            for frontend in {r.frontend for r in requests}
        }

    def __len__(self) -> int:
        """How many samples were pushed."""
        return self._samples.end

    @property
    def end_sample(self) -> int:
        return self.first_sample + len(self)

    def push(self, samples: FloatArray) -> None:
        """Take more samples, (n,) float32, at most MOST_AT_ONCE."""
        self._samples.append(samples)
        self._energy.push(samples)
        for stream in self._front_ends.values():
            stream.push(samples)

    def cut(self, frontend: Frontend, first: int, end: int, rows: int) -> FloatArray | None:
        """As `FrontEnd.cut`."""
        return self._front_ends[frontend].cut(first, end, rows)

    def energy(self, first: int, end: int) -> float:
        """The sum of the squares of the samples `first <= i < end`."""
        return self._energy.between(first, end)


class WindowCursor:
    """Where one model is in a stretch of sound.

    Its windows end at every multiple of its hop since the stretch began. Until the sound is as long
    as the window, what is missing is padded at the end, as the models' own feature extractors pad
    a short clip: the first answer comes after one hop. When the stretch has ended, the last windows
    are over what none has shown yet, then ever shorter ones, down to one hop.
    """

    def __init__(self, request: WindowRequest, stretch: Stretch) -> None:
        self.stretch = stretch
        self._request = request
        self._due = request.window.hop_samples
        """Where the next window ends."""
        self._seen = 0
        """Up to where there were windows."""
        self._energy, self._measured = 0.0, 0
        """Of what no window has shown, as far as `_measured`."""
        self._last: deque[tuple[int, int]] | None = None
        """The first sample and the end of what is left after the stretch has ended."""

    @property
    def behind(self) -> int:
        """Samples by which the next window is older than the newest sound; below 0: not due yet."""
        return len(self.stretch) - self._due

    @property
    def left(self) -> int:
        """Samples of sound that no window has shown, nor was one of them left out."""
        return len(self.stretch) - self._measured

    @property
    def shown_until(self) -> int:
        """The source's sample up to where there were windows."""
        return self.stretch.first_sample + self._seen

    def next(self) -> Window | None:
        """The next window, oldest first; None if none is complete."""
        for first, end in self._spans():
            if window := self._cut(first, end):
                return window
        return None

    def skip(self) -> bool:
        """Leave out the next window; say whether there was one."""
        span = next(self._spans(), None)
        if span is None:
            return False
        self._measure(span[1])
        return True

    def _spans(self) -> Iterator[tuple[int, int]]:
        length = self._request.window.samples
        while self._due <= len(self.stretch):
            end, self._due = self._due, self._due + self._request.window.hop_samples
            yield max(0, end - length), end
        if self.stretch.ended:
            if self._last is None:
                self._last = deque(self._last_spans())
            while self._last:
                yield self._last.popleft()

    def _last_spans(self) -> Iterator[tuple[int, int]]:
        end, hop = len(self.stretch), self._request.window.hop_samples
        first = max(0, end - self._request.window.samples)
        if self._seen < end:
            yield first, end
        if self._request.trailing:
            while first < end - hop:
                first = min(first + hop, end - hop)
                yield first, end

    def _measure(self, end: int) -> None:
        if end > self._measured:
            self._energy += self.stretch.energy(self._measured, end)
            self._measured = end

    def _cut(self, first: int, end: int) -> Window | None:
        # A last window may end between two frames; it begins where a frame does.
        step = self._request.frontend.hop_multiple
        first = -(-first // step) * step
        data = self.stretch.cut(self._request.frontend, first, end, self._request.rows)
        if data is None:  # what is new waits for a window that is long enough
            return None
        self._measure(end)
        heard, energy = end - self._seen, self._energy
        new = min(heard, end - first)  # of what was skipped, only what the window shows
        self._seen, self._energy = end, 0.0
        return Window(
            first_sample=self.stretch.first_sample + first,
            end_sample=self.stretch.first_sample + end,
            new_samples=new,
            data=data,
            power=energy / max(heard, 1),
        )


def windows_of(request: WindowRequest, blocks: Iterable[AudioBlock]) -> Iterator[Window]:
    """All windows of a recording."""
    stretch = Stretch(0, [request])
    cursor = WindowCursor(request, stretch)
    for block in blocks:
        for piece in pieces(block.samples):
            stretch.push(piece)
            while window := cursor.next():
                yield window
    stretch.ended = True
    while window := cursor.next():
        yield window


def pieces(samples: FloatArray) -> Iterator[FloatArray]:
    """Samples of any length, as they can be pushed."""
    for first in range(0, len(samples), MOST_AT_ONCE):
        yield samples[first : first + MOST_AT_ONCE]
