"""`detector check`: what stands between this configuration and a running service."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from detector.capture.devices.query import Device, match, query_devices
from detector.capture.microphone import channels_to_open
from detector.capture.reader.describe import describe
from detector.capture.recording import open_audio
from detector.capture.stream.program import stream_program
from detector.commands.listening_check import hear_all
from detector.compatibility import check_settings
from detector.errors import ConfigError, DetectorError
from detector.loading import load_model
from detector.operate.logs import configure
from detector.publish.mqtt.publisher import probe as probe_broker
from detector.publish.outbox.store import look
from detector.settings.config import Config
from detector.settings.load import load_config
from detector.settings.sources import SourceSettings

FAILED = 4

Line = tuple[str, str | DetectorError]
"""What was checked, and how it is: a few words, or what is wrong."""


def check_all(path: Path | None, *, listen: bool) -> None:
    """Print a line for each thing; exit with 4 if one of them is wrong.

    Args:
        path: the configuration.
        listen: open each source for two seconds.
    """
    console = Console(highlight=False, soft_wrap=True)
    failed = False
    for subject, result in _lines(path, listen=listen):
        wrong = isinstance(result, DetectorError)
        failed = failed or wrong
        mark = ("wrong", "red") if wrong else ("ok   ", "green")
        console.print(Text.assemble(mark, f"  {subject}: {result}"))
    sys.exit(FAILED if failed else 0)


def _lines(path: Path | None, *, listen: bool) -> Iterator[Line]:
    try:
        config = load_config(path)
    except ConfigError as error:
        yield "config", error
        return
    configure(config.log)
    yield "config", str(path or "defaults")
    yield from _models(config, path)
    yield from _sources(config, listen=listen)
    if config.mqtt.enabled:
        try:
            yield "state_dir", look(config.state_folder)
        except DetectorError as error:
            yield "state_dir", error
        host, port = config.mqtt.address
        try:
            asyncio.run(probe_broker(config.mqtt, config.node))
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
            model.session.connect()
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
            yield subject, f"{spec.id} on {model.session.runs_on}, {what} become events"
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


def _sources(config: Config, *, listen: bool) -> Iterator[Line]:
    devices: list[Device] | DetectorError = []
    if any(source.device for source in config.sources):
        try:
            devices = query_devices([source.device for source in config.sources if source.device])
        except DetectorError as error:
            devices = error
    found: dict[str, str | DetectorError] = {}
    for index, source in enumerate(config.sources):
        try:
            found[source.name] = _source(source, index, devices) + _conditioning(source)
        except DetectorError as error:
            found[source.name] = error
    # What is sent to a socket or a FIFO may be on its way to the service that runs.
    opened = [s for s in config.sources if listen and not (s.socket or s.fifo)]
    there = [s for s in opened if isinstance(found[s.name], str)]
    for source, heard in zip(there, asyncio.run(hear_all(there)), strict=True):
        ok = isinstance(heard, str)
        found[source.name] = f"{found[source.name]}: {heard}" if ok else heard
    yield from ((f"sources.{name}", how) for name, how in found.items())


def _source(source: SourceSettings, index: int, devices: list[Device] | DetectorError) -> str:
    if source.audio_file is not None:
        with open_audio(source.audio_file, source.channel):
            return str(source.audio_file)
    if source.program or source.socket or source.fifo:
        return describe(source)
    if source.url:
        return stream_program(source).source
    if isinstance(devices, DetectorError):
        raise devices
    try:
        device = match(source.device or "default", devices)
        channels_to_open(device, source.channel)
    except ConfigError as error:
        raise ConfigError(f"sources.{index}.device = {source.device!r}: {error}") from None
    return device.name


def _conditioning(source: SourceSettings) -> str:
    """What the sound goes through before the models hear it."""
    gain = f", gain {source.gain_db:+g} dB" if source.gain_db else ""
    highpass = f", nothing below {source.highpass_hz:g} Hz" if source.highpass_hz else ""
    hum = f", no hum of {source.mains_hz} Hz" if source.mains_hz else ""
    return gain + highpass + hum
