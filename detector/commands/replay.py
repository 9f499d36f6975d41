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
from detector.loading import Model, load_models
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
        narrator = MessageFactory(NODE, source)
        try:
            opened = open_pcm(sys.stdin.buffer, rate, channels) if file == "-" else open_audio(file)
            with opened as blocks:
                paced = _paced(blocks) if real_time else blocks
                gate = SuppressionGate()
                for event in _events(models, config.patterns, paced):
                    onset = clock.utc(event.onset_sample)
                    allowed = schedule.allows(source, event.label, onset)
                    admitted = gate.admit(
                        event, None if allowed else "quiet_hours", event.onset_sample
                    )
                    if admitted:
                        publisher.event(narrator.event(admitted, clock.utc))
        except DetectorError as error:
            # The other recordings are not to blame.
            sys.stderr.write(f"detector: {error}\n")
            failures.append(error)
    if failures:
        sys.exit(failures[0].exit_code)


def _events(
    models: list[Model], patterns: Mapping[str, PatternSettings], blocks: Iterator[AudioBlock | Gap]
) -> Iterator[Event]:
    sessions = {model.listener.name: model.session for model in models}

    def score(name: str, window: Window) -> Scores:
        return sessions[name].score([window])[0]

    pipeline = Pipeline([model.listener for model in models], patterns=patterns)
    return replay(pipeline, blocks, score)


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
