"""`detector evaluate`."""

import sys
from pathlib import Path

from rich.console import Console

from detector.configured_model import Listener
from detector.errors import ConfigError
from detector.evaluation.hearing import timed_scores
from detector.evaluation.material import Material, gather
from detector.evaluation.optional import require
from detector.evaluation.plot import draw
from detector.evaluation.report import as_json, as_table
from detector.evaluation.scoring import score
from detector.events.segments.label_rules import label_rules
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
    """Print how well what the models tell of recordings agrees with the reference.

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
    listeners = [model.listener for model in models]
    material = gather(folder, reference_file, models, config.patterns)
    drawn = plot_file or next(iter(material.recordings))
    if drawn not in material.recordings:
        raise ConfigError(f"--plot-file: {folder} has no recording {drawn!r}")
    result = score(
        material.reference,
        {name: heard.detections for name, heard in material.heard.items()},
        {name: heard.duration_s for name, heard in material.heard.items()},
        {
            name: timed_scores(heard, listeners, material.labels)
            for name, heard in material.heard.items()
        },
        material.labels,
    )
    if in_json:
        sys.stdout.write(as_json(result) + "\n")
    else:
        Console(highlight=False).print(as_table(result))
    if plot:
        _draw(plot, drawn, material, listeners)


def _draw(plot: Path, name: str, material: Material, listeners: list[Listener]) -> None:
    heard = material.heard[name]
    draw(
        plot,
        material.recordings[name],
        material.reference[name],
        heard.detections,
        timed_scores(heard, listeners, material.labels),
        {
            rule.slug: rule.onset_threshold
            for listener in listeners
            if not listener.spec.ctc
            for rule in label_rules(listener.spec, listener.settings)
        },
    )
