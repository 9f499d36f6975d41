"""`detector tune`."""

import sys
from pathlib import Path

from detector.errors import ConfigError
from detector.evaluation.material import gather
from detector.evaluation.tables import as_toml
from detector.evaluation.thresholds import tune
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
    spelling = [name for name, model in models.items() if model.listener.spec.ctc]
    if len(spelling) == len(models):
        raise ConfigError(f"models.{spelling[0]}: spells words, which have no thresholds to tune")
    for name in spelling:
        sys.stderr.write(f"detector: models.{name} spells words: it has no thresholds to tune\n")
    material = gather(folder, reference_file, list(models.values()), config.patterns)
    if material.hours * false_alarms_per_hour < 1:
        sys.stderr.write(
            f"detector: {material.hours:.2f} h of recordings cannot show a rate of "
            f"{false_alarms_per_hour:g} false alarms an hour: the thresholds make none here\n"
        )
    chosen = {
        name: tune(model.listener, place, material.heard, material.reference, false_alarms_per_hour)
        for place, (name, model) in enumerate(models.items())
        if name not in spelling
    }
    text = as_toml(chosen, config, material.hours, false_alarms_per_hour, alone=config_file is None)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from None
