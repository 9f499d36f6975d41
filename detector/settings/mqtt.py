"""The broker: how it is reached, and what is published there."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from detector.settings.base import FileSettings, TopicPath


class TlsSettings(FileSettings):
    ca_file: Path | None = None
    """The authority that signed the broker's certificate; the system's own if absent."""
    certificate_file: Path | None = None
    """The client's certificate and key, if the broker asks for one."""
    key_file: Path | None = None
    alpn: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] | None = None
    """Protocols to ask for, if one port serves several: AWS IoT wants "mqtt" on port 443."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self


class MqttSettings(FileSettings):
    enabled: bool = True
    host: str = Field("localhost", min_length=1)
    port: int | None = Field(None, ge=1, le=65535)
    """1883, or 8883 with TLS, if absent."""
    transport: Literal["tcp", "websockets"] = "tcp"
    websocket_path: str = Field("/mqtt", pattern=r"^/[!-~]*$")
    prefix: TopicPath = "detector"
    client_id: str | None = Field(None, min_length=1, max_length=64)
    """`{prefix}-{node}` if absent."""
    username: str | None = None
    password_file: Path | None = None
    """A file whose first line is the password. Read anew at each connection."""
    password_credential: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]+$")
    """The name of a systemd credential (LoadCredential=) that holds the password."""
    keepalive_s: int = Field(30, ge=5, le=3600)
    timeout_s: float = Field(10.0, gt=0)
    """How long one operation may take before the connection counts as lost."""
    queue_events: int = Field(10_000, ge=1)
    """Events kept while the broker is away; beyond it the oldest are dropped and counted."""
    queue_bytes: int = Field(32 * 2**20, ge=100_000)
    """How much room they may take; beyond it as well."""
    scores: bool = False
    """Publish the top labels of each window, for tuning."""
    level_interval_s: float = Field(10.0, ge=0, le=3600)
    """How often the level of each source is published, at most an hour; 0 is never."""
    commands: bool = False
    """Obey what is sent to `{prefix}/{node}/command/…`: mute, thresholds, reload, explain."""
    tls: TlsSettings | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        if self.password_file and self.password_credential:
            raise ValueError("give password_file or password_credential, not both")
        if (self.password_file or self.password_credential) and not self.username:
            raise ValueError("a password needs a username")
        return self
