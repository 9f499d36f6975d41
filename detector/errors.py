"""The errors a person is meant to read: what is wrong, where, and what to do.

Each names the thing it is about (a file, a field, a value) in its message, and carries the exit
code of the command that it ends.
"""

from typing import Literal


class DetectorError(Exception):
    """Base of every error that is reported to the user without a traceback."""

    exit_code = 3


class ConfigError(DetectorError, ValueError):
    """The configuration, or the command line, asks for something that does not make sense."""

    exit_code = 2


class AudioFileError(DetectorError, ValueError):
    """A file given as input cannot be read as audio."""

    exit_code = 2


class SourceError(DetectorError, OSError):
    """A sound source cannot be opened, or stopped working."""


class UnknownDeviceError(ConfigError):
    """No sound device answers to the name that was given."""


class BundleError(DetectorError, ValueError):
    """A model bundle is missing, damaged, or does not keep the contract."""


class ProviderError(DetectorError, RuntimeError):
    """The hardware that the configuration demands cannot run the model."""


class InferenceError(DetectorError, RuntimeError):
    """A model that was loaded cannot score a window."""

    exit_code = 5

    def __init__(
        self, message: str, reason: Literal["unscored", "not_finite"] = "unscored"
    ) -> None:
        super().__init__(message)
        self.reason: Literal["unscored", "not_finite"] = reason
        """What the gap is called that it leaves."""


class ModelFailedError(InferenceError):
    """A model has failed time and again: only another start of the process may help."""


class BrokerError(DetectorError, ConnectionError):
    """The MQTT broker cannot be reached, or refuses the connection."""


class StateError(DetectorError, OSError):
    """The state directory cannot be used."""


def cause_of(error: Exception) -> Exception:
    """The first error of a group; a model that has failed for good before others."""
    if not isinstance(error, ExceptionGroup):
        return error
    found = [cause_of(inner) for inner in error.exceptions]
    return next((e for e in found if isinstance(e, ModelFailedError)), found[0])
