"""Whether a configuration fits its models: asked at the start, by `check` and by commands."""

from collections.abc import Collection, Mapping

from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError
from detector.events.patterns.plan import check_patterns
from detector.events.segments.label_rules import hint
from detector.lane import check
from detector.pipeline import check_source, pattern_input
from detector.settings.config import Config


def check_settings(
    config: Config, configured_models: Mapping[str, ConfiguredModel], origin: str | None = None
) -> None:
    """Refuse settings that do not fit the models, and models that do not fit each other.

    Args:
        config: all that is asked for.
        configured_models: all its models, with their settings, by their names.
        origin: what the configuration was read from, for the errors.

    Raises:
        ConfigError: thresholds contradict, a model is to be confirmed by another that cannot, a
            pattern names a label that no model has or has the name of one that is published, or
            hours or Home Assistant name a label that none of the models hears.
    """
    try:
        _check_settings(config, configured_models)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}" if origin else str(error)) from None


def _check_settings(config: Config, configured_models: Mapping[str, ConfiguredModel]) -> None:
    for name, configured in configured_models.items():
        try:
            check(configured)
        except ConfigError as error:
            raise ConfigError(f"models.{name}: {error}") from None
    check_source(list(configured_models.values()))
    check_patterns(
        config.patterns, [pattern_input(configured) for configured in configured_models.values()]
    )
    # Many sources have the same models.
    for names in dict.fromkeys(
        source.models or tuple(configured_models) for source in config.sources
    ):
        check_source([configured_models[name] for name in names], config.patterns)
    _check_labels(config, configured_models.values())


def _check_labels(config: Config, configured_models: Collection[ConfiguredModel]) -> None:
    named = [
        (f"schedule.{index}.only", hours.only or ()) for index, hours in enumerate(config.schedule)
    ]
    named.append(("homeassistant.labels", config.homeassistant.labels or ()))
    known = sorted({slug for x in configured_models for slug in x.labels} | {*config.patterns})
    for field, labels in named:
        for label in labels:
            if label not in config.patterns and not any(
                publishes(configured, label) for configured in configured_models
            ):
                raise ConfigError(f"{field}: no model hears {label!r}{hint(label, known)}")


def publishes(configured: ConfiguredModel, label: str) -> bool:
    """Whether the label can become an event; of a model that spells words, any word can."""
    return label in configured.labels or (configured.spec.ctc is not None and not configured.labels)
