"""Why a stream cannot be heard, in words that hold nothing secret and say what to do."""

import errno
import socket
from collections.abc import Mapping
from typing import Final

import av

from detector.capture.stream.request import StreamRequest
from detector.errors import RefusedError, SourceError


class StreamError(SourceError):
    """A stream cannot be opened, or has ended."""


_TLS_SCHEMES: Final = ("rtsps", "https", "rtmps")

_SENTENCES: Final[Mapping[type[Exception], str]] = {
    av.error.HTTPNotFoundError: "knows no such path (404 Not Found): check the path of the url",
    av.error.HTTPBadRequestError: "does not understand the request (400): check the url",
    av.error.HTTPOtherClientError: "refuses the request (4xx): check the path of the url",
    av.error.HTTPServerError: "has an error of its own (5xx): look at its log, or restart it",
    av.error.ConnectionRefusedError: "refuses the connection: check the port, and whether the "
    "service is switched on there",
    av.error.ConnectionResetError: "closed the connection: check scheme and port of the url",
    av.error.BrokenPipeError: "closed the connection: check scheme and port of the url",
    av.error.InvalidDataError: "sends something that is no stream of sound: check the url",
    av.error.EOFError: "sends nothing, and closes the connection: check the url",
    av.error.ProtocolNotFoundError: "needs a protocol that is not built in",
}


def explain(error: Exception, request: StreamRequest) -> SourceError:
    """What an exception means to the user. Its own text is not shown: it may hold the URL."""
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        settings = f"sources.{request.source}"
        if request.has_login:
            return RefusedError(
                f"{request.place} refuses the login: check user and password in {settings}; it is "
                "tried seldom, since many cameras lock out who tries often"
            )
        return RefusedError(
            f"{request.place} wants a login: give username and password_file in {settings}"
        )
    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return no_answer(request)
    return StreamError(f"{request.place} {_sentence(error)}")


def _sentence(error: Exception) -> str:
    for kind, sentence in _SENTENCES.items():
        if isinstance(error, kind):
            return sentence
    if isinstance(error, av.error.OSError) and error.errno != errno.EIO:
        return f"cannot be reached: {error.strerror}"
    if isinstance(error, av.error.OSError):
        return "sends no stream, and closes the connection: check the url"
    why = error.strerror if isinstance(error, av.error.FFmpegError) else type(error).__name__
    return f"cannot be read: {why}"


def no_answer(request: StreamRequest) -> StreamError:
    return StreamError(
        f"{request.place} does not answer within {request.timeout_s:g} s: check host and port, and "
        "whether it is switched on"
    )


def check_tls(request: StreamRequest) -> None:
    """Look for a reason in TLS: FFmpeg calls what fails there an input/output error.

    Raises:
        StreamError: it is TLS.
    """
    if request.scheme not in _TLS_SCHEMES:
        return
    import ssl  # noqa: PLC0415 (takes memory, and is needed for a message alone)

    if request.verify_tls:
        context = ssl.create_default_context(cafile=request.ca_file)
    else:
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
    try:
        with (
            socket.create_connection(request.address, request.timeout_s) as connection,
            context.wrap_socket(connection, server_hostname=request.host),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise StreamError(
            f"{request.place} has a certificate that is not trusted ({error.verify_message}): give "
            f"it as ca_file in sources.{request.source}, or set verify_tls = false if whoever is "
            "on the network may listen"
        ) from None
    except ssl.SSLError as error:
        raise StreamError(
            f"{request.place} does not speak TLS as it should ({error.reason}): check scheme and "
            "port of the url"
        ) from None
    except OSError:
        return
