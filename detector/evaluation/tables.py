"""Thresholds as tables of the configuration."""

from collections.abc import Mapping, Sequence

from detector.evaluation.thresholds import Threshold
from detector.settings.config import Config
from detector.settings.models import LabelSettings


def as_toml(
    chosen: Mapping[str, Sequence[Threshold]],
    config: Config,
    hours: float,
    false_alarms_per_hour: float,
    *,
    alone: bool,
) -> str:
    """The thresholds of each model as `[models.NAME.labels.SLUG]`, with what they reach.

    A label's other settings are repeated, so that a table can take the place of the one there is.

    Args:
        chosen: by the model's name.
        config: that they were chosen for.
        hours: of the recordings that they were chosen on.
        false_alarms_per_hour: what was wanted.
        alone: whether to write the models themselves as well, since there is no file that has them.
    """
    wanted = f"{false_alarms_per_hour:g} false alarms an hour of each label"
    lines = [
        f"# Written by `detector tune`: at most {wanted}, on {hours:.2f} h.",
        "# The thresholds fit these recordings: say how good they are by others, with",
        "# `detector evaluate OTHER_DIR OTHER.csv --config FILE`, FILE having the tables below.",
    ]
    for model, thresholds in chosen.items():
        settings = config.models[model]
        if alone:
            lines += ["", f"[models.{model}]", f'bundle = "{settings.bundle}"']
        for threshold in thresholds:
            lines += ["", f"[models.{model}.labels.{threshold.slug}]"]
            own = settings.labels.get(threshold.slug, LabelSettings())
            changed = own.model_copy(
                update={"onset_threshold": threshold.onset, "offset_threshold": threshold.offset}
            )
            lines += [
                f"{key} = {_value(value)}"
                for key, value in changed.model_dump(exclude_none=True).items()
            ]
            lines.append(f"# {_reached(threshold, hours)}")
    return "\n".join(lines) + "\n"


def _value(value: float) -> str:
    return str(value).lower()  # true and false, and numbers


def _reached(threshold: Threshold, hours: float) -> str:
    rate = f"{threshold.false_alarms / hours:.2f} false alarms an hour"
    if not threshold.reached:
        rate += ", still: no threshold makes fewer, consider enabled = false"
    if not threshold.reference_events:
        return f"no events here; {rate}"
    return f"{threshold.heard_events} of {threshold.reference_events} events heard; {rate}"
