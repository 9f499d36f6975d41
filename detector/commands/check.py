"""`detector check`: what stands between this configuration and a running service."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from detector.capture.devices import Device, match, query_devices
from detector.capture.recording import open_audio
from detector.compatibility import check_settings
from detector.errors import ConfigError, DetectorError
from detector.loading import load_model
from detector.operate.logs import configure
from detector.publish.mqtt.publisher import probe
from detector.publish.outbox.store import look
from detector.settings.config import Config
from detector.settings.load import load_config
from detector.settings.sources import SourceSettings

FAILED = 4

Line = tuple[str, str | DetectorError]
"""What was checked, and how it is: a few words, or what is wrong."""


def check_all(path: Path | None) -> None:
    """Print a line for each thing; exit with 4 if one of them is wrong."""
    console = Console(highlight=False, soft_wrap=True)
    failed = False
    for subject, result in _lines(path):
        wrong = isinstance(result, DetectorError)
        failed = failed or wrong
        mark = ("wrong", "red") if wrong else ("ok   ", "green")
        console.print(Text.assemble(mark, f"  {subject}: {result}"))
    sys.exit(FAILED if failed else 0)


def _lines(path: Path | None) -> Iterator[Line]:
    try:
        config = load_config(path)
    except ConfigError as error:
        yield "config", error
        return
    configure(config.log)
    yield "config", str(path or "defaults")
    yield from _models(config, path)
    yield from _sources(config)
    if config.mqtt.enabled:
        try:
            yield "state_dir", look(config.state_folder)
        except DetectorError as error:
            yield "state_dir", error
        host, port = config.mqtt.address
        try:
            asyncio.run(probe(config.mqtt, config.node))
        except DetectorError as error:
            yield "mqtt", error
        else:
            yield "mqtt", f"{host}:{port} answers and lets us in"


def _models(config: Config, path: Path | None) -> Iterator[Line]:
    models = {}
    for name, settings in config.models.items():
        subject = f"models.{name}"
        try:
            model = load_model(name, settings, path)
        except DetectorError as error:
            yield subject, error
        else:
            models[name] = model
            spec = model.configured.spec
            count = len(model.configured.labels)
            what = (
                f"{count} of {len(spec.labels)} labels"
                if not spec.ctc
                else f"{count or 'all'} words"
            )
            yield subject, f"{spec.id} on {model.session.provider}, {what} become events"
    if len(models) < len(config.models):
        return
    try:
        configured_models = {name: model.configured for name, model in models.items()}
        check_settings(config, configured_models, str(path or "defaults"))
    except DetectorError as error:
        yield "models", error
    else:
        yield from (
            (f"patterns.{slug}", pattern.kind.replace("_", " "))
            for slug, pattern in config.patterns.items()
        )


def _sources(config: Config) -> Iterator[Line]:
    devices: list[Device] | DetectorError = []
    if any(source.device for source in config.sources):
        try:
            devices = query_devices()
        except DetectorError as error:
            devices = error
    for index, source in enumerate(config.sources):
        try:
            yield f"sources.{source.name}", _source(source, index, devices)
        except DetectorError as error:
            yield f"sources.{source.name}", error


def _source(source: SourceSettings, index: int, devices: list[Device] | DetectorError) -> str:
    if source.audio_file is not None:
        with open_audio(source.audio_file, source.channel):
            return str(source.audio_file)
    if isinstance(devices, DetectorError):
        raise devices
    try:
        return match(source.device or "default", devices).name
    except ConfigError as error:
        raise ConfigError(f"sources.{index}.device = {source.device!r}: {error}") from None
