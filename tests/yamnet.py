"""YAMNet as Google gives it away: the oracle of what is made of it.

The file lies where YAMNET says, else in shared/peers/yamnet beside the repository.
"""

import os
from pathlib import Path

import pytest

FILE = Path(
    os.environ.get("YAMNET")
    or Path(__file__).parent.parent.parent / "shared" / "peers" / "yamnet" / "yamnet.tflite"
)

needs_yamnet = pytest.mark.skipif(
    not FILE.is_file(), reason=f"no {FILE}; YAMNET names another place"
)
"""Skips a test, with the reason, where the model is not at hand."""
