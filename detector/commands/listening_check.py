"""Each source is opened for two seconds, to say how it sounds."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

import numpy as np

from detector.capture.capture import open_capture
from detector.commands.sound_of import sound_of
from detector.decibels import FLOOR_DBFS, dbfs
from detector.errors import DetectorError, SourceError
from detector.records import StreamInfo, to_samples
from detector.settings.sources import SourceSettings

LISTEN_S: Final = 2.0
PATIENCE_S: Final = 10.0
"""How long a source may deliver nothing: a sound server may need some seconds."""
_START_S: Final = 3.0
"""How much longer a camera may: its program starts before it connects, and says why it failed."""
_QUIET_DBFS: Final = -70.0


async def hear_all(sources: Sequence[SourceSettings]) -> list[str | DetectorError]:
    """What each delivers, or why it does not; all at the same time, each for a bounded time."""
    return await asyncio.gather(*(_outcome(settings) for settings in sources))


async def _outcome(settings: SourceSettings) -> str | DetectorError:
    patience_s = settings.timeout_s + _START_S if settings.url else PATIENCE_S
    bound_s = LISTEN_S + patience_s
    try:
        async with asyncio.timeout(bound_s):
            return await _hear(settings, patience_s)
    except DetectorError as error:
        return error
    except TimeoutError:
        return SourceError(f"delivers less than {LISTEN_S:g} s of sound in {bound_s:g} s")


async def _hear(settings: SourceSettings, patience_s: float) -> str:
    capture = open_capture(settings)
    energy, samples, wanted = 0.0, 0, to_samples(LISTEN_S)
    async with aclosing(sound_of(settings, capture, patience_s)) as blocks:
        async for block in blocks:
            energy += float(np.square(block.samples, dtype=np.float64).sum())
            samples += len(block.samples)
            if samples >= wanted:
                break
    if not samples:
        raise SourceError("delivers no sound")
    level = dbfs(energy / samples)
    return ", ".join([*_stream(capture.stream), _level(level)])


def _stream(stream: StreamInfo | None) -> list[str]:
    if stream is None:
        return []
    channels = f"{stream.channels} channel{'s' * (stream.channels > 1)} at {stream.rate} Hz"
    return [stream.codec, channels] if stream.codec else [channels]


def _level(level_dbfs: float) -> str:
    if level_dbfs <= FLOOR_DBFS:
        return "digital silence: is it muted?"
    quiet = " (very quiet)" if level_dbfs < _QUIET_DBFS else ""
    return f"{level_dbfs:.1f} dBFS{quiet}"
