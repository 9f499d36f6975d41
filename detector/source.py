"""One source of sound: capture, ring, pipeline and models, and what they have to say."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
import structlog

from detector.capture.clock import SampleClock
from detector.capture.recording import play
from detector.capture.ring import RingBuffer
from detector.capture.supervised import Microphone
from detector.errors import ConfigError
from detector.events.explain.memory import KEPT_S, Outcomes
from detector.events.segments.gate import Gate, Held
from detector.inference.window_queue import WaitingWindows
from detector.inference.worker import Worker
from detector.operate.health import SignalMonitor
from detector.operate.schedule import Schedule
from detector.pipeline import Listener, Pipeline
from detector.publish.commands.replies import Explanation, LabelExplanation, PatternExplanation
from detector.publish.messages import MessageFactory
from detector.publish.previous_run import ResumePoint, down_gap
from detector.publish.publisher import Publisher
from detector.records import SAMPLE_RATE, AudioBlock, Cut, Event, Gap, Scores, SourceStatus
from detector.settings.patterns import PatternSettings
from detector.settings.sources import SourceSettings
from detector.stats import SourceStats

log = structlog.get_logger()

RING_S: Final = 20
"""How much sound waits for a slow reader before it is lost, and said to be."""
WAITING_S: Final = 2.0
"""How much sound may wait for a model, so that a burst after a stall is heard; more is late."""
TOP_SCORES: Final = 5
GAPS_KEPT: Final = 100
"""For those who ask why there was no event."""


class Source:
    """One source of sound, from its device to its events."""

    def __init__(
        self,
        settings: SourceSettings,
        node: str,
        models: Sequence[tuple[Listener, Worker]],
        publishers: Sequence[Publisher],
        schedule: Schedule,
        patterns: Mapping[str, PatternSettings],
        resume: ResumePoint = ResumePoint(),  # noqa: B008 - it is frozen
    ) -> None:
        self.name, self._node = settings.name, node
        self._settings = settings
        self._models = list(models)
        self._publishers = publishers
        self._ring = RingBuffer(RING_S * SAMPLE_RATE)
        self._reader = self._ring.reader()
        self._clock = SampleClock()
        self._pipeline = Pipeline(
            [listener for listener, _ in models], patterns=patterns, remember=True
        )
        self._patterns = patterns
        self._gate, self._outcomes = Gate(), Outcomes()
        self._schedule, self._muted = schedule, False
        self._last_gaps: deque[Gap] = deque(maxlen=GAPS_KEPT)
        self._waiting = [
            WaitingWindows(max(2, round(WAITING_S * SAMPLE_RATE / listener.window.hop_samples)))
            for listener, _ in models
        ]
        # Two runs may have begun at what their clocks told was the same time.
        self._messages = MessageFactory(node, self.name, str(time.time_ns()), resume.last_sequence)
        self._heard_until = resume.heard_until
        self._signal = SignalMonitor()
        self._status: SourceStatus = "offline"
        self._events = self._held = self._gaps = 0

    @property
    def labels(self) -> dict[str, str]:
        """The names of what it can report, by slug."""
        names = {label.slug: label.name for listener, _ in self._models
                 for label in listener.spec.labels}  # fmt: skip
        names |= {slug: pattern.subject(slug) for slug, pattern in self._patterns.items()}
        return {slug: names.get(slug, slug) for slug in self._pipeline.labels}

    def declare(self) -> None:
        """Tell the publishers what this source can have to say."""
        labels = list(self.labels)
        for publisher in self._publishers:
            publisher.declare(self.name, labels)
            publisher.source_status(self.name, self._status)

    async def run(self) -> None:
        """Listen until the recording ends or the task is cancelled; then end what is open."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._capture(), name=f"{self.name} capture")
                group.create_task(self._listen(), name=f"{self.name} features")
                for index, (listener, _) in enumerate(self._models):
                    group.create_task(self._answer(index), name=f"{self.name} {listener.name}")
        finally:
            self._tell(self._pipeline.stop())
            self._set_status("offline")

    def stats(self) -> SourceStats:
        return SourceStats(
            status=self._status,
            samples_heard=self._ring.end_sample,
            samples_overrun=self._reader.overrun_samples,
            windows_skipped=sum(waiting.skipped for waiting in self._waiting),
            events=self._events,
            events_held=self._held,
            gaps=self._gaps,
        )

    def mute(self) -> None:
        """Say nothing more of what is heard; what was told to begin ends here, cut off."""
        self._muted = True
        self._outcomes.mute(self._ring.end_sample)
        self._publish(self._gate.close(self._ring.end_sample))

    def unmute(self) -> None:
        self._muted = False

    def reschedule(self, schedule: Schedule) -> None:
        """From now on keep other hours."""
        self._schedule = schedule

    def retune(
        self, listeners: Mapping[str, Listener], patterns: Mapping[str, PatternSettings]
    ) -> None:
        """Go by other labels, thresholds, durations and patterns from now on.

        Args:
            listeners: all models, of which some listen here, by their names.
            patterns: as they are from now on.

        Raises:
            ConfigError: if they do not fit; then nothing is changed.
        """
        models = [(listeners[running.name], worker) for running, worker in self._models]
        ended = self._pipeline.retune([listener for listener, _ in models], patterns)
        self._models, self._patterns = models, patterns
        self._tell(ended)

    def explain(self, at: datetime, within_s: float) -> Explanation:
        """Say what was heard around a time, and why it was an event, or not.

        Raises:
            ConfigError: if nothing is known of that time.
        """
        ago = (datetime.now(UTC) - at).total_seconds()
        if ago < 0:
            raise ConfigError(f"at: {at.isoformat()} has not come yet")
        if not self._clock.started:
            raise ConfigError(f"{self.name} has not heard anything yet")
        centre = self._clock.sample_at(time.monotonic() - ago)
        first, end = (round(centre + sign * within_s * SAMPLE_RATE) for sign in (-1, 1))
        if ago > KEPT_S or end <= 0:
            raise ConfigError(
                f"at: {at.isoformat()}: only the last {KEPT_S // 60} minutes are remembered, "
                "since the source began"
            )
        utc = self._clock.utc
        outcomes = list(self._outcomes.between(first, end))
        return Explanation(
            source=self.name,
            begin=utc(first),
            end=utc(end),
            status=self._status,
            not_heard_s=round(
                sum(
                    max(0, min(end, gap.end_sample) - max(first, gap.first_sample))
                    for gap in self._last_gaps
                )
                / SAMPLE_RATE,
                3,
            ),
            labels=tuple(
                LabelExplanation(
                    model=said.model,
                    label=said.label,
                    name=said.name,
                    peak=round(said.peak, 4),
                    onset_threshold=said.onset_threshold,
                    why=said.why,
                    onset=None if said.onset_sample is None else utc(said.onset_sample),
                    offset=None if said.offset_sample is None else utc(said.offset_sample),
                )
                for said in self._pipeline.explain(first, end, outcomes)
            ),
            patterns=tuple(
                PatternExplanation(
                    pattern=said.pattern,
                    name=said.name,
                    kind=said.kind,
                    why=said.why,
                    heard=dict(said.heard),
                    level_dbfs=None if said.level_dbfs is None else round(said.level_dbfs, 1),
                    onset=None if said.onset_sample is None else utc(said.onset_sample),
                    offset=None if said.offset_sample is None else utc(said.offset_sample),
                )
                for said in self._pipeline.explain_patterns(first, end, outcomes)
            ),
        )

    async def _capture(self) -> None:
        """Fill the ring from the device or the file."""
        settings = self._settings
        if settings.audio_file is None:
            await Microphone(settings).run(self._ring, self._clock, self._set_status)
        else:
            await play(
                settings.audio_file,
                self._ring,
                self._clock,
                self._set_status,
                channel=settings.channel,
            )
        self._ring.close()

    async def _listen(self) -> None:
        """Cut what the ring holds into windows, as it comes."""
        while True:
            await self._reader.wait()
            item = self._reader.read(SAMPLE_RATE)
            if item is None:
                if self._reader.closed:
                    break
                continue
            if isinstance(item, AudioBlock):
                self._watch_signal(item)
                self._publish_down(item)
                for publisher in self._publishers:
                    publisher.heard(self.name, self._clock.utc(item.end_sample))
                    publisher.level(self.name, float(np.square(item.samples).mean()))
            elif isinstance(item, Gap):
                self._tell_gap(item)
            for index, work in self._pipeline.push(item):
                self._waiting[index].put(work)
        for index, work in self._pipeline.finish():
            self._waiting[index].put(work)
        for waiting in self._waiting:
            waiting.close()

    async def _answer(self, index: int) -> None:
        """Take the windows of one model in order, have them scored, tell what follows."""
        listener, worker = self._models[index]
        while (work := await self._waiting[index].get()) is not None:
            answer = work if isinstance(work, Cut) else await worker.score(work)
            if isinstance(answer, Scores):
                self._show(listener, answer)
            self._tell(self._pipeline.resolve(index, answer))

    def _publish_down(self, first: AudioBlock) -> None:
        """Publish the gap since the previous run, with the first sound that is heard again."""
        if self._heard_until is None:
            return
        heard_again = self._clock.utc(first.first_sample)
        gap = down_gap(self._node, self.name, self._heard_until, heard_again)
        self._heard_until = None
        if gap is not None:
            self._gaps += 1
            for publisher in self._publishers:
                publisher.gap(gap)

    def _tell_gap(self, gap: Gap) -> None:
        self._gaps += 1
        self._last_gaps.append(gap)
        message = self._messages.gap(gap, self._clock.utc)
        for publisher in self._publishers:
            publisher.gap(message)

    def _tell(self, events: Sequence[Event]) -> None:
        """Publish what may be told of events; nothing that begins while it may not."""
        for event in events:
            held = self._why_held(event)
            self._held += held is not None and event.type == "start"
            self._outcomes.add(event, held, self._ring.end_sample)
            told = self._gate.admit(event, held, self._ring.end_sample)
            if told:
                self._publish([told])

    def _why_held(self, event: Event) -> Held | None:
        if self._muted:
            return "muted"
        onset = self._clock.utc(event.onset_sample)
        return None if self._schedule.allows(self.name, event.label, onset) else "quiet_hours"

    def _publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self._events += 1
            message = self._messages.event(event, self._clock.utc)
            for publisher in self._publishers:
                publisher.event(message)

    def _show(self, listener: Listener, scores: Scores) -> None:
        """Publish the highest scores of a window, for tuning."""
        values = scores.clip if scores.clip is not None else scores.frames
        if values is None:
            return
        best = values if values.ndim == 1 else values.max(axis=0)
        top = np.argsort(best)[::-1][:TOP_SCORES]
        labels = listener.spec.labels
        shown = {labels[i].slug: round(float(best[i]), 4) for i in top}
        for publisher in self._publishers:
            publisher.scores(self.name, shown)

    def _watch_signal(self, block: AudioBlock) -> None:
        health = self._signal.push(block)
        if self._status in ("listening", "silent", "clipping"):
            self._set_status(health)

    def _set_status(self, status: SourceStatus) -> None:
        if status != self._status:
            self._status = status
            log.info("source", source=self.name, status=status)
            for publisher in self._publishers:
                publisher.source_status(self.name, status)
