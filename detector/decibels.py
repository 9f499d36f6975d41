"""Levels in decibels relative to full scale, from mean squares and back."""

import math
from typing import Final

FLOOR_DBFS: Final = -120.0
"""What digital silence is reported as: it has no level in decibels, and JSON has no infinity."""


def dbfs(power: float) -> float:
    """The level of a mean square, at least FLOOR_DBFS; a full-scale square wave is 0."""
    return max(FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else FLOOR_DBFS


def mean_square(level_dbfs: float) -> float:
    """The inverse of `dbfs`."""
    return float(10 ** (level_dbfs / 10))
