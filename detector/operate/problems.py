"""What is wrong with a source, and what to do about it."""

from collections.abc import Iterator
from typing import Final

from detector.health_report import Problem
from detector.records import SAMPLE_RATE, SourceStatus, StreamInfo

OFFSET: Final = 0.02
"""Of full scale: then the offset alone has a level of -34 dBFS, which some go by."""
DRIFT_PPM: Final = 1000
"""Crystals are wrong by some 200 at most, and times follow them so far; what is beyond this is
another rate."""

_STATUS: Final[dict[SourceStatus, str]] = {
    "stalled": "what delivers the sound, or a model, has stopped answering: it is started again by "
    "itself; if it stays so, look at the log",
    "silent": "nothing but digital silence comes: is the microphone muted, its cable out, or its "
    "capture switch off (alsamixer, F4)?",
    "clipping": "the sound is cut off at full scale: turn the microphone's own amplification down "
    "(alsamixer, pavucontrol, or in the camera); gain_db cannot mend it",
}


def problems(
    status: SourceStatus,
    stream: StreamInfo | None,
    dc_offset: float | None,
    failure: str | None,
) -> Iterator[Problem]:
    """All that is wrong.

    Args:
        status: the source's.
        stream: what is known of how its sound arrives.
        dc_offset: of the sound as the models hear it.
        failure: why it is offline.
    """
    if status == "offline":
        yield Problem("offline", failure or "nothing has been captured yet")
        return
    if status in _STATUS:
        yield Problem(status, _STATUS[status])  # type: ignore[arg-type]
    if dc_offset is not None and abs(dc_offset) >= OFFSET:
        yield Problem(
            "dc_offset",
            f"the signal swings about {dc_offset:.0%} of full scale, not about zero, as from a "
            "faulty microphone or sound card: highpass_hz = 20 takes it out",
        )
    if stream is not None:
        yield from _of_stream(stream)


def _of_stream(stream: StreamInfo) -> Iterator[Problem]:
    if stream.drift_ppm is not None and abs(stream.drift_ppm) >= DRIFT_PPM:
        true_rate = stream.rate * (1 + stream.drift_ppm / 1e6)
        yield Problem(
            "wrong_rate",
            f"{true_rate:.0f} samples come in a second, not {stream.rate} as it says, so sounds "
            "are heard at another pitch and with gaps: name the device otherwise (plughw:…), or "
            "look at the sound server's settings",
        )
    if stream.rate < SAMPLE_RATE:
        codec = f" ({stream.codec})" if stream.codec else ""
        yield Problem(
            "narrow_band",
            f"sound at {stream.rate} Hz{codec} holds nothing above {stream.rate / 2000:g} kHz, by "
            "which much is told apart: choose another codec or rate, such as AAC at 16000 Hz",
        )
    if stream.cancels:
        yield Problem(
            "out_of_phase",
            "the channels cancel each other where they are mixed, as if one were wired the wrong "
            "way round: hear one alone (channel = 1)",
        )
