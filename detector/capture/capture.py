"""Where the sound of a source comes from."""

from typing import Protocol

from detector.capture import microphone
from detector.capture.clock import Clock
from detector.capture.recording import Recording
from detector.capture.ring import RingBuffer
from detector.capture.status import OnStatus
from detector.capture.supervised import SupervisedProgram
from detector.settings.sources import SourceSettings


class Capture(Protocol):
    """Fills a ring buffer with the sound of one source, and knows when each sample was captured."""

    @property
    def description(self) -> str:
        """What is captured, for logs and errors: device 'hall', or a file's path."""
        ...

    @property
    def clock(self) -> Clock:
        """Tells the time of each sample in the ring."""
        ...

    async def run(self, ring: RingBuffer, on_status: OnStatus) -> None:
        """Capture until the sound ends, as a recording does, or until cancelled.

        Args:
            ring: gets blocks and gaps, without holes, and cuts where the sound is interrupted. It
                is left open.
            on_status: is told each change of the status; the last one is `offline`, unless the
                capture is cancelled.

        Raises:
            DetectorError: nothing can be captured, and trying again at once would not help. What
                comes and goes by itself, as a device that is unplugged, is tried again within.
        """
        ...


def open_capture(settings: SourceSettings) -> Capture:
    """The capture that a source's settings ask for. Nothing is opened before it runs."""
    if settings.audio_file is not None:
        return Recording(settings.audio_file, channel=settings.channel)
    if settings.device is not None:
        program = microphone.program(settings.device, settings.channel)
        return SupervisedProgram(program, settings.channel, settings.name)
    raise ValueError(f"source {settings.name} has neither device nor audio_file")
