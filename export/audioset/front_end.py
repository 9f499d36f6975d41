"""What YAMNet sees: its front end, and its patches as windows."""

from typing import Any, Final

import numpy as np

from detector.errors import BundleError
from detector.features.fbank import taper
from detector.features.mel_filters import mel_filters
from detector.records import SAMPLE_RATE
from detector.spec import LogMelSpec, WindowSpec
from export.audioset.tflite import Yamnet

FRONT_END: Final = LogMelSpec(
    spectrum="magnitude",
    mel_bins=64,
    low_hz=125.0,
    high_hz=7500.0,
    slopes="mel",
    log_offset=0.001,
    log_floor=0.0,
)
FRAMES, HOP_FRAMES = 96, 48
WINDOW: Final = WindowSpec(samples=15_680, hop_samples=HOP_FRAMES * FRONT_END.shift_samples)
"""96 frames cover 15 600 samples; a window is a multiple of what lies between two frames."""


def check_front_end(yamnet: Yamnet) -> None:
    """Refuse a file whose front end is not FRONT_END.

    Raises:
        BundleError: naming what differs.
    """
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("taper", yamnet.taper, taper(FRONT_END)),
        ("mel filters", yamnet.mel_filters, mel_filters(FRONT_END, SAMPLE_RATE)),
        ("offset", yamnet.log_offset, FRONT_END.log_offset),
    )
    for name, theirs, ours in pairs:
        if np.shape(theirs) != np.shape(ours) or not np.allclose(theirs, ours, rtol=0, atol=1e-6):
            raise BundleError(f"the {name} of the file's front end differs from YAMNet's")
