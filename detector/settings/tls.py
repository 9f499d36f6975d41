"""How a connection is encrypted: the files of one end."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from detector.settings.base import FileSettings


class TlsSettings(FileSettings):
    ca_file: Path | None = None
    """The authority that signed the server's certificate; those that are known here if absent."""
    certificate_file: Path | None = None
    """The client's certificate and key, if the server asks for one."""
    key_file: Path | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self
