"""What an evaluation rests on: recordings, what is true of them, and what the models heard."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from detector.errors import ConfigError
from detector.evaluation.hearing import Heard, hear
from detector.evaluation.reference import TrueEvents, find_recordings, read_reference, within
from detector.loading import Model
from detector.pipeline import Pipeline
from detector.settings.patterns import PatternSettings


@dataclass(frozen=True, slots=True)
class Material:
    recordings: dict[str, Path]
    """By name, as below."""
    reference: TrueEvents
    """The true events of every recording, of the labels that count."""
    heard: dict[str, Heard]
    labels: tuple[str, ...]
    """Those that count: all that the models and patterns are set to tell of."""

    @property
    def hours(self) -> float:
        return sum(heard.duration_s for heard in self.heard.values()) / 3600


def gather(
    folder: Path,
    reference_file: Path,
    models: Sequence[Model],
    patterns: Mapping[str, PatternSettings],
) -> Material:
    """Read the reference and let the models hear every recording; say on stderr what is ignored.

    Raises:
        ConfigError: something is wrong with the reference, the recordings do not fit it, or no
            model is set to tell of any label in it.
        AudioFileError: a recording cannot be read.
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
    counted: TrueEvents = {}
    heard: dict[str, Heard] = {}
    console = Console(stderr=True)
    for name in track(
        recordings, "Listening", console=console, transient=True, disable=not console.is_terminal
    ):
        heard[name] = hear(models, recordings[name], patterns)
        true = within(reference.get(name, []), heard[name].duration_s, f"{reference_file}: {name}")
        counted[name] = [event for event in true if event[2] in labels]
    return Material(recordings, counted, heard, tuple(sorted(labels)))


def _labels(
    models: Sequence[Model], patterns: Mapping[str, PatternSettings], named: set[str]
) -> set[str]:
    """A model that spells any word is set to tell of all that the reference names."""
    listeners = [model.listener for model in models]
    any_word = any(
        listener.spec.ctc is not None and listener.settings.only is None for listener in listeners
    )
    told = set(Pipeline(listeners, patterns=patterns).labels)
    return told | named if any_word else told
