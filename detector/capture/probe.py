"""A look at what a source delivers."""

import asyncio

import structlog

from detector.capture.framing import FramingError, StreamFormat, unpack_format
from detector.capture.process import running
from detector.capture.program import CaptureProgram
from detector.errors import SourceError


async def probe(program: CaptureProgram) -> StreamFormat:
    """Run a capture program until it has begun to hear.

    Raises:
        SourceError: why it hears nothing.
    """
    try:
        async with running(program, structlog.get_logger()) as started:
            async with asyncio.timeout(program.open_s):
                _, payload = await started.record(channels=0)
                return unpack_format(payload)
    except TimeoutError:
        raise SourceError(f"{program.source} delivers nothing") from None
    except FramingError as error:
        raise SourceError(f"the {program.name} writes no valid records: {error}") from None
