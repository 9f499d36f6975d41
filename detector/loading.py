"""Loads the models that a configuration names, before anything else is started."""

from dataclasses import dataclass
from pathlib import Path

from detector.compatibility import check_settings
from detector.configured_model import Listener
from detector.errors import DetectorError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.lane import check
from detector.settings.config import Config
from detector.settings.models import ModelSettings


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
    listeners = {name: model.listener for name, model in models.items()}
    check_settings(config, listeners, str(path or "defaults"))
    return models


def load_model(name: str, settings: ModelSettings, path: Path | None) -> Model:
    """Load one model; as `load_models`."""
    try:
        bundle = load_bundle(settings.bundle)
        listener = Listener(name, bundle.spec, settings)
        check(listener)  # before anything is started
        return Model(listener, Session(bundle, settings.provider, settings.threads))
    except DetectorError as error:
        raise type(error)(f"{path or 'defaults'}: models.{name}: {error}") from None
