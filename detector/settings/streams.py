"""A stream: where it is and how it is reached."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from detector.settings.base import FileSettings

SCHEMES: Final = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps")

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$")]


class StreamSettings(FileSettings):
    """The settings of a source that go with `url`. What may hold a secret has no `repr`."""

    url: str | None = Field(None, repr=False)
    """Of a camera or another stream: rtsp, rtsps, http, https (HLS too), rtmp, rtmps."""
    username: str | None = Field(None, min_length=1, repr=False)
    password_file: Path | None = None
    """A file whose first line is the password. Read anew at each connection."""
    password_credential: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]+$")
    """The name of a systemd credential (LoadCredential=) that holds the password."""
    transport: Literal["tcp", "udp"] = "tcp"
    """By which RTSP sends the sound."""
    timeout_s: float = Field(10.0, ge=1, le=60)
    """How long connecting may take, to the first sound."""
    headers: dict[HeaderName, HeaderValue] = Field({}, repr=False)
    """That are sent along, by HTTP."""
    verify_tls: bool = True
    """Whether the certificate must be right."""
    ca_file: Path | None = None
    """The authority that signed the certificate, or the certificate itself; the system's own
    authorities if absent."""
    audio_stream: int = Field(1, ge=1)
    """Which one, if there are several, counted from 1."""

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str | None) -> str | None:
        if url is not None:
            _check(url)
        return url

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.url is None:
            given = self.model_fields_set & set(StreamSettings.model_fields)
            if given:
                raise ValueError(f"{', '.join(sorted(given))}: only a source with url has that")
            return self
        scheme = urlsplit(self.url).scheme
        for name, schemes in (("transport", ("rtsp", "rtsps")), ("headers", ("http", "https"))):
            if name in self.model_fields_set and scheme not in schemes:
                raise ValueError(f"{name} is for {' and '.join(schemes)}, not for {scheme}")
        if self.username and "@" in urlsplit(self.url).netloc:
            raise ValueError("give username here or a user in url, not both")
        if self.password_file and self.password_credential:
            raise ValueError("give password_file or password_credential, not both")
        if (self.password_file or self.password_credential) and not self.username:
            raise ValueError("a password needs a username")
        return self


def _check(url: str) -> None:
    """Refuse what is no URL of a stream, in words that hold no part of it."""
    if re.search(r"[^\x21-\x7e]", url):
        raise ValueError("a URL has no spaces and no letters beyond ASCII: write %20 for a space")
    try:
        parts: SplitResult = urlsplit(url)
        has_host = bool(parts.hostname)
        _ = parts.port
    except ValueError:
        has_host, parts = False, urlsplit("")
    if re.search(r"^\.|\.\.|[^.]{64}", parts.hostname or ""):
        raise ValueError("has a host's name of which a part between dots is empty or too long")
    if parts.scheme and parts.scheme not in SCHEMES:
        raise ValueError(f"begins with one of {', '.join(f'{known}://' for known in SCHEMES)}")
    if not has_host or "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(
            "is not scheme://host/path. What a password has of / ? # @ : % is written %2F %3F "
            "%23 %40 %3A %25; or give username and password_file"
        )
