"""What proves to the broker who we are: read anew for each connection, kept nowhere."""

import os
import ssl
from pathlib import Path

from detector.publish.mqtt.failure import MqttConnectionError
from detector.settings.mqtt import MqttSettings


def read_password(settings: MqttSettings) -> str | None:
    """The first line of the password file or systemd credential.

    Raises:
        MqttConnectionError: naming the field and the file.
    """
    if settings.password_file is not None:
        field, path = "mqtt.password_file", settings.password_file
    elif settings.password_credential is not None:
        field = "mqtt.password_credential"
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise MqttConnectionError(
                "settings",
                f"{field} = {settings.password_credential!r}: there is no "
                "$CREDENTIALS_DIRECTORY: add LoadCredential= to the service, "
                "or use mqtt.password_file",
            )
        path = Path(folder, settings.password_credential)
    else:
        return None
    try:
        first_line = path.read_text(encoding="utf-8").partition("\n")[0].removesuffix("\r")
    except OSError as error:
        raise MqttConnectionError("settings", f"{field}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MqttConnectionError("settings", f"{field}: {path}: is not UTF-8") from None
    if not first_line:
        raise MqttConnectionError("settings", f"{field}: {path}: the first line is empty")
    return first_line


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """TLS 1.2 or later, with the broker's certificate and name verified.

    Raises:
        MqttConnectionError: naming the field and the file.
    """
    tls = settings.tls
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:  # SSLError is one
        raise _unusable("mqtt.tls.ca_file", tls.ca_file, error) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    if tls.certificate_file is not None and tls.key_file is not None:
        for field, path in (("certificate_file", tls.certificate_file), ("key_file", tls.key_file)):
            try:
                path.read_bytes()
            except OSError as error:
                raise _unusable(f"mqtt.tls.{field}", path, error) from None
        try:
            # Without a password given, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=lambda: "")
        except ssl.SSLError as error:
            field = f"mqtt.tls.certificate_file with key_file {tls.key_file}"
            raise _unusable(field, tls.certificate_file, error) from None
    return context


def _unusable(field: str, path: Path | None, error: OSError) -> MqttConnectionError:
    if isinstance(error, ssl.SSLError):
        why = f"cannot be used ({error.reason or error}): a PEM file without a passphrase is needed"
    else:
        why = error.strerror or str(error)
    return MqttConnectionError("settings", f"{field}: {path}: {why}")
