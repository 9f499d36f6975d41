"""One model that listens to one source: its windows, its steps, its segments, its memory.

Windows are given out one by one, as the model is ready for them; its answers come back in the same
order. A lane knows no clock, does no I/O and waits for nothing.
"""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.events.explain.score_memory import ScoreMemory
from detector.events.scores.cascade import Cascade
from detector.events.scores.fusion import decide
from detector.events.scores.label_tree import LabelTree
from detector.events.scores.steps import ClipSteps, FrameSteps, MedianSteps, Step, Steps
from detector.events.segments.ctc import CtcDecoder, context_samples
from detector.events.segments.segmenter import Segmenter
from detector.features.windows import MOST_BEHIND, Stretch, WindowCursor
from detector.records import SAMPLE_RATE, Cut, Event, Gap, GapReason, Scores, Unscored, Window

_MOST_STRETCHES = 4
"""Stretches of sound that may wait for a model that is late."""

_ENDS = 2

Watch = Callable[[str, Step], object]
"""Is shown each step of the model of this name, as its segmenter is."""


class Lane:
    """One model that listens to one source."""

    def __init__(
        self,
        model: ConfiguredModel,
        watch: Watch | None = None,
        cascade: Cascade | None = None,
        *,
        remember: bool = False,
    ) -> None:
        """Set up; as `Pipeline`. With a cascade only some of its windows are to be scored."""
        self.model = model
        self.request = model.window_request
        remembers = remember and not model.spec.ctc  # words are no labels
        self.memory = ScoreMemory(len(model.spec.labels)) if remembers else None
        self.skipped = 0
        """Windows that were left out, since the model was late."""
        self._to_skip = 0
        """Windows that are to be left out when they come."""
        self.failed = 0
        """Windows of which the model could say nothing."""
        self.withheld = 0
        """Windows that were not worth being scored."""
        self.cascade = cascade
        self._judged: Window | None = None
        """The next window, while it is not known whether it is worth being scored."""
        self._watch = watch
        self._label_tree = LabelTree(model.spec.labels)
        self._decider = model.decider
        self._steps = _steps(model)
        self._segmenter = _segmenter(model)
        self._cursors: deque[WindowCursor] = deque()
        self._ends: deque[int] = deque()
        """Where stretches ended that were left out to their ends, until that is said: the first and
        the last, since what lies between was not scored."""
        self._scored_until = 0
        self._lost: list[tuple[int, GapReason]] = []
        """From where on windows are missing, and why: before each of `_ends`, and after them."""

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def scored_until(self) -> int:
        """Up to where the source's sound was scored."""
        return self._scored_until

    @property
    def known_until(self) -> int:
        """Up to where it is known what becomes of it."""
        return self._segmenter.known_until

    # Windows

    def begin(self, stretch: Stretch) -> None:
        """From now on the sound is in this stretch; what is left of earlier ones comes first."""
        self._cursors.append(WindowCursor(self.request, stretch))

    @property
    def has_room(self) -> bool:
        """Whether more sound can come, without the loss of what waits."""
        if not self._cursors:
            return True
        return len(self._cursors) <= _MOST_STRETCHES and self._cursors[-1].behind <= MOST_BEHIND

    @property
    def backlog(self) -> int:
        """Samples of sound that wait for the model."""
        return sum(cursor.left for cursor in self._cursors)

    def next(self) -> Window | Scores | Cut | None:
        """The next window to score, or the next end of the sound; None if there is neither yet.

        Scores stand for a window that is not worth being scored.
        """
        work, self._judged = self._judged or self._next(), None
        if self.cascade is None or not isinstance(work, Window):
            return work
        worth = self.cascade.judge(work, late=not self.has_room)
        if worth is None:
            self._judged = work
            return None
        if worth:
            return work
        self.withheld += 1
        return self.cascade.withheld(work)

    @property
    def waits(self) -> bool:
        """Whether there is a window of which another model decides whether it is to be scored."""
        return self._judged is not None

    def _next(self) -> Window | Cut | None:
        if self._ends:
            return Cut(self._ends.popleft())
        while self._cursors:
            cursor = self._cursors[0]
            if window := cursor.next():
                return window
            if not cursor.stretch.ended:
                break
            self._cursors.popleft()
            self._to_skip = 0
            return Cut(cursor.stretch.end_sample)
        return None

    def skip(self, count: int) -> None:
        """Leave out the next `count` windows, those that are not complete yet included.

        So the hop grows. What a new stretch brings is not left out.
        """
        self._to_skip += count
        self.catch_up()

    def catch_up(self) -> None:
        """Leave out what is to be left out and is complete by now."""
        while self._to_skip and self._skip_one():
            self._to_skip -= 1

    def _skip_one(self) -> bool:
        while self._cursors:
            cursor = self._cursors[0]
            begin = cursor.shown_until
            if cursor.skip():
                self.skipped += 1
                self._lose(begin, cursor.stretch.end_sample, "overrun")
                return True
            if not cursor.stretch.ended:
                break
            self._cursors.popleft()
            self._to_skip = min(self._to_skip, 1)
            self._end_left_out(cursor.stretch.end_sample)
        return False

    def _end_left_out(self, end: int) -> None:
        """A stretch was left out to its end."""
        if len(self._ends) == _ENDS:
            if self._lost and self._lost[-1][0] >= self._ends[-1]:
                self._lost.pop()  # the gap before it reaches as far
            self._ends.pop()
        self._ends.append(end)

    # Answers

    def hole_before(self, answer: Scores | Cut) -> Gap | None:
        """What this model did not hear before its answer, since windows are missing."""
        if not self._lost or answer.end_sample <= self._lost[0][0]:
            return None
        begin, reason = self._lost.pop(0)
        end = answer.first_sample if isinstance(answer, Scores) else answer.end_sample
        return Gap(begin, end - begin, reason, self.model.spec.id) if end > begin else None

    def fail(self, unscored: Unscored) -> None:
        """The model could not score its next window."""
        self.failed += 1
        begin = max(unscored.first_sample, self._scored_until)
        if self._lost and begin < self._lost[0][0]:  # later ones were left out meanwhile
            if self._lost[0][0] <= unscored.end_sample:
                self._lost.pop(0)
            self._lost.insert(0, (begin, unscored.reason))
            return
        self._lose(begin, unscored.end_sample, unscored.reason)

    def raised(self, answer: Scores | Cut) -> Scores | Cut:
        """The answer, in which a label scores at least what the labels below it do."""
        return answer if isinstance(answer, Cut) else self._label_tree.apply(answer)

    def decide(self, answer: Scores | Cut) -> Scores | Cut:
        """Leave of an answer what decides; note how far it reaches."""
        self._scored_until = max(self._scored_until, answer.end_sample)
        return answer if isinstance(answer, Cut) else decide(answer, self._decider)

    def push(self, answer: Scores | Cut) -> tuple[list[Step], list[Event]]:
        """Take the next answer; return its steps, and what follows of them."""
        if isinstance(answer, Cut):
            steps = self._steps.flush()
            self._show(steps)
            return steps, self._segmenter.cut(answer.end_sample, steps)
        steps = self._steps.push(answer)
        self._show(steps)
        return steps, self._segmenter.push(answer, steps)

    def top(self, scores: Scores, count: int) -> dict[str, float]:
        """The highest scores of a window, by label."""
        values = scores.clip if scores.clip is not None else scores.frames
        if values is None or not values.size:
            return {}
        best = values if values.ndim == 1 else values.max(axis=0)
        labels = self.model.spec.labels
        highest = np.argsort(best)[::-1][:count]
        return {labels[i].slug: round(float(best[i]), 4) for i in highest}

    def interrupt(self) -> tuple[Cut, list[Step], list[Event]]:
        """End what goes on where it is known so far; the next answer goes on from there.

        Returns:
            The cut that was made, the steps that led to it, and what follows of them.
        """
        cut = Cut(self.known_until)
        return cut, [], self._segmenter.cut(cut.end_sample, [])

    def lost_at_stop(self) -> Gap | None:
        """What this model did not hear, since windows are missing and no answer follows."""
        if not self._lost:
            return None
        begin, reason = self._lost[0]
        end = self._cursors[-1].stretch.end_sample if self._cursors else self._scored_until
        return Gap(begin, end - begin, reason, self.model.spec.id) if end > begin else None

    def stop(self) -> tuple[Cut, list[Step], list[Event]]:
        """End what goes on where it was last scored; as `interrupt`, but nothing follows."""
        steps = self._steps.flush()
        self._show(steps)
        cut = Cut(steps[-1].end_sample if steps else self.known_until)
        return cut, steps, self._segmenter.cut(cut.end_sample, steps)

    def retune(self, model: ConfiguredModel) -> list[Event]:
        """From now on go by other labels, thresholds and durations of the same model.

        Returns:
            The ends, cut off, of what is no longer wanted.
        """
        self.model = model
        if isinstance(self._segmenter, CtcDecoder):
            self._segmenter.retune(model.settings)
            return []
        return self._segmenter.retune(model.label_rules, _update_samples(model))

    def _show(self, steps: Sequence[Step]) -> None:
        if isinstance(self._segmenter, CtcDecoder):  # words are no labels
            return
        for step in steps:
            if self._watch:
                self._watch(self.name, step)
            if self.memory:
                self.memory.add(step)

    def _lose(self, begin: int, end: int, reason: GapReason) -> None:
        if begin >= end:  # it showed nothing new
            return
        if not self._lost or (self._ends and self._lost[-1][0] < self._ends[-1] <= begin):
            self._lost.append((begin, reason))


def check(model: ConfiguredModel) -> None:
    """Refuse settings that do not fit the model.

    Raises:
        ConfigError: naming the setting.
    """
    Lane(model)


def _segmenter(model: ConfiguredModel) -> Segmenter | CtcDecoder:
    spec, settings = model.spec, model.settings
    if not spec.ctc:
        return Segmenter(spec.id, model.label_rules, _update_samples(model))
    if settings.smoothing_windows > 1:
        raise ConfigError(
            f"smoothing_windows = {settings.smoothing_windows}: {spec.id} spells words, and a "
            "median would take letters from them; leave it out"
        )
    return CtcDecoder(spec, spec.ctc, settings)


def _steps(model: ConfiguredModel) -> Steps:
    spec, length = model.spec, model.settings.smoothing_windows
    window = model.window
    context = context_samples(window.samples) if spec.ctc else None
    steps: Steps = ClipSteps(window.hop_samples)
    if spec.outputs.frames and model.decider != "clip":
        steps = FrameSteps(spec.outputs.frames, window.hop_samples, context)
    return MedianSteps(steps, length) if length > 1 else steps


def _update_samples(model: ConfiguredModel) -> int:
    return round(model.settings.update_interval_s * SAMPLE_RATE)
