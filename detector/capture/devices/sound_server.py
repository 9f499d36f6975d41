"""The sources of PulseAudio, or of PipeWire in its place."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from detector.errors import SourceError

_TIMEOUT_S: Final = 3.0
_LOOK_S: Final = 5.0
"""How often the sources are looked at though no event tells of them."""
_CLIENT: Final = "audio-event-detector"


@dataclass(frozen=True, slots=True)
class ServerSource:
    """A microphone of the sound server, or what is played on one of its outputs (a monitor)."""

    name: str
    """Made of the device's name and serial number: it stays the same over replugging."""
    description: str
    channels: int
    rate: int
    """Hertz."""


def list_sources() -> list[ServerSource]:
    """The sources that there are; none without a server."""
    with contextlib.suppress(SourceError), _connected() as pulse:
        return _sources(pulse)
    return []


def choose_source(name: str) -> None:
    """Have ALSA's device of the sound server, when this process opens it, record from that source.

    libpulse reads the first variable, PipeWire's own plugin the second.
    """
    os.environ["PULSE_SOURCE"] = os.environ["PIPEWIRE_NODE"] = name


def wait_until_gone(name: str) -> None:
    """Return when the server has that source no longer.

    Whoever records from it is not told: the server lets it hear another source.

    Raises:
        SourceError: there is no server, or not any more.
    """
    with _connected() as pulse:
        pulse.event_mask_set("source")
        pulse.event_callback_set(lambda _: pulse.event_listen_stop())
        while name in {source.name for source in _sources(pulse)}:
            pulse.event_listen(_LOOK_S)


@contextlib.contextmanager
def _connected() -> Iterator[Any]:
    """A connection to the server.

    Raises:
        SourceError: there is none, or it broke.
    """
    try:
        import pulsectl  # noqa: PLC0415 (it loads libpulse, which ALSA's plugin needs as well)
    except (ImportError, OSError) as error:
        raise SourceError(f"libpulse does not work here: {error}") from None
    try:
        with pulsectl.Pulse(_CLIENT, connect=False) as pulse:
            pulse.connect(timeout=_TIMEOUT_S)
            yield pulse
    except pulsectl.PulseError as error:
        raise SourceError(f"the sound server does not answer: {error}") from None


def _sources(pulse: Any) -> list[ServerSource]:  # noqa: ANN401 (pulsectl has no types)
    return [
        ServerSource(
            name=source.name,
            description=source.description,
            channels=source.channel_count,
            rate=source.sample_spec.rate,
        )
        for source in pulse.source_list()
    ]
