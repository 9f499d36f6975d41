"""The libraries that only evaluation needs: loaded when they are asked for, and not before."""

import importlib
import warnings
from types import ModuleType

from detector.errors import DetectorError


class MissingExtraError(DetectorError, ImportError):
    """What evaluation needs is not installed."""


def require(module: str) -> ModuleType:
    """Import a module of the extra `evaluate`.

    Raises:
        MissingExtraError: saying how to install it.
    """
    try:
        with warnings.catch_warnings():
            # dcase_util, below the scoring library, imports pkg_resources, which warns.
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"evaluation needs more than is installed ({error}): "
            "pip install 'audio-event-detector[evaluate]'"
        ) from None
