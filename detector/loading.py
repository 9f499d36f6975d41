"""Loads the models that a configuration names, before anything else is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detector.config import Config, ModelSettings
from detector.errors import ConfigError, DetectorError
from detector.events.patterns import check_patterns
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.pipeline import Listener, Pipeline, check, ear


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and how it is to listen."""

    listener: Listener
    session: Session


def load_models(config: Config, path: Path | None) -> dict[str, Model]:
    """Load every model that the configuration names.

    Args:
        config: what to load.
        path: where it was read from, for the errors.

    Raises:
        BundleError, ProviderError, ConfigError: whatever keeps a model from running.
    """
    models = {name: load_model(name, settings, path) for name, settings in config.models.items()}
    check_together(config, models, path)
    return models


def check_together(config: Config, models: Mapping[str, Model], path: Path | None) -> None:
    """Refuse models that do not fit each other, and patterns that do not fit them.

    Args:
        config: what was loaded.
        models: all its models, by their names.
        path: where it was read from, for the errors.

    Raises:
        ConfigError: a model is to be confirmed by another that cannot, or a pattern names a label
            that no model has, or has the name of one that is published.
    """
    listeners = {name: model.listener for name, model in models.items()}
    try:
        Pipeline(list(listeners.values()))
        check_patterns(config.patterns, [ear(listener) for listener in listeners.values()])
        for source in config.sources:
            heard_by = [listeners[name] for name in source.models or listeners]
            Pipeline(heard_by, patterns=config.patterns)
    except ConfigError as error:
        raise ConfigError(f"{path or 'defaults'}: {error}") from None


def load_model(name: str, settings: ModelSettings, path: Path | None) -> Model:
    """Load one model; as `load_models`."""
    try:
        bundle = load_bundle(settings.bundle)
        listener = Listener(name, bundle.spec, settings)
        check(listener)  # before anything is started
        return Model(listener, Session(bundle, settings.provider, settings.threads))
    except DetectorError as error:
        raise type(error)(f"{path or 'defaults'}: models.{name}: {error}") from None
