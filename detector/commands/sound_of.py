"""The sound of one source for a command, as the service would hear it."""

import asyncio
from collections.abc import AsyncGenerator

from detector.capture.capture import Capture
from detector.capture.conditioning import Conditioning
from detector.capture.ring import RingBuffer
from detector.capture.status import CaptureStatus
from detector.errors import SourceError
from detector.records import SAMPLE_RATE, AudioBlock
from detector.settings.sources import SourceSettings


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
    conditioning = Conditioning(settings.gain_db, settings.highpass_hz, settings.mains_hz)
    failed = asyncio.get_running_loop().create_future()

    def on_status(status: CaptureStatus) -> None:
        if status == "offline" and not ring.samples_heard and not failed.done():
            failed.set_result(None)

    async def fill() -> None:
        try:
            await capture.run(ring, on_status)
        finally:
            ring.close()

    filling = asyncio.create_task(fill(), name=f"{settings.name} capture")
    try:
        while not reader.closed:
            waiting = asyncio.create_task(reader.wait())
            await asyncio.wait(
                {waiting, failed}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not waiting.done():
                waiting.cancel()
                why = capture.failure or f"nothing comes of {capture.description}"
                raise SourceError(why)
            item = reader.read(SAMPLE_RATE)
            if isinstance(item, AudioBlock):
                yield conditioning.apply(item)
        await filling
    finally:
        filling.cancel()
        await asyncio.wait({filling})
