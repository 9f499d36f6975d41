"""Passwords are read from where they are kept each time they are needed, and shown nowhere."""

import os
from pathlib import Path

from detector.errors import ConfigError


def read_password(place: str, file: Path | None, credential: str | None) -> str | None:
    """The first line of a file or systemd credential; None if neither is given.

    Args:
        place: what has the settings password_file and password_credential, for errors: mqtt.
        file: the setting password_file.
        credential: the setting password_credential.

    Raises:
        ConfigError: naming the field and the file.
    """
    if file is not None:
        field, path = f"{place}.password_file", file
    elif credential is not None:
        field = f"{place}.password_credential"
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigError(
                f"{field} = {credential!r}: there is no $CREDENTIALS_DIRECTORY: "
                f"add LoadCredential= to the service, or use {place}.password_file"
            )
        path = Path(folder, credential)
    else:
        return None
    try:
        first_line = path.read_text(encoding="utf-8").partition("\n")[0].removesuffix("\r")
    except OSError as error:
        raise ConfigError(f"{field}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{field}: {path}: is not UTF-8") from None
    if not first_line:
        raise ConfigError(f"{field}: {path}: the first line is empty")
    return first_line
