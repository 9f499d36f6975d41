"""One recording through the detector: the events that it reports, and the steps behind them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from detector.capture.recording import open_audio
from detector.errors import AudioFileError
from detector.evaluation.detections import Detection
from detector.events.scores.steps import Step
from detector.loading import LoadedModel
from detector.pipeline import Pipeline, replay
from detector.records import SAMPLE_RATE, AudioBlock, Event, Gap, Scores, SegmentKey, Window
from detector.settings.patterns import PatternSettings


@dataclass(frozen=True, slots=True)
class RecordingResult:
    """What the detector reports of one recording."""

    duration_samples: int
    detections: tuple[Detection, ...]
    """Every segment of every model and every pattern."""

    @property
    def duration_s(self) -> float:
        return self.duration_samples / SAMPLE_RATE


def run_recording(
    models: Sequence[LoadedModel],
    path: Path,
    patterns: Mapping[str, PatternSettings] | None = None,
    on_step: Mapping[str, Callable[[Step], object]] = MappingProxyType({}),
) -> RecordingResult:
    """Replay one recording, with the models and patterns that one configuration has.

    Neither its sound nor its scores are kept.

    Args:
        models: those that listen.
        path: of the recording.
        patterns: rules over the labels of the models.
        on_step: by the name of a model, what is called with each step that its segmenter sees; not
            with those of a model that spells words.

    Raises:
        AudioFileError: it cannot be read, or is empty.
    """
    seen_until = duration = 0

    sessions = {model.configured.name: model.session for model in models}

    def items() -> Iterator[AudioBlock | Gap]:
        nonlocal duration
        with open_audio(path) as opened:
            for item in opened:
                duration = item.end_sample
                yield item

    def score(name: str, window: Window) -> Scores:
        nonlocal seen_until
        seen_until = max(seen_until, window.end_sample)
        return sessions[name].score([window])[0]

    def watch(name: str, step: Step) -> None:
        if observe := on_step.get(name):
            observe(step)

    pipeline = Pipeline([model.configured for model in models], watch=watch, patterns=patterns)
    events = ((event, seen_until) for event in replay(pipeline, items(), score))
    detections = list(_detections(events))
    if not duration:
        raise AudioFileError(f"{path}: holds no sound")
    duration_s = duration / SAMPLE_RATE
    return RecordingResult(
        duration, tuple(d._replace(offset_s=min(d.offset_s, duration_s)) for d in detections)
    )


def _detections(events: Iterable[tuple[Event, int]]) -> Iterator[Detection]:
    """Each segment once, from its events with the sample until which was seen when they came."""
    started: dict[SegmentKey, int] = {}
    for event, seen_until in events:
        segment = event.segment
        if event.type == "start":
            started[segment] = seen_until
        elif event.type == "end" and event.offset_sample is not None:
            yield Detection(
                event.onset_sample / SAMPLE_RATE,
                event.offset_sample / SAMPLE_RATE,
                event.label,
                started.pop(segment) / SAMPLE_RATE,
            )
