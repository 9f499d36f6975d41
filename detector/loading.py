"""Loads the models that a configuration names, before anything else is started."""

from dataclasses import dataclass
from pathlib import Path

import structlog

from detector.compatibility import check_settings
from detector.configured_model import ConfiguredModel
from detector.errors import ConfigError, DetectorError, ServerAwayError
from detector.inference.bundle import Bundle, load_bundle
from detector.inference.scorer import Scorer
from detector.inference.session import Session
from detector.lane import check
from detector.settings.config import Config
from detector.settings.models import ModelSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A loaded model and how it is to listen."""

    configured: ConfiguredModel
    session: Scorer


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
        bundle = load_bundle(settings.bundle, with_model=settings.remote is None)
        configured = ConfiguredModel(name, bundle.spec, settings)
        check(configured)  # before anything is started
        return LoadedModel(configured, _scorer(bundle, settings))
    except DetectorError as error:
        raise type(error)(f"{path or 'defaults'}: models.{name}: {error}") from None


def _scorer(bundle: Bundle, settings: ModelSettings) -> Scorer:
    """What computes the model: this machine, or a server, which may be away for now."""
    if settings.remote is None:
        return Session(bundle, settings.provider, settings.threads)
    try:
        from detector.inference.remote import RemoteModel  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"remote = {settings.remote!r} needs the Python package {error.name!r}: "
            "pip install 'audio-event-detector[remote]'"
        ) from None
    remote = RemoteModel(bundle.spec, settings.remote, settings)
    try:
        remote.connect()
    except ServerAwayError as error:
        log.warning("a server is away; its model will be heard when it comes", error=str(error))
    return remote
