"""From a checkpoint to a bundle.

`lay_out` says how the checkpoint's windows and frames lie in time, `Wrapped` and `Encoder` are
networks that take exactly what the bundle's input holds, and `export_checkpoint` writes the whole.
"""

import math
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from detector.errors import BundleError, ConfigError
from detector.inference.bundle import Bundle
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import (
    Activation,
    BundleSpec,
    ClipOutput,
    Ctc,
    FramesOutput,
    Frontend,
    Input,
    Label,
    Onnx,
    Origin,
    Outputs,
    WindowSpec,
)
from detector.validation_errors import explain
from export.bundle import describe as describe_graph
from export.bundle import write_bundle
from export.checkpoints.checkpoint import Checkpoint, Decoding, Task, first_line
from export.checkpoints.families import Timing
from export.graphs.attention import attention_layers
from export.graphs.graph import OPSET, export_graph
from export.graphs.precision import PARITY_LIMITS, Precision, to_precision
from export.parity.parity import compare_bundle, probabilities, sounds_to_compare

LARGEST_GRAPH = 2**31 - 2**24
"""Bytes of weights: a protobuf message ends at 2 GiB, and the graph itself needs some."""

WINDOW_S = {"clip": 5.12, "frames": 4.0, "ctc": 4.0, "encoder": 5.12}
"""Seconds, where the network takes any length. A tagger needs context; frames are timed by what is
near them, and a shorter window is cheaper."""
HOP_S = {"clip": 1.0, "frames": 0.5, "ctc": 0.5, "encoder": 1.0}
"""Seconds. A network's work grows with one over it; delay, and the error of a tagger's times, with
it."""

Reference = Callable[[FloatArray], FloatArray]
"""Windows of sound, (batch, samples), to the logits that the bundle must give for them."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the person who exports decides."""

    name: str | None = None
    """The folder's name, if None."""
    version: str = "1"
    window_s: float | None = None
    hop_s: float | None = None
    precision: Precision = "fp32"
    licence: str | None = None
    """What the model card says, if None."""
    attribution: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What the network hears at a time, and how its frames lie in that."""

    frontend: Frontend
    window: WindowSpec
    shape: tuple[int, ...]
    """Of one input of the graph, without the batch axis."""
    timing: Timing


@dataclass(frozen=True, slots=True)
class Answer:
    """What the outputs of a network mean."""

    task: Task
    labels: tuple[Label, ...]
    decoding: Decoding
    ctc: Ctc | None = None

    @property
    def activation(self) -> Activation:
        return "sigmoid" if self.decoding == "multilabel" else "softmax"

    @property
    def output(self) -> Literal["clip", "frames"]:
        """What the graph calls its output."""
        return "clip" if self.task == "clip" else "frames"


def lay_out(
    checkpoint: Checkpoint, window_s: float | None = None, hop_s: float | None = None
) -> Layout:
    """How the checkpoint's windows and frames lie in time.

    Raises:
        ConfigError: the checkpoint cannot have such windows.
        BundleError: its feature extractor does not fit its network.
    """
    features, family = checkpoint.features, checkpoint.family
    for theirs, ours in (family.sizes or {}).items():
        found, wanted = features.setting(theirs), getattr(checkpoint.config, ours)
        if found != wanted:
            raise BundleError(
                f"{checkpoint.origin.checkpoint}: the feature extractor's {theirs} = {found}, but "
                f"config.json's {ours} = {wanted}: they belong to different models"
            )
    timing = family.timing(features, checkpoint.config)
    window = _window(checkpoint, timing, window_s)
    return Layout(
        frontend=features.frontend,
        window=WindowSpec(samples=window, hop_samples=_hop(checkpoint, timing, window, hop_s)),
        shape=features.shape(window),
        timing=timing,
    )


def _window(checkpoint: Checkpoint, timing: Timing, window_s: float | None) -> int:
    family = checkpoint.family
    wanted = None if window_s is None else round(window_s * SAMPLE_RATE)
    if family.window is not None:
        dictated = int(family.window(checkpoint.config))
        if wanted not in (None, dictated):
            raise ConfigError(
                f"--window {window_s}: {checkpoint.origin.architecture} takes windows of "
                f"{dictated / SAMPLE_RATE:g} s alone; leave the option out"
            )
        return dictated
    step = math.lcm(checkpoint.features.step, timing.hop_samples)
    if wanted is None:
        return round(WINDOW_S[checkpoint.task] * SAMPLE_RATE) // step * step
    if wanted % step or wanted < timing.span_samples:
        raise ConfigError(
            f"--window {window_s}: {checkpoint.origin.architecture} takes a multiple of "
            f"{step / SAMPLE_RATE:g} s, at least {timing.span_samples / SAMPLE_RATE:g} s"
        )
    return wanted


def _hop(checkpoint: Checkpoint, timing: Timing, window: int, hop_s: float | None) -> int:
    step = checkpoint.features.frontend.hop_multiple
    if checkpoint.task in ("frames", "ctc"):
        step = math.lcm(step, timing.hop_samples)  # so the frames of all windows coincide
    if hop_s is None:
        return min(max(round(HOP_S[checkpoint.task] * SAMPLE_RATE) // step * step, step), window)
    hop = round(hop_s * SAMPLE_RATE)
    if hop % step or not 0 < hop <= window:
        raise ConfigError(
            f"--hop {hop_s}: {checkpoint.origin.architecture} takes a multiple of "
            f"{step / SAMPLE_RATE:g} s, at most its window of {window / SAMPLE_RATE:g} s"
        )
    return hop


class Wrapped(nn.Module):
    """The checkpoint's whole network, from the bundle's input to its logits."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.prelude = checkpoint.features.prelude()
        self.model = checkpoint.model
        self.keyword = checkpoint.family.keyword

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, *shape of the input) to (batch, labels) or (batch, frames, labels)."""
        logits: torch.Tensor = self.model(**{self.keyword: self.prelude(values)}).logits
        return logits


class Encoder(nn.Module):
    """The checkpoint's encoder, from the bundle's input to hidden states, one for each frame."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        family, model = checkpoint.family, checkpoint.model
        self.prelude = checkpoint.features.prelude()
        self.model = getattr(model, family.encoder) if family.encoder else model.base_model
        self.keyword = family.keyword
        self.pool, self.config = family.pool, checkpoint.config

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, *shape of the input) to (batch, frames, dim), as `Layout.timing` says."""
        outputs = self.model(**{self.keyword: self.prelude(values)})
        hidden: torch.Tensor = outputs.last_hidden_state
        return hidden if self.pool is None else self.pool(hidden, self.config)


def reference(checkpoint: Checkpoint) -> Reference:
    """What the checkpoint says of sounds with its own feature extractor, in PyTorch."""

    def logits(sounds: FloatArray) -> FloatArray:
        values = checkpoint.features.reference(sounds)
        with torch.no_grad():
            outputs = checkpoint.model(**{checkpoint.family.keyword: values})
        return np.asarray(outputs.logits.numpy(), np.float32)

    return logits


def describe(
    name: str, layout: Layout, answer: Answer, origin: Origin, options: Options
) -> BundleSpec:
    """What `bundle.json` will say, of no graph yet.

    Raises:
        ConfigError: an option says what no bundle can.
    """
    clip = ClipOutput(name="clip", activation=answer.activation)
    frames = FramesOutput(
        name="frames",
        activation=answer.activation,
        hop_samples=layout.timing.hop_samples,
        offset_samples=layout.timing.offset_samples,
    )
    try:
        return BundleSpec(
            name=name,
            version=options.version,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            licence=options.licence or "unknown",
            attribution=options.attribution or f"made from {origin.checkpoint}",
            source=origin,
            onnx=Onnx(sha256="0" * 64, opset=OPSET, precision=options.precision),
            frontend=layout.frontend,
            window=layout.window,
            input=Input(name="input", shape=("batch", *layout.shape)),
            outputs=Outputs(clip=clip) if answer.output == "clip" else Outputs(frames=frames),
            decoding=answer.decoding,
            ctc=answer.ctc,
            labels=answer.labels,
        )
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, BundleSpec))) from None


def export_checkpoint(checkpoint: Checkpoint, out: Path, options: Options) -> BundleSpec:
    """Write a checkpoint as the bundle `out`, whole or not at all.

    Args:
        checkpoint: what to export.
        out: the bundle's folder; a bundle that is there is replaced.
        options: what the person decides.

    Raises:
        ConfigError: an option asks for what the checkpoint cannot do, or `out` cannot be a
            bundle's folder.
        BundleError: the network cannot be exported, does not say what the checkpoint says, or
            cannot be written.
    """
    if checkpoint.decoding is None:
        raise ValueError("checkpoint: an encoder has no answer; it needs a head")
    layout = lay_out(checkpoint, options.window_s, options.hop_s)
    answer = Answer(checkpoint.task, checkpoint.labels, checkpoint.decoding, checkpoint.ctc)
    options = replace(options, licence=options.licence or checkpoint.licence)
    spec = describe(options.name or name_of(out), layout, answer, checkpoint.origin, options)
    sounds = sounds_to_compare(layout.window.samples)
    limit = PARITY_LIMITS[options.precision]
    try:
        check_out(out)
        right = probabilities(_listen(reference(checkpoint), sounds), answer.activation)
        near = next(parent for parent in out.absolute().parents if parent.is_dir())
        with tempfile.TemporaryDirectory(dir=near, prefix=f".{out.name}-") as scratch:
            graph = Path(scratch) / spec.onnx.file
            _export(Wrapped(checkpoint).eval(), layout, graph, answer.output)
            made = to_precision(
                graph, options.precision, layers=attention_layers(checkpoint.config)
            )
            spec = spec.model_copy(update={"onnx": describe_graph(graph, options.precision)})
            parity = compare_bundle(Bundle(graph.parent, spec), sounds, right, limit).as_json()
            parity["fused_attention"] = made.fused_attention
            spec = spec.model_copy(update={"parity": parity})
            write_bundle(out, graph, spec, named_as_folder=False)
    except OSError as error:
        raise BundleError(f"{out}: cannot be written: {error.strerror or error}") from None
    return spec


def _listen(expected: Reference, sounds: FloatArray) -> FloatArray:
    try:
        return expected(sounds)
    except Exception as error:
        raise BundleError(
            "the checkpoint's network cannot hear what its feature extractor delivers; they belong "
            f"to different models: {first_line(error)}"
        ) from error


def _export(module: nn.Module, layout: Layout, graph: Path, output: str) -> None:
    size = sum(t.nbytes for t in (*module.parameters(), *module.buffers()))
    if size > LARGEST_GRAPH:
        raise BundleError(
            f"the weights have {size / 2**30:.1f} GiB; a bundle's graph is one file, which can "
            f"hold {LARGEST_GRAPH / 2**30:.1f}"
        )
    example = torch.zeros(2, *layout.shape).uniform_(-1, 1)
    try:
        export_graph(module, example, graph, outputs=(output,))
    except (OSError, BundleError):
        raise
    except Exception as error:
        raise BundleError(
            f"PyTorch's exporter cannot make a graph of this model: {first_line(error)}"
        ) from error


def name_of(out: Path) -> str:
    """The folder's name, in the letters that a bundle's name can have."""
    return re.sub(r"[^a-z0-9_-]+", "-", out.absolute().name.lower()).lstrip("-_")[:64] or "model"


def check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; a bundle is a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "bundle.json").is_file():
        raise ConfigError(
            f"--out {out}: is a folder with other things in it, which a bundle would replace; "
            "name one that does not exist yet"
        )
