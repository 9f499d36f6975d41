"""Where the sound of a source comes from."""

from typing import Protocol

from detector.capture import microphone
from detector.capture.clock import Clock
from detector.capture.programs.supervised import SupervisedProgram
from detector.capture.reader import program as reader
from detector.capture.ring import RingBuffer
from detector.capture.status import OnStatus
from detector.capture.stream.program import stream_program
from detector.records import StreamInfo
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

    @property
    def stream(self) -> StreamInfo | None:
        """What is known of the sound as it arrives; None before anything is."""
        ...

    @property
    def failure(self) -> str | None:
        """Why nothing is captured at present; None while something is, or before it is tried."""
        ...

    async def run(self, ring: RingBuffer, on_status: OnStatus) -> None:
        """Capture until the sound ends, as a recording does, or until cancelled.

        Args:
            ring: gets blocks and gaps, without holes, and cuts where the sound is interrupted. It
                is left open.
            on_status: is told each change of the status, and of `failure` while it is offline; the
                last one is `offline`, unless the capture is cancelled.

        Raises:
            DetectorError: nothing can be captured, and trying again at once would not help. What
                comes and goes by itself, as a device that is unplugged, is tried again within.
        """
        ...


def open_capture(settings: SourceSettings) -> Capture:
    """The capture that a source's settings ask for. Nothing is opened before it runs."""
    if settings.audio_file is not None:
        # FFmpeg's libraries take 19 MB, and most services play no recording.
        from detector.capture.playback import Recording  # noqa: PLC0415

        return Recording(settings.audio_file, channel=settings.channel, loop=settings.loop)
    if settings.url is not None:
        program = stream_program(settings)
    elif settings.device is not None:
        program = microphone.program(settings.device, settings.channel)
    elif settings.program or settings.socket or settings.fifo:
        program = reader.program(settings)
    else:
        raise ValueError(f"source {settings.name} has nothing to listen to")
    return SupervisedProgram(program, settings.channel, settings.name)
