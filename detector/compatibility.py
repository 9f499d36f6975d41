"""Whether a configuration fits its models: asked at the start, by `check` and by commands."""

from collections.abc import Collection, Mapping

from detector.configured_model import Listener
from detector.errors import ConfigError
from detector.events.patterns.plan import check_patterns
from detector.events.segments.label_rules import hint
from detector.lane import check
from detector.pipeline import check_source, pattern_input
from detector.settings.config import Config


def check_settings(
    config: Config, listeners: Mapping[str, Listener], origin: str | None = None
) -> None:
    """Refuse settings that do not fit the models, and models that do not fit each other.

    Args:
        config: all that is asked for.
        listeners: all its models, with their settings, by their names.
        origin: what the configuration was read from, for the errors.

    Raises:
        ConfigError: thresholds contradict, a model is to be confirmed by another that cannot, a
            pattern names a label that no model has or has the name of one that is published, or
            hours or Home Assistant name a label that none of the models hears.
    """
    try:
        _check_settings(config, listeners)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}" if origin else str(error)) from None


def _check_settings(config: Config, listeners: Mapping[str, Listener]) -> None:
    for name, listener in listeners.items():
        try:
            check(listener)
        except ConfigError as error:
            raise ConfigError(f"models.{name}: {error}") from None
    check_source(list(listeners.values()))
    check_patterns(config.patterns, [pattern_input(listener) for listener in listeners.values()])
    # Many sources have the same models.
    for names in dict.fromkeys(source.models or tuple(listeners) for source in config.sources):
        check_source([listeners[name] for name in names], config.patterns)
    _check_labels(config, listeners.values())


def _check_labels(config: Config, listeners: Collection[Listener]) -> None:
    named = [
        (f"schedule.{index}.only", hours.only or ()) for index, hours in enumerate(config.schedule)
    ]
    named.append(("homeassistant.labels", config.homeassistant.labels or ()))
    known = sorted({slug for x in listeners for slug in x.labels} | {*config.patterns})
    for field, labels in named:
        for label in labels:
            if label not in config.patterns and not any(
                publishes(listener, label) for listener in listeners
            ):
                raise ConfigError(f"{field}: no model hears {label!r}{hint(label, known)}")


def publishes(listener: Listener, label: str) -> bool:
    """Whether the label can become an event; of a model that spells words, any word can."""
    return label in listener.labels or (listener.spec.ctc is not None and not listener.labels)
