"""Features, inference and events of one source, put together.

A pure core: audio goes in, work for the models comes out, scores go in, events come out. It knows
no clock, does no I/O and waits for nothing, so the same audio gives the same events whether it
arrives live, in ragged blocks or as fast as a file can be read. Who runs the models, and when, is
the caller's business; `replay` is the simplest caller.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from detector.errors import ConfigError
from detector.events.explain.explanation import Explained, ExplainedPattern, explain
from detector.events.explain.memory import Outcome, ScoreHistory
from detector.events.patterns.patterns import Patterns
from detector.events.patterns.plan import Ear, Plan
from detector.events.patterns.streams import Heard
from detector.events.scores.fusion import Confirmation, Decider, decide, decider_of
from detector.events.scores.steps import (
    ClipSteps,
    FrameSteps,
    MedianSteps,
    SameSteps,
    SharedSteps,
    Step,
    Steps,
    WatchedSteps,
)
from detector.events.segments.ctc import CtcDecoder, context_samples
from detector.events.segments.label_rules import label_rules
from detector.events.segments.segmenter import Segmenter
from detector.features.windows import Windower, WindowRequest
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Event, Gap, Scores, Window
from detector.settings.models import ModelSettings
from detector.settings.patterns import PatternSettings
from detector.spec import BundleSpec, Fbank, LogMelSpec, WindowSpec


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
        frontend = self.spec.frontend
        shift = frontend.shift_samples if isinstance(frontend, Fbank | LogMelSpec) else 1
        if hop % shift or not 0 < hop <= window.samples:
            raise ConfigError(
                f"hop_s = {self.settings.hop_s}: {self.spec.id} takes a "
                f"multiple of {shift / SAMPLE_RATE} s, at most {window.samples / SAMPLE_RATE} s"
            )
        return window.model_copy(update={"hop_samples": hop})

    @property
    def decider(self) -> Decider:
        """Which of the bundle's outputs become events.

        Raises:
            ConfigError: if the bundle does not have what the configuration asks for.
        """
        return decider_of(self.spec, self.settings)

    @property
    def labels(self) -> list[str]:
        """The slugs that become events; of a CTC model, the words that were asked for.

        Raises:
            ConfigError: naming the label.
        """
        if self.spec.ctc:
            return list(self.settings.only or ())
        return [rule.slug for rule in label_rules(self.spec, self.settings)]


Watch = Callable[[int, Step], object]
"""Is shown each step of the model of this index, as its segmenter is; not those of words."""

Work = tuple[int, Window | Cut]
"""For the model of this index: a window to score, or a cut. Each model's work is done in order."""


class Pipeline:
    """One source, heard by one or several models."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        watch: Watch | None = None,
        patterns: Mapping[str, PatternSettings] | None = None,
        *,
        remember: bool = False,
    ) -> None:
        """Set up.

        Args:
            listeners: the models.
            watch: sees what the segmenters see.
            patterns: rules over their labels, by their slugs.
            remember: keep the last minutes' scores for those who ask why.

        Raises:
            ConfigError: if settings do not fit a model, or a pattern does not fit the models.
        """
        self._listeners = list(listeners)
        self._histories = [ScoreHistory() if remember else None for _ in listeners]
        self._windower = Windower([window_request(listener) for listener in listeners])
        self._deciders = [listener.decider for listener in listeners]
        self._confirmations = _confirmations(listeners)
        self._steps = [SharedSteps(_steps(listener)) for listener in listeners]
        self._segmenters = [
            _segmenter(listener, self._steps[index], self._watchers(index, watch))
            for index, listener in enumerate(listeners)
        ]
        self._patterns = Patterns(self._plan(listeners, patterns or {}))

    def _plan(self, listeners: Sequence[Listener], patterns: Mapping[str, PatternSettings]) -> Plan:
        """Patterns see the steps that the segmenters of the models see."""
        pairs = zip(listeners, self._steps, strict=True)
        return Plan(
            patterns, [ear(listener, partial(SameSteps, steps)) for listener, steps in pairs]
        )

    def _watchers(self, index: int, watch: Watch | None) -> Iterator[Callable[[Step], object]]:
        if watch:
            yield partial(watch, index)
        if history := self._histories[index]:
            yield history.add

    def push(self, item: AudioBlock | Gap | Cut) -> Iterator[Work]:
        """Take what was heard, or was not; yield the work that it makes.

        At a gap or a cut everything ends, and what comes after it begins anew.
        """
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
        """Take the scores of model `index` for its next window, or its next cut.

        Returns:
            What follows: of this model, and of those that it confirms.
        """
        ready = [answer if isinstance(answer, Cut) else decide(answer, self._deciders[index])]
        if index in self._confirmations:
            _, confirmation = self._confirmations[index]
            ready = [item for one in ready for item in confirmation.push(one)]
        events = self._segment(index, ready)
        for other, (tagger, confirmation) in self._confirmations.items():
            if tagger == index:
                events += self._segment(other, confirmation.confirm(answer))
        return events

    def stop(self) -> list[Event]:
        """End every segment where it is, without the work that is left."""
        cut = Cut(self._windower.end_sample)
        return [e for index in range(len(self._segmenters)) for e in self._segment(index, [cut])]

    def _segment(self, index: int, answers: Iterable[Scores | Cut]) -> list[Event]:
        segmenter = self._segmenters[index]
        events = []
        for answer in answers:
            if isinstance(answer, Cut):
                found = segmenter.cut(answer.end_sample)
            else:
                found = segmenter.push(answer)
            events += found
            events += self._patterns.hear(index, answer, found, segmenter.heard_until)
        return events

    @property
    def labels(self) -> tuple[str, ...]:
        """The slugs of all that can become events."""
        published = (label for listener in self._listeners for label in listener.labels)
        return tuple(dict.fromkeys((*published, *self._patterns.labels)))

    def retune(
        self, listeners: Sequence[Listener], patterns: Mapping[str, PatternSettings]
    ) -> list[Event]:
        """Go by other labels, thresholds, durations and patterns from now on.

        Args:
            listeners: the same models, each with its hop, its filter, and by whom it is confirmed.
            patterns: as they are from now on.

        Returns:
            The ends, cut off, of what is no longer wanted or as it was.

        Raises:
            ConfigError: if settings do not fit; then nothing is changed.
        """
        plan = self._plan(listeners, patterns)
        rules = [[] if x.spec.ctc else label_rules(x.spec, x.settings) for x in listeners]
        self._listeners = list(listeners)
        for tagger, confirmation in self._confirmations.values():
            confirmation.retune(listeners[tagger].settings)
        ended = []
        for listener, own, segmenter in zip(listeners, rules, self._segmenters, strict=True):
            events: list[Event] = []
            if isinstance(segmenter, CtcDecoder):
                segmenter.retune(listener.settings)
            else:
                update_samples = round(listener.settings.update_interval_s * SAMPLE_RATE)
                events = segmenter.retune(own, update_samples)
            ended.append(Heard(segmenter.heard_until, tuple(events)))
        return [*chain(*(heard.events for heard in ended)), *self._patterns.retune(plan, ended)]

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

    def explain_patterns(
        self, first_sample: int, end_sample: int, outcomes: Sequence[Outcome]
    ) -> list[ExplainedPattern]:
        """Say of each pattern why it was an event in a stretch of sound, or not."""
        return self._patterns.explain(first_sample, end_sample, outcomes)


def replay(
    pipeline: Pipeline,
    items: Iterable[AudioBlock | Gap | Cut],
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
        trailing=listener.decider == "clip",
    )


def check(listener: Listener) -> None:
    """Refuse settings that do not fit the listener's model; that of two models, `Pipeline` sees.

    Raises:
        ConfigError: naming the setting.
    """
    window_request(listener)
    _segmenter(listener, _steps(listener))


def _confirmations(listeners: Sequence[Listener]) -> dict[int, tuple[int, Confirmation]]:
    """By the index of the model that is confirmed: who confirms it, and how."""
    places = {listener.name: index for index, listener in enumerate(listeners)}
    found = {}
    for index, listener in enumerate(listeners):
        name = listener.settings.confirmed_by
        if name is None:
            continue
        where = f"models.{listener.name}.confirmed_by = {name!r}"
        if name not in places:
            raise ConfigError(f"{where}: it does not listen to the same source")
        try:
            found[index] = places[name], _confirmation(listener, listeners[places[name]])
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return found


def _confirmation(listener: Listener, tagger: Listener) -> Confirmation:
    if listener.decider == "clip":
        raise ConfigError(f"{listener.spec.id} is decided by its clip, which times nothing")
    return Confirmation(listener.spec, listener.window, tagger.spec, tagger.settings, tagger.window)


def ear(listener: Listener, steps: Callable[[], Steps] | None = None) -> Ear:
    """The listener's model, as patterns need it; they make steps of its own if none are given."""
    return Ear(
        name=listener.name,
        spec=listener.spec,
        settings=listener.settings,
        hop_samples=listener.window.hop_samples,
        published=listener.labels,
        steps=steps or partial(_steps, listener),
    )


def _segmenter(
    listener: Listener, steps: Steps, watchers: Iterable[Callable[[Step], object]] = ()
) -> Segmenter | CtcDecoder:
    spec, settings = listener.spec, listener.settings
    if spec.ctc:
        if settings.smoothing_windows > 1:
            raise ConfigError(
                f"smoothing_windows = {settings.smoothing_windows}: {spec.id} spells words, and a "
                "median would take letters from them; leave it out"
            )
        return CtcDecoder(spec, spec.ctc, settings, steps)
    for watch in watchers:
        steps = WatchedSteps(steps, watch)
    rules = label_rules(spec, settings)
    return Segmenter(spec.id, rules, steps, round(settings.update_interval_s * SAMPLE_RATE))


def _steps(listener: Listener) -> Steps:
    spec, length = listener.spec, listener.settings.smoothing_windows
    hop = listener.window.hop_samples
    context = context_samples(listener.window.samples) if spec.ctc else None
    steps: Steps = ClipSteps(hop)
    if spec.outputs.frames and listener.decider != "clip":
        steps = FrameSteps(spec.outputs.frames, hop, context)
    return MedianSteps(steps, length) if length > 1 else steps
