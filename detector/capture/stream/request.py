"""What the stream program is asked to open. It comes through its stdin, which nobody else sees."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import quote, urlsplit

from detector.passwords import read_password

PORTS: Final = {
    "rtsp": 554,
    "rtsps": 322,
    "http": 80,
    "https": 443,
    "rtmp": 1935,
    "rtmps": 443,
}
MOST_PATIENCE_S: Final = 30.0
"""How long nothing may come of any stream, once it has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRequest:
    """The settings of a source that is a stream."""

    source: str
    """The source's name: errors say which settings to look at."""
    url: str = field(repr=False)
    username: str | None = field(default=None, repr=False)
    password_file: str | None = None
    password_credential: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    timeout_s: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify_tls: bool = True
    ca_file: str | None = None
    """What to trust; None is nothing at all."""
    audio_stream: int = 1

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        return cls(**json.loads(line))

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, urlsplit(self.url).port or PORTS[self.scheme]

    @property
    def place(self) -> str:
        """The part of the URL that may be shown: a path or a query may be secret, too."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def has_login(self) -> bool:
        return bool(self.username or "@" in urlsplit(self.url).netloc)

    def url_with_login(self) -> str:
        """The URL as FFmpeg wants it.

        Raises:
            ConfigError: the password cannot be read.
        """
        if not self.username:
            return self.url
        file = Path(self.password_file) if self.password_file else None
        password = read_password(f"sources.{self.source}", file, self.password_credential)
        login = quote(self.username, safe="") + ":" + quote(password or "", safe="")
        parts = urlsplit(self.url)
        return parts._replace(netloc=f"{login}@{parts.netloc}").geturl()
