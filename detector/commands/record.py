"""`detector record`: what a source sounds like, in files to teach or to tune with."""

import asyncio
import sys
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from detector.capture.capture import open_capture
from detector.commands.sound_of import sound_of
from detector.errors import ConfigError
from detector.operate.logs import configure
from detector.records import SAMPLE_RATE, to_samples
from detector.settings.config import Config
from detector.settings.load import load_config
from detector.settings.sources import SourceSettings

PATIENCE_S: Final = 30.0
"""How long nothing may come."""
_CONSENT: Final = (
    "This keeps sound, and whatever is said meanwhile: everybody who may be heard has to know and "
    "to agree. Ctrl-C ends it.\n"
)


def record_source(config_file: Path | None, source: str | None, seconds: float, out: Path) -> None:
    """Record, print the path of each file.

    Raises:
        ConfigError: there is no such source, or the folder cannot be written to.
        SourceError: it delivers nothing.
    """
    config = load_config(config_file)
    configure(config.log)
    settings = _source(config, source)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}") from None
    sys.stderr.write(_CONSENT)
    try:
        asyncio.run(_record(settings, to_samples(seconds), out))
    except soundfile.LibsndfileError as error:
        raise ConfigError(f"--out {out}: {error}") from None


def _source(config: Config, name: str | None) -> SourceSettings:
    names = ", ".join(source.name for source in config.sources)
    if name is None and len(config.sources) != 1:
        raise ConfigError(f"--source: which one? there are {names}")
    for source in config.sources:
        if name in (None, source.name):
            return source
    raise ConfigError(f"--source {name}: there is no such source, only {names}")


async def _record(settings: SourceSettings, left: int, out: Path) -> None:
    """Write so many samples; a file ends where something was not heard."""
    capture = open_capture(settings)
    file: soundfile.SoundFile | None = None
    end_sample = 0
    try:
        async with aclosing(sound_of(settings, capture, PATIENCE_S)) as blocks:
            async for block in blocks:
                if file is None or block.first_sample != end_sample:
                    if file is not None:
                        file.close()
                    began = capture.clock.utc(block.first_sample)
                    file = _new_file(out, settings.name, began)
                end_sample = block.end_sample
                file.write(np.clip(block.samples[:left], -1, 1))
                left -= len(block.samples)
                if left <= 0:
                    break
    finally:
        if file is not None:
            file.close()


def _new_file(out: Path, source: str, began: datetime) -> soundfile.SoundFile:
    """Named by the source and the time of the first sample (UTC)."""
    path = out / f"{source}-{began:%Y-%m-%dT%H-%M-%S}.{began.microsecond // 1000:03d}Z.flac"
    file = soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, subtype="PCM_24")
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
    return file
