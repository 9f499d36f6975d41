"""What a decoder gives, as every stage behind it takes it."""

from dataclasses import dataclass
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from detector.records import FloatArray

_FULL_SCALE: Final = {"u1": 2**-7, "i2": 2**-15, "i4": 2**-31, "i8": 2**-63}


@dataclass(frozen=True, slots=True)
class Frames:
    """Consecutive frames."""

    samples: FloatArray
    """(n, channels) float32, full scale is ±1."""
    rate: int
    """Hertz."""
    codec: str = ""
    """What they were encoded with, if that is known."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch that holds sound which cannot be heard, or that its recorder left out."""

    seconds: float
    reason: str
    """What is wrong there, for the user."""


def to_frames(frame: av.AudioFrame, codec: str) -> Frames:
    """Convert what libavcodec decoded, in whatever sample format; whole numbers stay exact."""
    channels = frame.layout.nb_channels
    values: NDArray[Any]
    if frame.format.name == "s64":  # PyAV knows no array for it
        values = np.frombuffer(bytes(frame.planes[0]), np.int64, frame.samples * channels)
    else:
        values = frame.to_ndarray()
    interleaved = values.reshape(-1, channels) if values.shape[0] != channels else values.T
    if not frame.format.is_planar:
        interleaved = values.reshape(-1, channels)
    with np.errstate(over="ignore", invalid="ignore"):  # of doubles that are no sound
        samples = interleaved.astype(np.float32)
    if values.dtype.kind in "iu":
        scale = np.float32(_FULL_SCALE[values.dtype.str[1:]])
        if values.dtype == np.uint8:
            samples -= np.float32(128)
        samples *= scale
    return Frames(samples, frame.sample_rate, codec)
