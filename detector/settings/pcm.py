"""What bare samples are made of, and who may write them."""

import ipaddress
from pathlib import Path
from typing import Final, Literal

SampleFormat = Literal[
    "u8", "s8", "s16le", "s16be", "s24le", "s24be", "s24_32le", "s32le", "s32be",
    "f32le", "f32be", "f64le", "f64be", "mulaw", "alaw",
]  # fmt: skip
"""As ffmpeg calls them; s24_32le are 24 bits in the lower three of four bytes."""

ALSA: Final = {
    "U8": "u8",
    "S8": "s8",
    "S16_LE": "s16le",
    "S16_BE": "s16be",
    "S24_3LE": "s24le",
    "S24_3BE": "s24be",
    "S24_LE": "s24_32le",
    "S32_LE": "s32le",
    "S32_BE": "s32be",
    "FLOAT_LE": "f32le",
    "FLOAT_BE": "f32be",
    "FLOAT64_LE": "f64le",
    "FLOAT64_BE": "f64be",
    "MU_LAW": "mulaw",
    "A_LAW": "alaw",
}
"""What `arecord -f` calls them."""

MIN_RATE: Final = 8_000
MAX_RATE: Final = 384_000
"""Hertz."""
MOST_CHANNELS: Final = 64
_LONGEST_PATH: Final = 107
"""Bytes of a UNIX socket's path, on Linux."""


class SocketAddress:
    """Where a socket listens: `unix:/path` or `tcp:HOST:PORT`."""

    def __init__(self, text: str) -> None:
        """Read it.

        Raises:
            ValueError: it is neither.
        """
        kind, _, rest = text.partition(":")
        self.path: Path | None = None
        self.host, self.port = "", 0
        if kind == "unix" and rest.startswith("/"):
            if len(rest.encode()) > _LONGEST_PATH:
                raise ValueError(f"the path of a socket has at most {_LONGEST_PATH} bytes")
            self.path = Path(rest)
            return
        host, _, port = rest.rpartition(":")
        self.host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
        if kind != "tcp" or not host or not port.isascii() or not port.isdecimal():
            raise ValueError("a socket is unix:/path or tcp:ADDRESS:PORT, as tcp:127.0.0.1:9000")
        try:
            self.is_loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise ValueError(
                f"{host!r} is no IP address; 127.0.0.1 is for programs of this machine alone"
            ) from None
        self.port = int(port)
        if not 0 < self.port < 1 << 16:
            raise ValueError(f"a port is 1 to 65535, not {port}")

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host
