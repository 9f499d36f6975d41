"""`detector tune`."""

import sys
from pathlib import Path

from detector.errors import ConfigError
from detector.evaluation.dataset import read_dataset
from detector.evaluation.detections import TrueEvent
from detector.evaluation.recording_result import run_recording
from detector.evaluation.tables import as_toml
from detector.evaluation.thresholds import TuningRecording, recorder, tune
from detector.loading import load_models
from detector.operate.logs import configure
from detector.settings.load import load_config


def tune_thresholds(
    folder: Path,
    reference_file: Path,
    config_file: Path | None,
    *,
    false_alarms_per_hour: float,
    out: Path | None,
) -> None:
    """Write thresholds for a rate of false alarms as tables of the configuration.

    Raises:
        ConfigError: something is wrong with the reference, the recordings do not fit it, or no
            model has thresholds.
    """
    config = load_config(config_file)
    configure(config.log)
    models = load_models(config, config_file)
    spelling = [name for name, model in models.items() if model.configured.spec.ctc]
    if len(spelling) == len(models):
        raise ConfigError(f"models.{spelling[0]}: spells words, which have no thresholds to tune")
    for name in spelling:
        sys.stderr.write(f"detector: models.{name} spells words: it has no thresholds to tune\n")
    dataset = read_dataset(folder, reference_file, list(models.values()), config.patterns)
    tuned = {name: model.configured for name, model in models.items() if name not in spelling}
    recordings: dict[str, dict[str, TuningRecording]] = {name: {} for name in tuned}
    reference: dict[str, list[TrueEvent]] = {}
    hours = 0.0
    for name, path in dataset.with_progress():
        recorders = {model: recorder(configured) for model, configured in tuned.items()}
        result = run_recording(
            list(models.values()),
            path,
            config.patterns,
            {model: steps.add for model, steps in recorders.items()},
        )
        for model, steps in recorders.items():
            recordings[model][name] = TuningRecording(result.duration_samples, steps)
        reference[name] = dataset.true_events(name, result.duration_s)
        hours += result.duration_s / 3600
    if hours * false_alarms_per_hour < 1:
        sys.stderr.write(
            f"detector: {hours:.2f} h of recordings cannot show a rate of "
            f"{false_alarms_per_hour:g} false alarms an hour: the thresholds make none here\n"
        )
    chosen = {
        model: tune(configured, recordings[model], reference, false_alarms_per_hour)
        for model, configured in tuned.items()
    }
    text = as_toml(chosen, config, hours, false_alarms_per_hour, alone=config_file is None)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from None
