"""The front ends that a bundle can ask for: every number that their features depend on."""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detector.records import SAMPLE_RATE


class Spec(BaseModel):
    """A part of `bundle.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _MelFrames(Spec):
    """Short overlapping frames, each as the logarithm of its energy in bands of the mel scale."""

    kind: str
    frame_samples: int = Field(400, ge=2)
    shift_samples: int = Field(160, ge=1)
    fft_size: int = Field(512, ge=2)
    mel_bins: int = Field(128, ge=1)
    low_hz: float = Field(20.0, ge=0)
    high_hz: float = Field(SAMPLE_RATE / 2, le=SAMPLE_RATE / 2)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.frame_samples > self.fft_size:
            raise ValueError(f"frame_samples {self.frame_samples} > fft_size {self.fft_size}")
        if self.shift_samples > self.frame_samples:
            raise ValueError(
                f"shift_samples {self.shift_samples} > frame_samples {self.frame_samples}"
            )
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz} is not below high_hz {self.high_hz}")
        return self

    def frames_in(self, samples: int) -> int:
        """How many whole frames `samples` samples hold."""
        return max(0, 1 + (samples - self.frame_samples) // self.shift_samples)

    @property
    def hop_multiple(self) -> int:
        """Samples that a window and its hop are multiples of: each begins where a frame does."""
        return self.shift_samples

    @property
    def describes_frames(self) -> bool:
        """Whether it gives a spectrogram, (frames, mel_bins), and not samples."""
        return True

    def input_shape(self, window_samples: int) -> tuple[int, ...]:
        """(frames, mel_bins): the least that an input without its batch axis must hold.

        An extractor may pad the whole frames of a window with further ones.
        """
        return (self.frames_in(window_samples), self.mel_bins)


class Fbank(_MelFrames):
    """Kaldi's normalised log-mel frames: every number that they depend on."""

    kind: Literal["fbank"] = "fbank"
    pre_emphasis: float = Field(0.97, ge=0, lt=1)
    log_floor: float = Field(1.1920929e-07, gt=0)
    mean: float = -4.2677393
    std: float = Field(4.5689974, gt=0)
    """A log-mel energy v becomes (v - mean) / (2 std)."""

    @property
    def padding(self) -> float:
        """What a missing frame holds: the extractor pads with zeros before it normalises."""
        return -self.mean / (2 * self.std)


class LogMelSpec(_MelFrames):
    """Log-mel frames in general: what librosa, torchaudio and TensorFlow compute."""

    kind: Literal["log_mel"] = "log_mel"
    taper: Literal["hann", "hamming"] = "hann"
    periodic: bool = True
    """Whether the taper is one period long, as for a spectrum, or symmetric, as for a filter."""
    spectrum: Literal["magnitude", "power"] = "power"
    """What the filters add up."""
    mel_scale: Literal["htk", "slaney"] = "htk"
    """htk: 2595 log10(1 + f/700); slaney: linear up to 1 kHz, logarithmic above."""
    slopes: Literal["mel", "hz"] = "hz"
    """On which scale the sides of the triangles are straight: TensorFlow's on the mel scale,
    librosa's and torchaudio's in hertz."""
    area_normalised: bool = False
    """Whether a filter's weights are multiplied by 2 / (its width in hertz)."""
    log: Literal["natural", "log10", "decibel"] = "natural"
    """decibel: 10 log10 of a power, 20 log10 of a magnitude."""
    log_offset: float = Field(0.0, ge=0)
    """Added before the logarithm."""
    log_floor: float = Field(1e-10, ge=0)
    """The least of which the logarithm is taken, after the offset."""
    mean: float = 0.0
    std: float = Field(1.0, gt=0)
    """A logarithm v becomes (v - mean) / std."""

    @model_validator(mode="after")
    def _of_silence(self) -> Self:
        if not self.log_offset and not self.log_floor:
            raise ValueError("log_offset and log_floor are both 0: silence has no logarithm")
        return self

    @property
    def log_scale(self) -> float:
        """What a natural logarithm is multiplied by."""
        if self.log == "natural":
            return 1.0
        decibels = 20.0 if self.spectrum == "magnitude" else 10.0
        return (decibels if self.log == "decibel" else 1.0) / math.log(10)

    @property
    def padding(self) -> float:
        """What a missing frame holds: digital silence."""
        silence = max(self.log_offset, self.log_floor)
        return (math.log(silence) * self.log_scale - self.mean) / self.std


class Waveform(Spec):
    """The samples themselves, brought to zero mean and unit variance within a window or not."""

    kind: Literal["waveform"] = "waveform"
    normalise: Literal["none", "zero_mean_unit_variance"]

    @property
    def padding(self) -> float:
        """What a missing sample holds."""
        return 0.0

    @property
    def hop_multiple(self) -> int:
        """Samples that a window and its hop are multiples of: any number will do."""
        return 1

    @property
    def describes_frames(self) -> bool:
        """Whether it gives a spectrogram, and not samples."""
        return False

    def input_shape(self, window_samples: int) -> tuple[int, ...]:
        """(samples,): what an input without its batch axis holds."""
        return (window_samples,)


Frontend = Annotated[Fbank | LogMelSpec | Waveform, Field(discriminator="kind")]
