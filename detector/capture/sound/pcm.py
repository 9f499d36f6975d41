"""Bare samples, as programs write them."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.records import FloatArray
from detector.settings.pcm import SampleFormat

_PLAIN: Final[dict[str, tuple[str, float]]] = {
    "s8": ("i1", 2.0**7),
    "s16le": ("<i2", 2.0**15),
    "s16be": (">i2", 2.0**15),
    "s32le": ("<i4", 2.0**31),
    "s32be": (">i4", 2.0**31),
    "f32le": ("<f4", 1.0),
    "f32be": (">f4", 1.0),
    "f64le": ("<f8", 1.0),
    "f64be": (">f8", 1.0),
}
"""How NumPy calls them, and what full scale is."""


class RawFormat(NamedTuple):
    """What bare samples are made of."""

    rate: int
    """Frames per second (Hertz)."""
    channels: int
    sample_format: SampleFormat

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of each channel."""
        return self.channels * _sample_bytes(self.sample_format)

    def __str__(self) -> str:
        return f"{self.sample_format}, {self.rate} Hz, {self.channels} channel" + "s" * (
            self.channels > 1
        )


class PcmDecoder:
    """Bytes in pieces of any length in, whole frames out."""

    def __init__(self, raw: RawFormat) -> None:
        self._raw = raw
        self._rest = b""

    @property
    def rest(self) -> int:
        """Bytes of a frame that has only begun."""
        return len(self._rest)

    def push(self, data: bytes) -> FloatArray:
        """(n, channels) float32, full scale is ±1."""
        data = self._rest + data
        whole = len(data) - len(data) % self._raw.frame_bytes
        self._rest = data[whole:]
        samples = _decoded(data[:whole], self._raw.sample_format)
        return samples.reshape(-1, self._raw.channels)


def _sample_bytes(name: SampleFormat) -> int:
    if name in _PLAIN:
        return np.dtype(_PLAIN[name][0]).itemsize
    return {"s24le": 3, "s24be": 3, "s24_32le": 4}.get(name, 1)


def _decoded(data: bytes, name: SampleFormat) -> FloatArray:
    """(n,) float32."""
    if name in _PLAIN:
        dtype, full_scale = _PLAIN[name]
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite: no sound
            samples: FloatArray = np.frombuffer(data, dtype).astype(np.float32)
        return samples if full_scale == 1.0 else samples / np.float32(full_scale)
    octets = np.frombuffer(data, np.uint8)
    if name == "u8":
        return (octets.astype(np.float32) - 128) / np.float32(128)
    if name == "mulaw":
        return _MULAW[octets]
    if name == "alaw":
        return _ALAW[octets]
    # 24 bits are the upper three bytes of an integer of four.
    three = octets.reshape(-1, 4)[:, :3] if name == "s24_32le" else octets.reshape(-1, 3)
    if name == "s24be":
        three = three[:, ::-1]
    four = np.zeros((len(three), 4), np.uint8)
    four[:, 1:] = three
    return four.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)


def _mulaw() -> FloatArray:
    """(256,) what each byte of G.711 µ-law means (ITU-T G.711, table 2)."""
    octets: NDArray[np.int64] = ~np.arange(256) & 0xFF
    size = (((octets & 0x0F) * 8 + 132) << (octets >> 4 & 7)) - 132
    return (np.where(octets & 0x80, -size, size) / 32768).astype(np.float32)


def _alaw() -> FloatArray:
    """(256,) what each byte of G.711 A-law means (ITU-T G.711, table 1)."""
    octets: NDArray[np.int64] = np.arange(256) ^ 0x55
    segment, size = octets >> 4 & 7, (octets & 0x0F) * 16 + 8
    size = np.where(segment > 0, (size + 256) << np.maximum(segment - 1, 0), size)
    return (np.where(octets & 0x80, size, -size) / 32768).astype(np.float32)


_MULAW: Final = _mulaw()
_ALAW: Final = _alaw()
