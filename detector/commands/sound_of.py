"""The sound of one source for a command, as the service would hear it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from detector.boottime import boottime
from detector.capture.capture import Capture
from detector.capture.ring import Reader, RingBuffer
from detector.capture.sound.conditioning import Conditioning
from detector.errors import SourceError
from detector.records import SAMPLE_RATE, AudioBlock
from detector.settings.sources import SourceSettings

_LOOK_S: Final = 0.1
"""How often it is asked whether the capture has failed."""


async def sound_of(
    settings: SourceSettings, capture: Capture, patience_s: float
) -> AsyncGenerator[AudioBlock, None]:
    """What the source delivers, with its gain and filters, until it ends. Close it when done.

    Raises:
        DetectorError: it cannot be captured, or nothing comes within `patience_s`, at the
            beginning or later.
    """
    ring = RingBuffer()
    reader = ring.reader()
    waits_for_writer = settings.socket is not None or settings.fifo is not None
    conditioning = Conditioning(settings.gain_db, settings.highpass_hz, settings.mains_hz)

    async def fill() -> None:
        try:
            await capture.run(ring, lambda _: None)
        finally:
            ring.close()

    filling = asyncio.create_task(fill(), name=f"{settings.name} capture")
    try:
        while not reader.closed:
            began = boottime()
            while not await _comes(reader):
                final = capture.failure and not (ring.samples_heard or waits_for_writer)
                if final or boottime() - began > patience_s:
                    raise SourceError(capture.failure or f"nothing comes of {capture.description}")
            item = reader.read(SAMPLE_RATE)
            if isinstance(item, AudioBlock):
                yield conditioning.apply(item)
        await filling
    finally:
        filling.cancel()
        await asyncio.wait({filling})


async def _comes(reader: Reader) -> bool:
    """Whether there is something to read, after a moment."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_S):
            await reader.wait()
            return True
    return False
