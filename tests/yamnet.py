"""YAMNet as Google gives it away: the oracle of what is made of it.

The file lies where YAMNET says, else in shared/peers/yamnet beside the repository.
"""

import os
from pathlib import Path

import pytest

from detector.spec import LogMelSpec

FILE = Path(
    os.environ.get("YAMNET")
    or Path(__file__).parent.parent.parent / "shared" / "peers" / "yamnet" / "yamnet.tflite"
)
FRONT_END = LogMelSpec(
    spectrum="magnitude",
    mel_bins=64,
    low_hz=125.0,
    high_hz=7500.0,
    slopes="mel",
    log_offset=0.001,
    log_floor=0.0,
)
"""Of YAMNet: github.com/tensorflow/models, research/audioset/yamnet/features.py."""

needs_yamnet = pytest.mark.skipif(
    not FILE.is_file(), reason=f"no {FILE}; YAMNET names another place"
)
"""Skips a test, with the reason, where the model is not at hand."""
