"""A data set: recordings, and what is true of them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from detector.errors import ConfigError
from detector.evaluation.detections import TrueEvent
from detector.evaluation.reference import TrueEvents, find_recordings, read_reference, within
from detector.loading import LoadedModel
from detector.pipeline import Pipeline
from detector.settings.patterns import PatternSettings


@dataclass(frozen=True, slots=True)
class Dataset:
    reference_file: Path
    recordings: Mapping[str, Path]
    """By name, as in the reference."""
    labels: frozenset[str]
    """Those that count: all that can be events with these models and patterns."""
    reference: TrueEvents
    """The true events of each recording that the table names."""

    @property
    def true_labels(self) -> set[str]:
        """The labels that count and have true events."""
        return {x[2] for events in self.reference.values() for x in events if x[2] in self.labels}

    def true_events(self, name: str, duration_s: float) -> list[TrueEvent]:
        """Those of one recording, which is so long, of the labels that count.

        Raises:
            ConfigError: one is not within the recording.
        """
        where = f"{self.reference_file}: {name}"
        events = within(self.reference.get(name, []), duration_s, where)
        return [event for event in events if event[2] in self.labels]

    def with_progress(self) -> Iterator[tuple[str, Path]]:
        """Name and path of each recording; on a terminal a bar shows how many are done."""
        console = Console(stderr=True)
        yield from track(
            self.recordings.items(),
            "Listening",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )


def read_dataset(
    folder: Path,
    reference_file: Path,
    models: Sequence[LoadedModel],
    patterns: Mapping[str, PatternSettings],
) -> Dataset:
    """Read the reference and find the recordings; say on stderr which labels are ignored.

    Raises:
        ConfigError: something is wrong with the reference, a recording that it names is not there,
            or no model has any label in it.
    """
    reference = read_reference(reference_file)
    recordings = find_recordings(folder, reference)
    named = {label for events in reference.values() for *_, label in events}
    labels = _labels(models, patterns, named)
    ignored = sorted(named - labels)
    if named and not named & labels:
        raise ConfigError(
            f"{reference_file}: no model is set to tell of {', '.join(ignored)}; "
            f"it is set to {', '.join(sorted(labels)) or 'none'}"
        )
    if ignored:
        sys.stderr.write(
            f"detector: {reference_file}: no model is set to tell of {', '.join(ignored)}: "
            "those events are ignored\n"
        )
    return Dataset(reference_file, recordings, frozenset(labels), reference)


def _labels(
    models: Sequence[LoadedModel], patterns: Mapping[str, PatternSettings], named: set[str]
) -> set[str]:
    """A model that spells any word can report all that the reference names."""
    configured_models = [model.configured for model in models]
    any_word = any(
        configured.spec.ctc is not None and configured.settings.only is None
        for configured in configured_models
    )
    reported = set(Pipeline(configured_models, patterns=patterns).labels)
    return reported | named if any_word else reported
