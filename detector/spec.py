"""What a model is: the schema of `bundle.json`, the contract between export and detector.

The front end's part is read by features, the input's and the outputs' by inference, the labels'
by events. Whoever writes a bundle builds a `BundleSpec`; whoever reads one validates it.
"""

import math
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from detector.records import SAMPLE_RATE

FORMAT: Literal[1] = 1
"""The version of the contract. A bundle of another version is refused."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]
"""What topics, configs and commands call a label, a source or a model."""

Score = Annotated[float, Field(ge=0, le=1)]
Activation = Literal["sigmoid", "softmax", "none"]


class Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Origin(Spec):
    """The checkpoint that the bundle was made from."""

    checkpoint: str
    revision: str | None = None
    architecture: str


class Onnx(Spec):
    file: str = "model.onnx"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    opset: int = Field(ge=1)
    precision: Literal["fp32", "fp16", "int8"]

    @field_validator("file")
    @classmethod
    def _inside_the_folder(cls, file: str) -> str:
        plain = PurePosixPath(file).name == file and "\\" not in file and file.isprintable()
        if not plain or not file.endswith(".onnx"):  # the suffix tells the runtime how to read it
            raise ValueError("must be the plain name of an .onnx file beside bundle.json")
        return file


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


Frontend = Annotated[Fbank | LogMelSpec | Waveform, Field(discriminator="kind")]


class WindowSpec(Spec):
    """Samples at the bundle's rate."""

    samples: int = Field(ge=1)
    hop_samples: int = Field(ge=1)
    """The default; the configuration may ask for another."""

    @model_validator(mode="after")
    def _all_is_heard(self) -> Self:
        if self.hop_samples > self.samples:
            raise ValueError(f"hop_samples {self.hop_samples} > samples {self.samples}")
        return self


class Input(Spec):
    name: str
    shape: tuple[str | int, ...]
    """The first axis is the batch, named; the others are numbers."""


class ClipOutput(Spec):
    """One score set for the whole window: (batch, labels)."""

    name: str
    activation: Activation


class FramesOutput(Spec):
    """One score set for each frame of the model: (batch, frames, labels)."""

    name: str
    activation: Activation
    hop_samples: int = Field(ge=1)
    offset_samples: int = Field(ge=0)
    """Where the first frame begins in the window; frame i stands for
    `offset + i * hop` up to `offset + (i + 1) * hop`."""


class Outputs(Spec):
    clip: ClipOutput | None = None
    frames: FramesOutput | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if self.clip is None and self.frames is None:
            raise ValueError("has neither clip nor frames")
        return self


class Ctc(Spec):
    blank: str
    """The slug of the blank."""
    word_delimiter: str | None = None


class Label(Spec):
    slug: Slug
    name: str = Field(min_length=1, max_length=200)
    mid: str | None = None
    """Machine id in the AudioSet ontology."""
    onset_threshold: Score = 0.5
    offset_threshold: Score = 0.3
    min_duration_s: float = Field(0.0, ge=0)
    merge_gap_s: float = Field(0.0, ge=0)
    enabled: bool = True

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.offset_threshold > self.onset_threshold:
            raise ValueError(
                f"offset_threshold {self.offset_threshold} is above "
                f"onset_threshold {self.onset_threshold}"
            )
        return self


class BundleSpec(Spec):
    """`bundle.json`, whole."""

    format: Literal[1] = FORMAT
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    version: str = Field(pattern=r"^[0-9A-Za-z.+-]{1,32}$")
    created: str
    licence: str
    attribution: str
    source: Origin
    onnx: Onnx
    sample_rate: Literal[16_000] = 16_000
    frontend: Frontend
    window: WindowSpec
    input: Input
    outputs: Outputs
    decoding: Literal["multilabel", "multiclass", "ctc"]
    ctc: Ctc | None = None
    labels: tuple[Label, ...] = Field(min_length=1)
    metrics: dict[str, Any] = {}
    parity: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """What events call the model."""
        return f"{self.name}@{self.version}"

    @field_validator("labels")
    @classmethod
    def _unique(cls, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        seen: set[str] = set()
        for label in labels:
            if label.slug in seen:
                raise ValueError(f"slug {label.slug!r} stands twice; slugs name topics")
            seen.add(label.slug)
        return labels

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.decoding == "ctc") != (self.ctc is not None):
            raise ValueError("ctc: must be given if, and only if, decoding is 'ctc'")
        if self.ctc:
            self._check_ctc(self.ctc)
        batch, *rest = self.input.shape or ("",)
        if not isinstance(batch, str) or not all(isinstance(n, int) and n > 0 for n in rest):
            raise ValueError(
                f"input.shape: {self.input.shape} must be a named batch axis and positive numbers"
            )
        if isinstance(self.frontend, Fbank | LogMelSpec):
            self._check_frames(self.frontend, rest)
        elif rest != [self.window.samples]:
            raise ValueError(
                f"input.shape: {self.input.shape} does not hold "
                f"window.samples = {self.window.samples}"
            )
        return self

    def _check_ctc(self, ctc: Ctc) -> None:
        if self.outputs.frames is None:
            raise ValueError("outputs.frames: decoding 'ctc' needs the scores of frames")
        slugs = {label.slug for label in self.labels}
        for field, slug in (("blank", ctc.blank), ("word_delimiter", ctc.word_delimiter)):
            if slug is not None and slug not in slugs:
                raise ValueError(f"ctc.{field}: no label has the slug {slug!r}")

    def _check_frames(self, frontend: Fbank | LogMelSpec, shape: list[str | int]) -> None:
        for field in ("samples", "hop_samples"):
            value = getattr(self.window, field)
            if value % frontend.shift_samples:
                raise ValueError(
                    f"window.{field}: {value} is not a multiple of "
                    f"frontend.shift_samples = {frontend.shift_samples}"
                )
        frames = frontend.frames_in(self.window.samples)
        if not frames:
            raise ValueError(
                f"window.samples: {self.window.samples} do not hold one frame of "
                f"frontend.frame_samples = {frontend.frame_samples}"
            )
        if len(shape) != 2 or shape[1] != frontend.mel_bins or int(shape[0]) < frames:  # noqa: PLR2004
            raise ValueError(
                f"input.shape: {self.input.shape} does not hold the window's {frames} frames "
                f"of {frontend.mel_bins} mel bins"
            )
