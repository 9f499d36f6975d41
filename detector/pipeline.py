"""Features, inference and events of one source, put together.

A pure core: audio goes in, work for the models comes out, scores go in, events come out. It knows
no clock, does no I/O and waits for nothing, so the same audio gives the same events whether it
arrives live, in ragged blocks or as fast as a file can be read. Who runs the models, and when, is
the caller's business; `replay` is the simplest caller.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from detector.config import ModelSettings
from detector.errors import ConfigError
from detector.events.ctc import CtcDecoder, context_samples
from detector.events.explanation import Explained, explain
from detector.events.history import Outcome, RememberedSteps, ScoreHistory
from detector.events.labels import label_rules
from detector.events.segmenter import Segmenter
from detector.events.steps import ClipSteps, FrameSteps, MedianSteps, Steps
from detector.features.windows import Windower, WindowRequest
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Event, Gap, Scores, Window
from detector.spec import BundleSpec, Fbank, WindowSpec


@dataclass(frozen=True, slots=True)
class Listener:
    """A model with the settings that it runs under."""

    name: str
    """What the configuration calls it."""
    spec: BundleSpec
    settings: ModelSettings

    @property
    def window(self) -> WindowSpec:
        """The bundle's window with the configured hop.

        Raises:
            ConfigError: if the model cannot work with that hop.
        """
        window = self.spec.window
        if self.settings.hop_s is None:
            return window
        hop = round(self.settings.hop_s * SAMPLE_RATE)
        shift = self.spec.frontend.shift_samples if isinstance(self.spec.frontend, Fbank) else 1
        if hop % shift or not 0 < hop <= window.samples:
            raise ConfigError(
                f"hop_s = {self.settings.hop_s}: {self.spec.id} takes a "
                f"multiple of {shift / SAMPLE_RATE} s, at most {window.samples / SAMPLE_RATE} s"
            )
        return window.model_copy(update={"hop_samples": hop})

    @property
    def labels(self) -> list[str]:
        """The slugs that become events; of a CTC model, the words that were asked for.

        Raises:
            ConfigError: naming the label.
        """
        if self.spec.ctc:
            return list(self.settings.only or ())
        return [rule.slug for rule in label_rules(self.spec, self.settings)]


Work = tuple[int, Window | Cut]
"""For the model of this index: a window to score, or a cut. Each model's work is done in order."""


class Pipeline:
    """One source, heard by one or several models."""

    def __init__(self, listeners: Sequence[Listener], *, remember: bool = False) -> None:
        """Set up; with `remember`, keep the last minutes' scores for those who ask why.

        Raises:
            ConfigError: if settings do not fit a model.
        """
        self._listeners = list(listeners)
        self._histories = [ScoreHistory() if remember else None for _ in listeners]
        self._windower = Windower([window_request(listener) for listener in listeners])
        self._segmenters = [
            _segmenter(listener, history)
            for listener, history in zip(listeners, self._histories, strict=True)
        ]

    def push(self, item: AudioBlock | Gap) -> Iterator[Work]:
        """Take what was heard, or was not; yield the work that it makes."""
        if isinstance(item, AudioBlock):
            yield from self._windower.push(item)
        else:
            yield from self.finish()
            self._windower.restart(item.end_sample)

    def finish(self) -> Iterator[Work]:
        """The sound has ended; yield the last work."""
        yield from self._windower.flush()
        for index in range(len(self._segmenters)):
            yield index, Cut(self._windower.end_sample)

    def resolve(self, index: int, answer: Scores | Cut) -> list[Event]:
        """Take the scores of model `index` for its next window, or its next cut."""
        segmenter = self._segmenters[index]
        if isinstance(answer, Cut):
            return segmenter.cut(answer.end_sample)
        return segmenter.push(answer)

    def stop(self) -> list[Event]:
        """End every segment where it is, without the work that is left."""
        end = self._windower.end_sample
        return [event for segmenter in self._segmenters for event in segmenter.cut(end)]

    def retune(self, index: int, listener: Listener) -> list[Event]:
        """Have model `index` go by other labels, thresholds and durations from now on.

        Its hop and its filter stay as they are. Returns the ends of what is no longer wanted.

        Raises:
            ConfigError: if the settings do not fit the model; then nothing is changed.
        """
        segmenter, settings = self._segmenters[index], listener.settings
        if isinstance(segmenter, CtcDecoder):
            segmenter.retune(settings)
            events = []
        else:
            events = segmenter.retune(
                label_rules(listener.spec, settings),
                round(settings.update_interval_s * SAMPLE_RATE),
                self._windower.end_sample,
            )
        self._listeners[index] = listener
        return events

    def explain(
        self, first_sample: int, end_sample: int, outcomes: Sequence[Outcome]
    ) -> list[Explained]:
        """Say of the labels that stood out in a stretch of sound why they were events, or not."""
        return [
            explained
            for listener, history in zip(self._listeners, self._histories, strict=True)
            if history and not listener.spec.ctc
            for explained in explain(
                listener.spec,
                label_rules(listener.spec, listener.settings),
                list(history.between(first_sample, end_sample)),
                [outcome for outcome in outcomes if outcome.model == listener.spec.id],
                first_sample,
            )
        ]


def replay(
    pipeline: Pipeline,
    items: Iterable[AudioBlock | Gap],
    score: Callable[[int, Window], Scores],
) -> Iterator[Event]:
    """Run a whole recording: `score` asks the model of the given index."""

    def work() -> Iterator[Work]:
        for item in items:
            yield from pipeline.push(item)
        yield from pipeline.finish()

    for index, task in work():
        answer = task if isinstance(task, Cut) else score(index, task)
        yield from pipeline.resolve(index, answer)


def window_request(listener: Listener) -> WindowRequest:
    """What the listener's model wants to see."""
    spec = listener.spec
    return WindowRequest(
        frontend=spec.frontend,
        window=listener.window,
        rows=int(spec.input.shape[1]),
        trailing=spec.outputs.frames is None,
    )


def _segmenter(listener: Listener, history: ScoreHistory | None) -> Segmenter | CtcDecoder:
    spec, settings = listener.spec, listener.settings
    hop = listener.window.hop_samples
    context = context_samples(listener.window.samples) if spec.ctc else None
    steps: Steps = ClipSteps(hop)
    if spec.outputs.frames:
        steps = FrameSteps(spec.outputs.frames, hop, context)
    if spec.ctc:
        if settings.smoothing_windows > 1:
            raise ConfigError(
                f"smoothing_windows = {settings.smoothing_windows}: {spec.id} spells words, and a "
                "median would take letters from them; leave it out"
            )
        return CtcDecoder(spec, spec.ctc, settings, steps)
    if settings.smoothing_windows > 1:
        steps = MedianSteps(steps, settings.smoothing_windows)
    if history:
        steps = RememberedSteps(steps, history)
    rules = label_rules(spec, settings)
    return Segmenter(spec.id, rules, steps, round(settings.update_interval_s * SAMPLE_RATE))
