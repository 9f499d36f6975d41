"""What a model is: the schema of `bundle.json`, the contract between export and detector.

The front end's part is read by features, the input's and the outputs' by inference, the labels'
by events. Whoever writes a bundle builds a `BundleSpec`; whoever reads one validates it.
"""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from detector.errors import ConfigError
from detector.front_end_spec import Fbank, Frontend, LogMelSpec, Spec, Waveform
from detector.records import SAMPLE_RATE

__all__ = [
    "FORMAT",
    "Activation",
    "BundleSpec",
    "ClipOutput",
    "Ctc",
    "Decoding",
    "Fbank",
    "FramesOutput",
    "Frontend",
    "Input",
    "Label",
    "LogMelSpec",
    "Onnx",
    "Origin",
    "Outputs",
    "Score",
    "Slug",
    "Waveform",
    "WindowSpec",
    "hop_in_samples",
]

FORMAT: Literal[1] = 1
"""The version of the contract. A bundle of another version is refused."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]
"""What topics, configs and commands call a label, a source or a model."""

Score = Annotated[float, Field(ge=0, le=1)]
Activation = Literal["sigmoid", "softmax", "none"]
Decoding = Literal["multilabel", "multiclass", "ctc"]


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


def hop_in_samples(hop_s: float, step_samples: int, window_samples: int, subject: str) -> int:
    """A hop that is asked for.

    Args:
        hop_s: seconds.
        step_samples: what it must be a multiple of.
        window_samples: what it may be at most.
        subject: who asks and whose hop it is, for the error: `--hop 0.3: AST`.

    Raises:
        ConfigError: saying which hops there can be.
    """
    hop = round(hop_s * SAMPLE_RATE)
    if hop % step_samples or not 0 < hop <= window_samples:
        raise ConfigError(
            f"{subject} takes a multiple of {step_samples / SAMPLE_RATE:g} s, at most its window "
            f"of {window_samples / SAMPLE_RATE:g} s"
        )
    return hop


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

    @property
    def first(self) -> ClipOutput | FramesOutput:
        """The output of the window if there is one, else that of its frames."""
        output = self.clip or self.frames
        if output is None:
            raise ValueError("outputs: has neither clip nor frames")
        return output


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
    children: tuple[Slug, ...] = ()
    """Labels of the same bundle that are kinds of this one. Its score is the highest of its own,
    theirs, and that of their children in turn."""
    aliases: tuple[Slug, ...] = ()
    """Other names by which a configuration may call it."""

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
    decoding: Decoding
    ctc: Ctc | None = None
    labels: tuple[Label, ...] = Field(min_length=1)
    metrics: dict[str, Any] = Field(default_factory=dict)
    parity: dict[str, Any] = Field(default_factory=dict)

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
        for label in labels:
            for child in label.children:
                if child not in seen:
                    raise ValueError(f"{label.slug}.children: no label has the slug {child!r}")
        for label in labels:
            for alias in label.aliases:
                if alias in seen:
                    raise ValueError(f"{label.slug}.aliases: {alias!r} stands for another label")
                seen.add(alias)
        return labels

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.decoding == "ctc") != (self.ctc is not None):
            raise ValueError("ctc: must be given if, and only if, decoding is 'ctc'")
        if self.ctc:
            self._check_ctc(self.ctc)
        if self.decoding != "multilabel" and any(label.children for label in self.labels):
            raise ValueError(f"labels.children: labels exclude each other, being {self.decoding}")
        batch, *rest = self.input.shape or ("",)
        if not isinstance(batch, str) or not all(isinstance(n, int) and n > 0 for n in rest):
            raise ValueError(
                f"input.shape: {self.input.shape} must be a named batch axis and positive numbers"
            )
        self._check_window()
        self._check_input(tuple(int(n) for n in rest))
        return self

    def _check_ctc(self, ctc: Ctc) -> None:
        if self.outputs.frames is None:
            raise ValueError("outputs.frames: decoding 'ctc' needs the scores of frames")
        slugs = {label.slug for label in self.labels}
        for field, slug in (("blank", ctc.blank), ("word_delimiter", ctc.word_delimiter)):
            if slug is not None and slug not in slugs:
                raise ValueError(f"ctc.{field}: no label has the slug {slug!r}")

    def _check_window(self) -> None:
        multiple = self.frontend.hop_multiple
        for field in ("samples", "hop_samples"):
            value = getattr(self.window, field)
            if value % multiple:
                raise ValueError(
                    f"window.{field}: {value} is not a multiple of "
                    f"frontend.shift_samples = {multiple}"
                )

    def _check_input(self, shape: tuple[int, ...]) -> None:
        least = self.frontend.input_shape(self.window.samples)
        if not self.frontend.describes_frames:
            if shape != least:
                raise ValueError(
                    f"input.shape: {self.input.shape} does not hold "
                    f"window.samples = {self.window.samples}"
                )
            return
        if not least[0]:
            raise ValueError(
                f"window.samples: {self.window.samples} do not hold one frame of "
                "frontend.frame_samples"
            )
        if len(shape) != len(least) or shape[1:] != least[1:] or shape[0] < least[0]:
            raise ValueError(
                f"input.shape: {self.input.shape} does not hold the window's {least[0]} frames "
                f"of {least[1]} mel bins"
            )
