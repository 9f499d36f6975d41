"""Features, inference and events of one source, put together.

A pure core: audio goes in, windows for the models come out, scores go in, events come out. It knows
no clock, does no I/O and waits for nothing, so the same audio gives the same events whether it
arrives live, in ragged blocks or as fast as a file can be read. Who runs the models, and when, is
the caller's business; `replay` is the simplest caller.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.events.explain.explanation import explain_labels
from detector.events.explain.segment_log import SegmentRecord
from detector.events.patterns.patterns import Patterns
from detector.events.patterns.plan import PatternInput, PatternPlan
from detector.events.patterns.streams import StreamUpdate
from detector.events.scores.cascade import Cascade
from detector.events.scores.fusion import Confirmation
from detector.events.scores.steps import Step
from detector.explanations import Finding, LabelFacts, PatternFacts
from detector.features.windows import Stretch, pieces
from detector.lane import Lane, Watch
from detector.records import AudioBlock, Cut, Event, Gap, Scores, Unscored, Window
from detector.settings.patterns import PatternSettings


class Pipeline:
    """One source, heard by one or several models."""

    def __init__(
        self,
        models: Sequence[ConfiguredModel],
        watch: Watch | None = None,
        patterns: Mapping[str, PatternSettings] | None = None,
        *,
        remember: bool = False,
    ) -> None:
        """Set up.

        Args:
            models: those that listen.
            watch: sees what the segmenters see.
            patterns: rules over their labels, by their slugs.
            remember: keep the last minutes' scores for those who ask why.

        Raises:
            ConfigError: if settings do not fit a model, or a pattern does not fit the models.
        """
        cascades = _cascades(models)
        self.lanes = tuple(
            Lane(model, watch, cascades.get(model.name), remember=remember) for model in models
        )
        self._confirmations = _confirmations(models)
        self._patterns = Patterns(_plan(models, patterns or {}))
        self._stretch: Stretch | None = None
        self._end: int | None = None

    @property
    def has_room(self) -> bool:
        """Whether `push` may be called: no model is so late that it would lose sound thereby."""
        return all(lane.has_room for lane in self.lanes)

    @property
    def wanted(self) -> int:
        """How many samples complete the next window of a model; fewer are of no use to any."""
        heard = len(self._stretch) if self._stretch else 0
        hops = (lane.request.window.hop_samples for lane in self.lanes)
        return min(hop - heard % hop for hop in hops)

    def push(self, item: AudioBlock | Gap | Cut) -> None:
        """Take what was heard, or was not; `Lane.next` then gives out the work that it makes.

        At a gap or a cut everything ends, and what comes after it begins anew.

        Args:
            item: what comes next; a block of at most MOST_AT_ONCE samples.

        Raises:
            ValueError: it does not follow what came before it.
        """
        first = item.end_sample if isinstance(item, Cut) else item.first_sample
        if self._end is not None and first != self._end:
            raise ValueError(f"sample {self._end} comes next, not {first}")
        self._end = item.end_sample
        if not isinstance(item, AudioBlock):
            self.finish()
            return
        if self._stretch is None:
            self._stretch = Stretch(first, [lane.request for lane in self.lanes])
            for lane in self.lanes:
                lane.begin(self._stretch)
        self._stretch.push(item.samples)
        for lane in self.lanes:
            lane.catch_up()

    def finish(self) -> None:
        """The sound has ended, or pauses; the last work follows."""
        if self._stretch:
            self._stretch.ended = True
            self._stretch = None

    def work(self) -> Iterator[tuple[Lane, Window | Scores | Cut]]:
        """Give out all the work there is, in the order of the sound; of equals the first model's.

        The answer to one is expected before the next is asked for; scores are the answer.
        """
        due: list[Window | Scores | Cut | None] = [None] * len(self.lanes)
        while True:
            # One that had none may have some now that another model has answered.
            due = [work or lane.next() for work, lane in zip(due, self.lanes, strict=True)]
            waiting = [
                (work.end_sample, isinstance(work, Cut), place)
                for place, work in enumerate(due)
                if work is not None
            ]
            if not waiting:
                return
            _, _, place = min(waiting)
            if (work := due[place]) is not None:
                yield self.lanes[place], work
            due[place] = None

    def resolve(self, lane: Lane, answer: Scores | Unscored | Cut) -> list[Event | Gap]:
        """Take what a model said of its next window, or its next cut.

        Returns:
            What follows: of this model, and of those that it confirms.
        """
        if isinstance(answer, Unscored):
            lane.fail(answer)
            return []
        told: list[Event | Gap] = []
        if gap := lane.hole_before(answer):
            told += [*self._take(lane, Cut(gap.first_sample)), gap]
        return told + self._take(lane, answer)

    def interrupt(self, lane: Lane) -> list[Event]:
        """A model says nothing at present: end what goes on where it is known so far."""
        return self._follow(lane, *lane.interrupt())

    def stop(self) -> list[Event]:
        """End every segment where it was last scored, without the work that is left."""
        return [event for lane in self.lanes for event in self._follow(lane, *lane.stop())]

    def lost_at_stop(self) -> list[Gap]:
        """Of each model what it has not heard since windows are missing."""
        gaps = (lane.lost_at_stop() for lane in self.lanes)
        return [gap for gap in gaps if gap is not None]

    def _take(self, lane: Lane, answer: Scores | Cut) -> list[Event]:
        answer = lane.raised(answer)
        for other in self.lanes:
            if other.cascade and other.model.settings.cascade_from == lane.name:
                other.cascade.hear(answer)
        decided = lane.decide(answer)
        confirmation = self._confirmations.get(lane.name)
        ready = confirmation.push(decided) if confirmation else [decided]
        events = self._segment(lane, ready)
        for other in self.lanes:
            confirmed = self._confirmations.get(other.name)
            if confirmed and other.model.settings.confirmed_by == lane.name:
                events += self._segment(other, confirmed.confirm(answer))
        return events

    def _segment(self, lane: Lane, answers: Iterable[Scores | Cut]) -> list[Event]:
        return [
            event for answer in answers for event in self._follow(lane, answer, *lane.push(answer))
        ]

    def _follow(
        self, lane: Lane, answer: Scores | Cut, steps: Sequence[Step], events: Sequence[Event]
    ) -> list[Event]:
        """What a model's answer leads to: its own events, and those of patterns."""
        until = lane.known_until
        return [*events, *self._patterns.push(lane.name, answer, steps, events, until)]

    @property
    def labels(self) -> tuple[str, ...]:
        """The slugs of all that can become events."""
        published = (label for lane in self.lanes for label in lane.model.labels)
        return tuple(dict.fromkeys((*published, *self._patterns.labels)))

    def retune(
        self, models: Sequence[ConfiguredModel], patterns: Mapping[str, PatternSettings]
    ) -> list[Event]:
        """Go by other labels, thresholds, durations and patterns from now on.

        Args:
            models: the same ones, each with its hop, its filter, and by whom it is confirmed.
            patterns: as they are from now on.

        Returns:
            The ends, cut off, of what is no longer wanted or as it was.

        Raises:
            ConfigError: if settings do not fit; then nothing is changed.
        """
        plan = _plan(models, patterns)
        for model in models:
            _ = () if model.spec.ctc else model.label_rules  # raises before anything is changed
        by_name = {model.name: model for model in models}
        for confirmed in models:
            if confirmation := self._confirmations.get(confirmed.name):
                confirmation.retune(by_name[str(confirmed.settings.confirmed_by)].settings)
        ended = {
            lane.name: StreamUpdate(lane.known_until, tuple(lane.retune(by_name[lane.name])))
            for lane in self.lanes
        }
        events = [event for update in ended.values() for event in update.events]
        return events + self._patterns.retune(plan, ended)

    def keep_memory(self, earlier: "Pipeline") -> None:
        """Remember the scores of the same models' earlier sound too."""
        for lane, before in zip(self.lanes, earlier.lanes, strict=True):
            lane.memory = before.memory

    def explain(
        self, first_sample: int, end_sample: int, records: Sequence[SegmentRecord]
    ) -> list[Finding[LabelFacts]]:
        """Say of the labels that stood out in a stretch of sound why they were events, or not."""
        return [
            finding
            for lane in self.lanes
            if lane.memory
            for finding in explain_labels(
                lane.model.spec,
                lane.model.label_rules,
                list(lane.memory.between(first_sample, end_sample)),
                [record for record in records if record.segment.model == lane.model.spec.id],
                first_sample,
            )
        ]

    def explain_patterns(
        self, first_sample: int, end_sample: int, records: Sequence[SegmentRecord]
    ) -> list[Finding[PatternFacts]]:
        """Say of each pattern why it was an event in a stretch of sound, or not."""
        return self._patterns.explain(first_sample, end_sample, records)


def replay(
    pipeline: Pipeline,
    items: Iterable[AudioBlock | Gap | Cut],
    score: Callable[[str, Window], Scores],
) -> Iterator[Event]:
    """Run a whole recording: `score` asks the model of the given name.

    There are no gaps but those in `items`, since no window is left out and a failure is raised.
    """

    def work() -> Iterator[tuple[Lane, Window | Scores | Cut]]:
        yield from work_of(pipeline, items)
        pipeline.finish()
        yield from pipeline.work()

    for lane, task in work():
        answer = score(lane.name, task) if isinstance(task, Window) else task
        yield from (told for told in pipeline.resolve(lane, answer) if isinstance(told, Event))


def work_of(
    pipeline: Pipeline, items: Iterable[AudioBlock | Gap | Cut]
) -> Iterator[tuple[Lane, Window | Scores | Cut]]:
    """Push blocks of any length, and whatever is between them; give out the work, as it comes."""
    for item in items:
        if isinstance(item, AudioBlock):
            first = item.first_sample
            for samples in pieces(item.samples):
                pipeline.push(AudioBlock(first, samples))
                first += len(samples)
                yield from pipeline.work()
        else:
            pipeline.push(item)
            yield from pipeline.work()


def check_source(
    models: Sequence[ConfiguredModel], patterns: Mapping[str, PatternSettings] | None = None
) -> None:
    """Refuse models and patterns that do not fit together at a source.

    Raises:
        ConfigError: as `Pipeline`, of models each of which fits its settings (see `lane.check`).
    """
    _confirmations(models)
    _plan(models, patterns or {})


def _plan(
    models: Sequence[ConfiguredModel], patterns: Mapping[str, PatternSettings]
) -> PatternPlan:
    return PatternPlan(patterns, [pattern_input(model) for model in models])


def _confirmations(models: Sequence[ConfiguredModel]) -> dict[str, Confirmation]:
    """By the name of the model that is confirmed."""
    by_name = {model.name: model for model in models}
    found = {}
    for model in models:
        name = model.settings.confirmed_by
        if name is None:
            continue
        where = f"models.{model.name}.confirmed_by = {name!r}"
        if name not in by_name:
            raise ConfigError(f"{where}: it does not listen to the same source")
        try:
            found[model.name] = _confirmation(model, by_name[name])
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return found


def _cascades(models: Sequence[ConfiguredModel]) -> dict[str, Cascade]:
    """By the name of the model that another spares work."""
    by_name = {model.name: model for model in models}
    found = {}
    for model in models:
        settings = model.settings
        if settings.cascade_from is None and settings.cascade_level_dbfs is None:
            continue
        where = f"models.{model.name}.cascade_from = {settings.cascade_from!r}"
        if settings.cascade_from == model.name:
            raise ConfigError(f"{where}: that is the model itself")
        if settings.cascade_from is not None and settings.cascade_from not in by_name:
            raise ConfigError(f"{where}: it does not listen to the same source")
        if model.spec.ctc:
            raise ConfigError(f"{where}: {model.spec.id} spells words, and would lose letters")
        other = by_name.get(settings.cascade_from or "")
        if other and other.settings.cascade_from is not None:
            raise ConfigError(f"{where}: that model has a cascade_from of its own")
        hop = other.window.hop_samples if other else 0
        found[model.name] = Cascade(settings, model.spec, hop)
    return found


def _confirmation(model: ConfiguredModel, tagger: ConfiguredModel) -> Confirmation:
    if model.decider == "clip":
        raise ConfigError(f"{model.spec.id} is decided by its clip, which times nothing")
    return Confirmation(model.spec, model.window, tagger.spec, tagger.settings, tagger.window)


def pattern_input(model: ConfiguredModel) -> PatternInput:
    """The model, as patterns need it."""
    return PatternInput(
        name=model.name,
        spec=model.spec,
        settings=model.settings,
        hop_samples=model.window.hop_samples,
        published=model.labels,
    )
