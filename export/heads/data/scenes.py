"""Windows composed of recordings, as samples: the same recording in many places and circumstances.

Sounds are made louder or fainter, moved in time, cut, and mixed with backgrounds and noise. Nothing
moves them along the frequency axis: that would make them other sounds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detector.records import FloatArray
from export.heads.data.events import STEP, LabelledEvent, QuietStretch, find_event, find_quiet
from export.heads.data.recordings import Recording
from export.heads.data.samples import SampleReader
from export.heads.data.sound import amplitude_of, bounded, faded, level_of, noise
from export.heads.graph.frame_grid import FrameGrid

_FEW_QUIET = 40
"""Windows without a label that are always measured; more only as there are events."""

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Example:
    """What a network hears, and what it is to say. Nothing is demanded where nothing is known."""

    samples: FloatArray
    """(n,) float32, at most a window."""
    target: FloatArray
    """(labels,) 0 or 1."""
    known: FloatArray
    """(labels,) 0 or 1."""
    frame_target: FloatArray
    """(frames, labels); no frames if none are asked for."""
    frame_known: FloatArray
    """(frames, labels)."""


class Composer:
    """Makes examples of one side of the split; the same generator makes the same example."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        labels: int,
        window_samples: int,
        grid: FrameGrid | None,
        reader: SampleReader,
        *,
        exclusive: bool,
    ) -> None:
        """Find where in the recordings the labels are heard.

        Args:
            recordings: with every label among them.
            labels: how many.
            window_samples: what the network hears at a time.
            grid: of the frames for which targets are wanted.
            reader: reads samples of the recordings; none are kept.
            exclusive: exactly one label is heard in each recording, throughout.
        """
        self._labels, self._window, self._grid = labels, window_samples, grid
        self._reader, self._exclusive = reader, exclusive
        self._events = [find_event(r, span, reader) for r in recordings for span in r.spans]
        self._of_recording: dict[int, list[LabelledEvent]] = {}
        for event in self._events:
            self._of_recording.setdefault(id(event.recording), []).append(event)
        self._of_label = [
            _by_recording([e for e in self._events if e.span.label == label])
            for label in range(labels)
        ]
        self._quiet = [quiet for r in recordings for quiet in find_quiet(r)]
        """Stretches in which no label is heard."""

    @property
    def amount(self) -> int:
        """How many windows it takes to hear everything that has a label, about once."""
        return sum(
            max(1, min(len(events), -(-events[0].recording.length // self._window)))
            for events in self._of_recording.values()
        )

    @property
    def plain_count(self) -> int:
        return len(self._events) + len(self._quiet_windows())

    def compose(self, rng: Generator) -> Example:
        """A window in which a label is heard, each as often; or, if that can be, none."""
        kinds = self._labels + (0 if self._exclusive else max(1, self._labels // 4))
        kind = int(rng.integers(kinds))
        if kind >= self._labels:
            return self._nothing(rng)
        recordings = self._of_label[kind]
        events = recordings[rng.integers(len(recordings))]
        event = events[rng.integers(len(events))]
        length = event.steps
        whole = self._window // STEP
        manner = rng.random()
        if manner < 0.3:  # noqa: PLR2004 (as a file of its own)
            shown = min(length, whole)
            row = _place(rng, event, shown, inside=True)
            return self._example(rng, event, row, min(shown * STEP, self._window), filled=False)
        shown = int(rng.integers(whole // 4, whole)) if manner < 0.45 else whole  # noqa: PLR2004
        row = _place(rng, event, shown, inside=False)
        return self._example(rng, event, row, shown * STEP, filled=True)

    def plain(self, rng: Generator) -> Iterator[Example]:
        """Every event once, as much of it as a window holds, and quiet stretches; untouched."""
        for event in self._events:
            shown = min(event.steps, self._window // STEP)
            row = _place(rng, event, shown, inside=True, most=True)
            size = min(event.recording.length + row * STEP, shown * STEP)
            yield self._example(None, event, row, size, filled=False)
        for stretch, first in self._quiet_windows():
            yield self._unlabelled(stretch.read(self._reader, first, first + self._window))

    def _quiet_windows(self) -> list[tuple[QuietStretch, int]]:
        """Stretches one window after the other; some, evenly chosen, of many."""
        found = [(s, first) for s in self._quiet for first in range(0, len(s), self._window)]
        most = max(_FEW_QUIET, len(self._events))
        if len(found) <= most:
            return found
        return [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]

    def _example(
        self, rng: Generator | None, event: LabelledEvent, row: int, size: int, *, filled: bool
    ) -> Example:
        """The window of `size` samples in which the recording begins at step `row`.

        It is left as it is if there is no generator.
        """
        recording = event.recording
        shift = row * STEP
        first, stop = max(0, -shift), min(recording.length, size - shift)
        sound = self._reader(recording, first, stop)
        samples = np.zeros(size, np.float32)
        samples[first + shift : stop + shift] = faded(
            sound, begins=row > 0, ends=stop + shift < size
        )
        if rng is not None:
            active = event.active[first // STEP : max(first // STEP + 1, stop // STEP)]
            level = level_of(sound, active)
            if filled or rng.random() < 0.5:  # noqa: PLR2004
                samples += self._surroundings(rng, size, level)
            samples *= amplitude_of(rng.uniform(-20, 6))
        visible = slice(first // STEP, -(-stop // STEP))
        target, known = self._clip(event, visible)
        frames = self._frames(recording, shift, (first + shift, stop + shift))
        return Example(bounded(samples), target, known, *frames)

    def _clip(self, event: LabelledEvent, visible: slice) -> tuple[FloatArray, FloatArray]:
        """What is heard in these steps of the recording, and of which labels that is known."""
        target, known = np.zeros(self._labels, np.float32), np.ones(self._labels, np.float32)
        for other in self._of_recording[id(event.recording)]:
            seen = other.active_in(visible.start, visible.stop)
            if seen >= other.enough:
                target[other.span.label] = 1
            elif seen:
                known[other.span.label] = 0
        target[event.span.label] = 1
        return target, np.maximum(known, target)

    def _frames(
        self, recording: Recording, shift: int, inside: tuple[int, int]
    ) -> tuple[FloatArray, FloatArray]:
        target, known = self._no_frames()
        if self._grid is None:
            return target, known
        middles = self._grid.middles
        if self._exclusive:  # what is heard outside the recording has no label at all
            known[(middles < inside[0]) | (middles >= inside[1])] = 0
        for span in recording.spans:
            within = (middles >= max(inside[0], span.first_sample + shift)) & (
                middles < min(inside[1], span.end_sample + shift)
            )
            target[within, span.label] = 1
        return target, known

    def _nothing(self, rng: Generator) -> Example:
        """A window in which no label is heard: a quiet stretch, noise, or silence."""
        whole = self._window // STEP
        size = STEP * (whole if rng.random() < 0.7 else int(rng.integers(whole // 4, whole)))  # noqa: PLR2004
        if self._quiet and rng.random() < 0.75:  # noqa: PLR2004
            samples = self._stretch(rng, size)
            if rng.random() < 0.3:  # noqa: PLR2004
                samples += noise(rng, size, 10 ** rng.uniform(-4.5, -2))
            samples *= amplitude_of(rng.uniform(-20, 6))
        else:
            samples = noise(rng, size, 10 ** rng.uniform(-5, -0.5)) * (rng.random() < 0.9)  # noqa: PLR2004
        return self._unlabelled(bounded(samples))

    def _unlabelled(self, samples: FloatArray) -> Example:
        nothing = np.zeros(self._labels, np.float32)
        return Example(samples, nothing, np.ones_like(nothing), *self._no_frames())

    def _no_frames(self) -> tuple[FloatArray, FloatArray]:
        target = np.zeros((self._grid.count if self._grid else 0, self._labels), np.float32)
        return target, np.ones_like(target)

    def _surroundings(self, rng: Generator, size: int, level: float) -> FloatArray:
        """Noise, and at times a background, below a sound whose root mean square is `level`."""
        samples = noise(rng, size, level * amplitude_of(-rng.uniform(15, 60)))
        if self._quiet and rng.random() < 0.6:  # noqa: PLR2004
            background = self._stretch(rng, size)
            loud = math.sqrt(float(np.mean(np.square(background)))) or 1.0
            samples += background * (level * amplitude_of(-rng.uniform(3, 30)) / loud)
        return samples

    def _stretch(self, rng: Generator, size: int) -> FloatArray:
        """(size,) of what holds no label, repeated if it is shorter."""
        stretch = self._quiet[rng.integers(len(self._quiet))]
        first = int(rng.integers(len(stretch)))
        return stretch.read_repeated(self._reader, first, size)


def _by_recording(events: Sequence[LabelledEvent]) -> list[list[LabelledEvent]]:
    """Each recording counts once, however often the label is heard in it."""
    found: dict[int, list[LabelledEvent]] = {}
    for event in events:
        found.setdefault(id(event.recording), []).append(event)
    return list(found.values())


def _place(
    rng: Generator, event: LabelledEvent, shown: int, *, inside: bool, most: bool = False
) -> int:
    """The step of a window of `shown` steps at which a recording begins; negative if before it.

    Any will do at which enough of the sound is seen, or at which the most is.

    Args:
        rng: chooses.
        event: which the window is to show.
        shown: steps.
        inside: let the recording fill the window; it is at least as long.
        most: show as much of the sound as can be.
    """
    active, length = event.active, event.steps
    rows = np.arange(shown - length, 1) if inside else np.arange(1 - length, shown)
    first, stop = np.maximum(0, -rows), np.minimum(length, shown - rows)
    total = np.concatenate(([0], np.cumsum(active)))
    seen = total[stop] - total[first]
    needed = seen.max() if most else min(event.enough, int(seen.max()))
    return int(rng.choice(rows[seen >= needed]))
