"""Loads the models that a configuration names, before anything else is started."""

from dataclasses import dataclass
from pathlib import Path

from detector.compatibility import check_settings
from detector.configured_model import ConfiguredModel
from detector.errors import DetectorError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.lane import check
from detector.settings.config import Config
from detector.settings.models import ModelSettings


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A loaded model and how it is to listen."""

    configured: ConfiguredModel
    session: Session


def load_models(config: Config, path: Path | None) -> dict[str, LoadedModel]:
    """Load every model that the configuration names.

    Args:
        config: what to load.
        path: where it was read from, for the errors.

    Raises:
        BundleError, ProviderError, ConfigError: whatever keeps a model from running.
    """
    models = {name: load_model(name, settings, path) for name, settings in config.models.items()}
    configured_models = {name: model.configured for name, model in models.items()}
    check_settings(config, configured_models, str(path or "defaults"))
    return models


def load_model(name: str, settings: ModelSettings, path: Path | None) -> LoadedModel:
    """Load one model; as `load_models`."""
    try:
        bundle = load_bundle(settings.bundle)
        configured = ConfiguredModel(name, bundle.spec, settings)
        check(configured)  # before anything is started
        return LoadedModel(configured, Session(bundle, settings.provider, settings.threads))
    except DetectorError as error:
        raise type(error)(f"{path or 'defaults'}: models.{name}: {error}") from None
