"""`detector evaluate`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.evaluation.dataset import read_dataset
from detector.evaluation.detections import TrueEvent
from detector.evaluation.optional import require
from detector.evaluation.plot import draw
from detector.evaluation.recording_result import RecordingResult, run_recording
from detector.evaluation.report import as_json, as_table
from detector.evaluation.score_track import ScoreTrack
from detector.evaluation.scoring import TimedScores, score
from detector.loading import load_models
from detector.operate.logs import configure
from detector.settings.load import load_config


def evaluate(
    folder: Path,
    reference_file: Path,
    config_file: Path | None,
    *,
    in_json: bool,
    plot: Path | None,
    plot_file: str | None,
) -> None:
    """Print how well what is detected in recordings agrees with the reference.

    Raises:
        ConfigError: something is wrong with the reference, or the recordings do not fit it.
        MissingExtraError: the extra `evaluate` is not installed.
    """
    require("sed_scores_eval")
    if plot:
        require("matplotlib")
    elif plot_file:
        raise ConfigError("--plot-file: says which recording to draw; --plot says where")
    config = load_config(config_file)
    configure(config.log)
    models = list(load_models(config, config_file).values())
    configured_models = [model.configured for model in models]
    dataset = read_dataset(folder, reference_file, models, config.patterns)
    drawn = plot_file or next(iter(dataset.recordings))
    if drawn not in dataset.recordings:
        raise ConfigError(f"--plot-file: {folder} has no recording {drawn!r}")
    results: dict[str, RecordingResult] = {}
    scores: dict[str, TimedScores] = {}
    reference: dict[str, list[TrueEvent]] = {}
    for name, path in dataset.with_progress():
        # No other scores have a part in the figures; a picture shows the highest of all labels.
        shown = plot is not None and name == drawn
        track = ScoreTrack(configured_models, dataset.labels if shown else dataset.true_labels)
        results[name] = run_recording(models, path, config.patterns, track.on_step)
        scores[name] = track.timed_scores(results[name].duration_samples)
        reference[name] = dataset.true_events(name, results[name].duration_s)
    result = score(
        reference,
        {name: one.detections for name, one in results.items()},
        {name: one.duration_s for name, one in results.items()},
        scores,
        dataset.labels,
    )
    if in_json:
        sys.stdout.write(as_json(result) + "\n")
    else:
        Console(highlight=False).print(as_table(result))
    if plot:
        draw(
            plot,
            dataset.recordings[drawn],
            reference[drawn],
            results[drawn].detections,
            scores[drawn],
            _onset_thresholds(configured_models),
        )


def _onset_thresholds(configured_models: Iterable[ConfiguredModel]) -> dict[str, float]:
    return {
        rule.slug: rule.onset_threshold
        for configured in configured_models
        if not configured.spec.ctc
        for rule in configured.label_rules
    }
