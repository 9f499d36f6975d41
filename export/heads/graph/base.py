"""What a new layer is put on: the encoder of a checkpoint, or of a bundle."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from detector.errors import BundleError, ConfigError
from detector.inference.bundle import Bundle, built_in, load_bundle
from detector.records import FloatArray
from detector.spec import BundleSpec, Frontend, Input, Origin, WindowSpec, hop_in_samples
from export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from export.checkpoints.layout import lay_out
from export.checkpoints.network import Encoder
from export.features.window import window_of
from export.graphs.attention import attention_layers
from export.graphs.graph import export_network
from export.graphs.precision import Precision, to_precision
from export.heads.data.negatives import read_negatives
from export.heads.graph.frame_grid import FrameGrid
from export.heads.graph.surgery import cut, find_hidden

HiddenStates = Callable[[FloatArray], FloatArray]
"""Inputs of the encoder, (n, ...) float32, to hidden states (n, steps, dim) or (n, dim)."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What an encoder takes and gives: all that a bundle made of it takes over."""

    frontend: Frontend
    window: WindowSpec
    input: Input
    timing: tuple[int, int] | None
    """Hop and offset of the hidden states in samples; None if they are not frames in time."""
    weighted: bool
    """Whether the base's own head weights its hidden states, rather than take their mean."""
    precision: Precision
    origin: Origin
    licence: str
    attribution: str
    identity: str
    """Of the very weights: differs where they do."""

    def features(self, samples: FloatArray) -> FloatArray:
        """What the detector makes of a sound of at most a window: (*shape of the input,)."""
        return window_of(samples, self).data


@dataclass(frozen=True, slots=True)
class Base:
    """An encoder."""

    spec: EncoderSpec
    checkpoint: Checkpoint | None
    """What it is in PyTorch; None of a bundle, which is a graph alone."""
    _graph: onnx.ModelProto | None = None
    negatives: FloatArray | None = None
    """(windows, few, dim): hidden states of what is none of the labels, if it brings any along."""

    def graph(self, folder: Path) -> onnx.ModelProto:
        """The encoder alone, its output the hidden states.

        Args:
            folder: where a checkpoint's graph is written, or read if it is there already.

        Raises:
            BundleError: PyTorch's exporter cannot make a graph of the checkpoint.
        """
        if self._graph is not None:
            return self._graph
        if self.checkpoint is None:
            raise ValueError("a base is a graph or a checkpoint")
        path = folder / "encoder.onnx"
        if path.is_file():
            return cut(onnx.load(path), "hidden")
        part = path.with_suffix(".part")
        shape = tuple(map(int, self.spec.input.shape[1:]))
        export_network(Encoder(self.checkpoint).eval(), shape, part, "hidden")
        layers = attention_layers(self.checkpoint.config)
        to_precision(part, self.spec.precision, layers=layers)
        part.replace(path)
        return cut(onnx.load(path), "hidden")


@dataclass(frozen=True, slots=True)
class BaseOptions:
    """What the person may ask of a base."""

    frames: bool = False
    window_s: float | None = None
    hop_s: float | None = None
    precision: Precision | None = None
    """Of a checkpoint's weights; fp32 if None."""
    revision: str | None = None
    allow_pickle: bool = False


def open_base(where: str, options: BaseOptions) -> Base:
    """Open the base `where`: a built-in bundle's name, a bundle's folder, or a checkpoint.

    Raises:
        ConfigError: there is nothing of that name, or it cannot do what is asked.
        BundleError: naming the file, what is wrong with it.
    """
    if where in built_in():
        return _of_bundle(load_bundle(where), options)
    folder = Path(where).expanduser()
    if (folder / "bundle.json").is_file():
        return _of_bundle(load_bundle(str(folder.absolute())), options)
    return _of_checkpoint(where, options)


def run_graph(encoder: onnx.ModelProto, threads: int = 0) -> tuple[HiddenStates, bool]:
    """A graph that was cut, ready to hear; and whether its hidden states are float32.

    Args:
        encoder: one input, one output.
        threads: 0 for as many as the machine has cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        encoder.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def hidden(inputs: FloatArray) -> FloatArray:
        return np.asarray(session.run(None, {name: inputs})[0], np.float32)

    return hidden, session.get_outputs()[0].type == "tensor(float)"


def _of_checkpoint(where: str, options: BaseOptions) -> Base:
    checkpoint = load_checkpoint(
        where, "encoder", revision=options.revision, allow_pickle=options.allow_pickle
    )
    # Windows and hops are those of a checkpoint that answers as the new layer will.
    as_task = replace(checkpoint, task="frames" if options.frames else "clip")
    layout = lay_out(as_task, options.window_s, options.hop_s)
    return Base(
        EncoderSpec(
            frontend=layout.frontend,
            window=layout.window,
            input=Input(name="input", shape=("batch", *layout.shape)),
            timing=layout.timing.grid,
            weighted=False,
            precision=options.precision or "fp32",
            origin=checkpoint.origin,
            licence=checkpoint.licence,
            attribution=f"made from {checkpoint.origin.checkpoint}",
            identity=_identity(checkpoint),
        ),
        checkpoint,
    )


def _identity(checkpoint: Checkpoint) -> str:
    """SHA-256 of every weight."""
    digest = hashlib.sha256()
    for name, weights in checkpoint.model.state_dict().items():
        digest.update(f"{name} {tuple(weights.shape)}".encode())
        digest.update(weights.contiguous().numpy().data)
    return digest.hexdigest()


def _of_bundle(bundle: Bundle, options: BaseOptions) -> Base:
    spec = bundle.spec
    for option, value in (
        ("--revision", options.revision),
        ("--window", options.window_s),
        ("--precision", options.precision),
        ("--allow-pickle", options.allow_pickle or None),
    ):
        if value is not None:
            raise ConfigError(f"{option}: {spec.id} is a bundle; only checkpoints take it")
    model = onnx.load(bundle.model_file)
    try:
        place = find_hidden(model, spec.outputs.first.name, len(spec.labels))
        encoder = cut(model, place.hidden)
    except BundleError as error:
        raise BundleError(f"{bundle.model_file}: {error}") from None
    base = Base(
        EncoderSpec(
            frontend=spec.frontend,
            window=spec.window,
            input=spec.input,
            timing=None,
            weighted=place.weighted,
            precision=spec.onnx.precision,
            origin=Origin(
                checkpoint=spec.id,
                revision=spec.onnx.sha256[:12],
                architecture=spec.source.architecture,
            ),
            licence=spec.licence,
            attribution=f"Made from {spec.id}. {spec.attribution}",
            identity=spec.onnx.sha256,
        ),
        None,
        encoder,
        read_negatives(bundle.folder),
    )
    steps = _steps(base)
    timing = None
    if steps is not None:
        if spec.outputs.frames is not None and spec.outputs.clip is None:
            frames = spec.outputs.frames
            timing = (frames.hop_samples, frames.offset_samples)
        elif not (size := _input_samples(spec)) % steps:  # they divide what the network sees
            timing = (size // steps, 0)
    if options.frames and timing is None:
        raise ConfigError(
            f"--frames: before its last layer {spec.id} has one hidden state for the whole window; "
            "it can score the window alone"
        )
    encoder_spec = replace(base.spec, timing=timing)
    hop = _hop(encoder_spec, options)
    window = spec.window.model_copy(update={"hop_samples": hop})
    return replace(base, spec=replace(encoder_spec, window=window))


def _input_samples(spec: BundleSpec) -> int:
    """Samples that the input stands for, its padding included."""
    return int(spec.input.shape[1]) * spec.frontend.hop_multiple


def _steps(base: Base) -> int | None:
    spec = base.spec
    hidden, _ = run_graph(base.graph(Path()))
    quiet = spec.features(np.zeros(spec.window.samples, np.float32))
    shape = hidden(np.stack([quiet, quiet])).shape
    if len(shape) not in (2, 3) or shape[0] != 2:  # noqa: PLR2004
        raise BundleError(
            f"{spec.origin.checkpoint}: its last layer is given {list(shape)}, which is neither "
            "(windows, dim) nor (windows, steps, dim)"
        )
    return shape[1] if len(shape) == 3 else None  # noqa: PLR2004


def _hop(spec: EncoderSpec, options: BaseOptions) -> int:
    step = spec.frontend.hop_multiple
    if options.frames and spec.timing is not None:
        step = int(np.lcm(step, spec.timing[0]))  # so the frames of all windows coincide
    window = spec.window
    if options.hop_s is None:
        return max(step, window.hop_samples // step * step)
    subject = f"--hop {options.hop_s:g}: {spec.origin.checkpoint}"
    return hop_in_samples(options.hop_s, step, window.samples, subject)


def grid_of(spec: EncoderSpec, steps: int | None) -> FrameGrid | None:
    """How the hidden states lie in the window, if they are frames in time."""
    if steps is None or spec.timing is None:
        return None
    return FrameGrid(steps, *spec.timing)
