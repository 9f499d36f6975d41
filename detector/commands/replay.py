"""`detector replay`."""

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from detector.capture.clock import FixedClock
from detector.capture.recording import open_audio, open_pcm
from detector.errors import DetectorError
from detector.events.segments.suppression import SuppressionGate
from detector.explanations import Suppression
from detector.loading import LoadedModel, load_models
from detector.operate.logs import configure
from detector.operate.schedule import Schedule
from detector.pipeline import Pipeline, replay
from detector.publish.console import ConsolePublisher
from detector.publish.event_lines import LinesPublisher
from detector.publish.messages import MessageFactory
from detector.publish.publisher import Publisher
from detector.records import AudioBlock, Event, Gap, Scores, Window, to_seconds
from detector.settings.load import load_config
from detector.settings.patterns import PatternSettings
from detector.slugs import slugify

NODE = "replay"
_LONGEST = 56
"""Characters of a source's name, so that a number fits behind it."""


def replay_files(
    files: list[str],
    config_file: Path | None,
    *,
    real_time: bool,
    as_json: bool,
    start: datetime | None,
    rate: int,
    channels: int,
) -> None:
    config = load_config(config_file)
    configure(config.log)
    models = list(load_models(config, config_file).values())
    publisher: Publisher = ConsolePublisher() if as_json else LinesPublisher()
    schedule = Schedule(config.schedule if start else (), config.time_zone)
    clock = FixedClock((start or datetime.fromtimestamp(0, UTC)).replace(tzinfo=UTC))
    failures: list[DetectorError] = []
    for file, source in zip(files, _source_names(files), strict=True):
        try:
            opened = open_pcm(sys.stdin.buffer, rate, channels) if file == "-" else open_audio(file)
            with opened as items:
                paced = _paced(items) if real_time else items
                output = _Output(source, schedule, clock, publisher)
                _replay(models, config.patterns, paced, output)
        except DetectorError as error:
            # The other recordings are not to blame.
            sys.stderr.write(f"detector: {error}\n")
            failures.append(error)
    if failures:
        sys.exit(failures[0].exit_code)


class _Output:
    """Publishes what may be told of one recording."""

    def __init__(
        self, source: str, schedule: Schedule, clock: FixedClock, publisher: Publisher
    ) -> None:
        self._source, self._schedule, self._clock = source, schedule, clock
        self._publisher = publisher
        self._messages = MessageFactory(NODE, source)
        self._gate = SuppressionGate()

    def event(self, event: Event) -> None:
        allowed = self._schedule.allows(
            self._source, event.label, self._clock.utc(event.onset_sample)
        )
        suppressed_by: Suppression | None = None if allowed else "quiet_hours"
        if admitted := self._gate.admit(event, suppressed_by, event.onset_sample):
            self._publisher.event(self._messages.event(admitted, self._clock.utc))

    def gap(self, gap: Gap) -> None:
        self._publisher.gap(self._messages.gap(gap, self._clock.utc))


def _replay(
    models: list[LoadedModel],
    patterns: Mapping[str, PatternSettings],
    items: Iterator[AudioBlock | Gap],
    output: _Output,
) -> None:
    """Replay one recording. If it fails midway, what had begun ends there, cut off.

    Raises:
        DetectorError: the recording cannot be read, or a model cannot score it.
    """
    sessions = {model.configured.name: model.session for model in models}
    pipeline = Pipeline([model.configured for model in models], patterns=patterns)

    def score(name: str, window: Window) -> Scores:
        return sessions[name].score([window])[0]

    failures: list[DetectorError] = []

    def readable() -> Iterator[AudioBlock | Gap]:
        try:
            for item in items:
                yield item
                if isinstance(item, Gap):
                    output.gap(item)
        except DetectorError as error:
            failures.append(error)

    try:
        for event in replay(pipeline, readable(), score):
            output.event(event)
    except DetectorError:  # of a model
        for event in pipeline.stop():
            output.event(event)
        raise
    if failures:
        raise failures[0]


def _paced(items: Iterator[AudioBlock | Gap]) -> Iterator[AudioBlock | Gap]:
    """Give out each item when it would have ended."""
    began = time.monotonic()
    for item in items:
        time.sleep(max(0.0, began + to_seconds(item.end_sample) - time.monotonic()))
        yield item


def _source_names(files: list[str]) -> list[str]:
    """A slug for each file, from its name; equal names are numbered."""
    names: list[str] = []
    for file in files:
        slug = slugify("stdin" if file == "-" else Path(file).stem)[:_LONGEST] or "recording"
        same = sum(name == slug or name.startswith(f"{slug}__") for name in names)
        names.append(f"{slug}__{same + 1}" if same else slug)
    return names
