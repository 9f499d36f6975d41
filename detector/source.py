"""One source of sound: capture, ring, pipeline and models, and what they have to say.

    capture ─► ring ─► features ─► lane ─► model ─► lane ─► events ─► publishers
                                   lane ─► model ─► lane ─►

A lane is worked off by a task of its own. When its model is late, the features wait for it, and the
sound in the ring; only while its backlog does not shrink windows are left out. What fails in here
is said, and tried again: other sources do not notice.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from time import monotonic, time_ns
from typing import Final

import numpy as np
import structlog

from detector.capture.capture import open_capture
from detector.capture.ring import Reader, RingBuffer
from detector.configured_model import ConfiguredModel
from detector.errors import DetectorError, ModelFailedError, cause_of
from detector.events.explain.segment_log import SegmentLog
from detector.events.segments.suppression import SuppressionGate
from detector.explain_source import SourceMemory, explain_source
from detector.explanations import Suppression
from detector.features.windows import MOST_AT_ONCE
from detector.inference.worker import Worker
from detector.lane import Lane
from detector.notice import Notice
from detector.operate.health import SourceHealth
from detector.operate.schedule import Schedule
from detector.overload import OverloadRule, patience_s
from detector.pipeline import Pipeline
from detector.publish.commands.replies import Explanation
from detector.publish.messages import MessageFactory
from detector.publish.previous_run import ResumePoint, down_gap
from detector.publish.publisher import Publisher
from detector.records import (
    SAMPLE_RATE,
    AudioBlock,
    Cut,
    Event,
    Gap,
    Scores,
    SourceStatus,
    Unscored,
    Window,
)
from detector.settings.patterns import PatternSettings
from detector.settings.sources import SourceSettings
from detector.stats import SourceStats

log = structlog.get_logger()

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""Before a source that failed is tried again."""
KEPT_SAMPLES: Final = SAMPLE_RATE
"""Sound that a source's ring takes memory for while nobody is late."""
MOST_WANTED: Final = SAMPLE_RATE // 2
"""Sound that is waited for, however long a hop is, since status and level follow from it too."""
TOP_SCORES: Final = 5
"""Of a window, that are published for tuning."""
GAPS_KEPT: Final = 100
"""For those who ask why there was no event."""


class Source:
    """One source of sound, from its device to its events."""

    def __init__(
        self,
        settings: SourceSettings,
        node: str,
        models: Sequence[tuple[ConfiguredModel, Worker]],
        publisher: Publisher,
        schedule: Schedule,
        patterns: Mapping[str, PatternSettings],
        resume: ResumePoint = ResumePoint(),  # noqa: B008 (it is frozen)
    ) -> None:
        self.name, self._node = settings.name, node
        self._models = [model for model, _ in models]
        self._workers = {model.name: worker for model, worker in models}
        self._publisher = publisher
        self._patterns = patterns
        self._capture = open_capture(settings)
        self._clock = self._capture.clock
        self._ring = RingBuffer(keep_samples=KEPT_SAMPLES)
        self._pipeline = self._new_pipeline()
        self._gate, self._segments = SuppressionGate(), SegmentLog()
        self._schedule, self._muted = schedule, False
        self._last_gaps: deque[Gap] = deque(maxlen=GAPS_KEPT)
        # Two runs may have begun at what their clocks told was the same time.
        self._messages = MessageFactory(node, self.name, str(time_ns()), resume.last_sequence)
        self._heard_until = resume.heard_until
        self._health = SourceHealth()
        self._sound, self._progress = Notice(), Notice()
        """There is more work for the lanes; a lane has done some."""
        self._finished = False
        """No more work follows."""
        self._status: SourceStatus = "offline"
        self._samples_heard = self._samples_overrun = self._samples_not_finite = 0
        self._windows_skipped = self._windows_failed = self._windows_withheld = 0
        self._events = self._suppressed = self._gaps = 0

    @property
    def labels(self) -> dict[str, str]:
        """The names of what it can report, by slug."""
        names = {label.slug: label.name for model in self._models for label in model.spec.labels}
        names |= {slug: pattern.display_name(slug) for slug, pattern in self._patterns.items()}
        return {slug: names.get(slug, slug) for slug in self._pipeline.labels}

    def declare(self) -> None:
        """Tell the publishers what this source can have to say."""
        self._publisher.declare(self.name, list(self.labels))
        self._publisher.source_status(self.name, self._status)

    async def run(self) -> None:
        """Listen until the recording ends or the task is cancelled; then end what is open.

        Whatever fails is said, and tried again after a pause.

        Raises:
            ModelFailedError: a model has failed for good.
        """
        structlog.contextvars.bind_contextvars(source=self.name)
        pause_s, said = FIRST_PAUSE_S, ""
        while True:
            began = monotonic()
            try:
                await self._listen()
            except Exception as raised:
                error = cause_of(raised)
                if isinstance(error, ModelFailedError):
                    raise error from None
                if self._ring.closed:  # the recording has ended: there is nothing to try again
                    log.exception("the source failed at its end", error=str(error))
                    return
                if str(error) != said:  # once, not at every attempt
                    said = str(error)
                    trace = None if isinstance(error, DetectorError) else error
                    log.warning("the source failed; it is tried again", error=said, exc_info=trace)
            else:
                return
            pause_s = FIRST_PAUSE_S if monotonic() - began > LONGEST_PAUSE_S else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _listen(self) -> None:
        """Listen until the recording ends or something fails; then end what is open."""
        self._finished = False
        reader = self._ring.reader()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._run_capture(), name=f"{self.name} capture")
                group.create_task(self._follow(reader), name=f"{self.name} features")
                for lane in self._pipeline.lanes:
                    group.create_task(self._work_off(lane, reader), name=f"{self.name} {lane.name}")
        finally:
            ended, self._pipeline = self._pipeline, self._new_pipeline()
            self._pipeline.keep_memory(ended)
            self._windows_skipped += sum(lane.skipped for lane in ended.lanes)
            self._windows_failed += sum(lane.failed for lane in ended.lanes)
            self._windows_withheld += sum(lane.withheld for lane in ended.lanes)
            try:  # nothing may keep a stop from being one
                self._tell([*ended.stop(), *ended.lost_at_stop()])
            except Exception:
                log.exception("what goes on could not be ended", source=self.name)
            self._set_captured("offline")

    def stats(self) -> SourceStats:
        lanes = self._pipeline.lanes
        return SourceStats(
            status=self._status,
            samples_heard=self._samples_heard,
            samples_overrun=self._samples_overrun,
            samples_not_finite=self._samples_not_finite,
            windows_skipped=self._windows_skipped + sum(lane.skipped for lane in lanes),
            windows_failed=self._windows_failed + sum(lane.failed for lane in lanes),
            windows_withheld=self._windows_withheld + sum(lane.withheld for lane in lanes),
            events=self._events,
            events_held=self._suppressed,
            gaps=self._gaps,
        )

    def mute(self) -> None:
        """Say nothing more of what is heard; what was told to begin ends here, cut off."""
        self._muted = True
        self._segments.mute(self._ring.end_sample)
        self._publish(self._gate.close(self._ring.end_sample))

    def unmute(self) -> None:
        self._muted = False

    def reschedule(self, schedule: Schedule) -> None:
        """From now on keep other hours."""
        self._schedule = schedule

    def retune(
        self,
        configured_models: Mapping[str, ConfiguredModel],
        patterns: Mapping[str, PatternSettings],
    ) -> None:
        """Go by other labels, thresholds, durations and patterns from now on.

        Args:
            configured_models: all models, of which some listen here, by their names.
            patterns: as they are from now on.

        Raises:
            ConfigError: if they do not fit; then nothing is changed.
        """
        models = [configured_models[running.name] for running in self._models]
        ended = self._pipeline.retune(models, patterns)
        self._models, self._patterns = models, patterns
        self._tell(ended)

    def explain(self, at: datetime, within_s: float) -> Explanation:
        """Say what was heard around a time, and why it was an event, or not.

        Raises:
            ConfigError: if nothing is known of that time.
        """
        memory = SourceMemory(
            name=self.name,
            status=self._status,
            clock=self._clock,
            end_sample=self._ring.end_sample,
            gaps=self._last_gaps,
            segments=self._segments,
            pipeline=self._pipeline,
        )
        return explain_source(memory, at, within_s)

    def _new_pipeline(self) -> Pipeline:
        return Pipeline(self._models, patterns=self._patterns, remember=True)

    async def _run_capture(self) -> None:
        """Fill the ring from the device or the file."""
        await self._capture.run(self._ring, self._set_captured)
        self._ring.close()

    async def _follow(self, reader: Reader) -> None:
        """Make features of what the ring holds, as it comes and as fast as the models take it."""
        while True:
            await reader.wait(min(self._pipeline.wanted, MOST_WANTED))
            while not self._pipeline.has_room:
                await self._make_room()
            item = reader.read(MOST_AT_ONCE)
            if item is None:
                if reader.closed:
                    break
                continue
            if isinstance(item, AudioBlock):
                self._samples_heard += len(item.samples)
                self._health.push(item)
                self._refresh_status()
                self._publish_down(item)
                self._publisher.heard(self.name, self._clock.utc(item.end_sample))
                self._publisher.level(self.name, float(np.square(item.samples).mean()))
            elif isinstance(item, Gap):
                self._count_lost(item)
                self._tell_gap(item)
            self._pipeline.push(item)
            self._sound.give()
        self._pipeline.finish()
        self._finished = True
        self._sound.give()

    def _count_lost(self, gap: Gap) -> None:
        if gap.reason == "not_finite":
            self._samples_not_finite += gap.length
        elif gap.reason == "overrun":
            self._samples_overrun += gap.length

    async def _make_room(self) -> None:
        """Wait for the models that are late; what waits for one that hangs is left out."""
        hung = [
            lane
            for lane in self._pipeline.lanes
            if self._health.hangs(lane.name) and not lane.has_room
        ]
        for lane in hung:
            lane.skip(1)
        if not hung:
            await self._progress.wait()

    async def _work_off(self, lane: Lane, reader: Reader) -> None:
        """Have the windows of one model scored in order, tell what follows."""
        structlog.contextvars.bind_contextvars(model=lane.name)
        overload = OverloadRule(lane.request.window.hop_samples)
        worker = self._workers[lane.name]
        due: deque[Scores | Cut | asyncio.Task[Scores | Unscored]] = deque()
        async with asyncio.TaskGroup() as scoring:
            while True:
                while len(due) < worker.in_flight and (work := lane.next()):
                    if isinstance(work, Window):
                        due.append(scoring.create_task(worker.score(work, self.name)))
                    else:
                        due.append(work)
                if not due:
                    if self._finished and not lane.waits:
                        return
                    overload.idle()
                    await self._sound.wait()
                    continue
                first = due.popleft()
                answer = await self._answer(lane, first)
                if isinstance(answer, Scores):
                    self._publisher.scores(self.name, lane.top(answer, TOP_SCORES))
                self._tell(self._pipeline.resolve(lane, answer))
                backlog = reader.pending_sound + lane.backlog
                lane.skip(overload.windows_to_skip(backlog, monotonic()))
                self._progress.give()
                self._sound.give()  # another model may have waited for what this one says

    async def _answer(
        self, lane: Lane, due: Scores | Cut | asyncio.Task[Scores | Unscored]
    ) -> Scores | Unscored | Cut:
        """The next answer of a model, of which it is said if it does not come."""
        if not isinstance(due, asyncio.Task):
            return due
        longest_s = patience_s(lane.request.window.hop_samples)
        timer = asyncio.get_running_loop().call_later(longest_s, self._hang, lane)
        try:
            answer = await due
        finally:
            timer.cancel()
        if self._health.answer(lane.name):
            log.info("the model answers again")
            self._refresh_status()
        return answer

    def _hang(self, lane: Lane) -> None:
        """The model does not answer."""
        self._health.hang(lane.name)
        log.warning("the model does not answer", source=self.name, model=lane.name)
        try:
            self._tell(self._pipeline.interrupt(lane))
        finally:
            self._refresh_status()
            self._progress.give()

    def _publish_down(self, first: AudioBlock) -> None:
        """Publish the gap since the previous run, with the first sound that is heard again."""
        if self._heard_until is None:
            return
        heard_again = self._clock.utc(first.first_sample)
        gap = down_gap(self._node, self.name, self._heard_until, heard_again)
        self._heard_until = None
        if gap is not None:
            self._gaps += 1
            self._publisher.gap(gap)

    def _tell_gap(self, gap: Gap) -> None:
        self._gaps += 1
        nobody_heard_it = gap.model is None or len(self._models) == 1
        self._last_gaps.append(replace(gap, model=None) if nobody_heard_it else gap)
        self._publisher.gap(self._messages.gap(gap, self._clock.utc))

    def _tell(self, told: Sequence[Event | Gap]) -> None:
        """Publish gaps, and what may be told of events; nothing that begins while it may not."""
        for item in told:
            if isinstance(item, Gap):
                self._tell_gap(item)
                continue
            suppressed_by = self._suppressed_by(item)
            self._suppressed += suppressed_by is not None and item.type == "start"
            self._segments.add(item, suppressed_by, self._ring.end_sample)
            if event := self._gate.admit(item, suppressed_by, self._ring.end_sample):
                self._publish([event])

    def _suppressed_by(self, event: Event) -> Suppression | None:
        if self._muted:
            return "muted"
        onset = self._clock.utc(event.onset_sample)
        return None if self._schedule.allows(self.name, event.label, onset) else "quiet_hours"

    def _publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self._events += 1
            self._publisher.event(self._messages.event(event, self._clock.utc))

    def _set_captured(self, status: SourceStatus) -> None:
        self._health.captured(status)
        self._refresh_status()

    def _refresh_status(self) -> None:
        status = self._health.status
        if status != self._status:
            self._status = status
            log.info("source", source=self.name, status=status)
            self._publisher.source_status(self.name, status)
