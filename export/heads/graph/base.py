"""What a new layer is put on: the encoder of a checkpoint, or of a bundle."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from detector.errors import BundleError, ConfigError
from detector.features.windows import Windower, WindowRequest
from detector.inference.bundle import Bundle, built_in, load_bundle
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray
from detector.spec import Frontend, Input, Origin, WindowSpec
from export.checkpoints.checkpoint import Checkpoint, first_line, load_checkpoint
from export.convert import LARGEST_GRAPH, Encoder, lay_out
from export.graphs.attention import attention_layers
from export.graphs.graph import export_graph
from export.graphs.precision import Precision, to_precision
from export.heads.data.scenes import FrameGrid
from export.heads.graph.surgery import cut, find_hidden

HiddenStates = Callable[[FloatArray], FloatArray]
"""Inputs of the encoder, (n, ...) float32, to hidden states (n, steps, dim) or (n, dim)."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """How an encoder hears: all that a bundle made of it takes over."""

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

    def data(self, samples: FloatArray) -> FloatArray:
        """What the detector makes of a sound of at most a window: (*shape of the input,)."""
        whole = self.window.model_copy(update={"hop_samples": self.window.samples})
        rows = int(self.input.shape[1])
        windower = Windower([WindowRequest(self.frontend, whole, rows, trailing=False)])
        found = [*windower.push(AudioBlock(0, samples)), *windower.flush()]
        if found:
            return found[0][1].data
        # Too short for one frame: all of the window is padding.
        return np.full(tuple(map(int, self.input.shape[1:])), self.frontend.padding, np.float32)


@dataclass(frozen=True, slots=True)
class Base:
    """An encoder."""

    hearing: Hearing
    checkpoint: Checkpoint | None
    """What it is in PyTorch; None of a bundle, which is a graph alone."""
    _graph: onnx.ModelProto | None = None

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
        encoder = Encoder(self.checkpoint).eval()
        size = sum(t.nbytes for t in (*encoder.parameters(), *encoder.buffers()))
        if size > LARGEST_GRAPH:
            raise BundleError(
                f"{self.hearing.origin.checkpoint}: the weights have {size / 2**30:.1f} GiB; a "
                f"bundle's graph is one file, which can hold {LARGEST_GRAPH / 2**30:.1f}"
            )
        part = path.with_suffix(".part")
        example = torch.zeros(2, *map(int, self.hearing.input.shape[1:])).uniform_(-1, 1)
        try:
            export_graph(encoder, example, part, outputs=("hidden",))
        except (BundleError, OSError):
            raise
        except Exception as error:
            raise BundleError(
                f"{self.hearing.origin.checkpoint}: PyTorch's exporter cannot make a graph of its "
                f"encoder: {first_line(error)}"
            ) from error
        layers = attention_layers(self.checkpoint.config)
        to_precision(part, self.hearing.precision, layers=layers)
        part.replace(path)
        return cut(onnx.load(path), "hidden")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the person may ask of a base."""

    frames: bool = False
    window_s: float | None = None
    hop_s: float | None = None
    precision: Precision | None = None
    """Of a checkpoint's weights; fp32 if None."""
    revision: str | None = None
    allow_pickle: bool = False


def open_base(where: str, choice: Choice) -> Base:
    """Open the base `where`: a built-in bundle's name, a bundle's folder, or a checkpoint.

    Raises:
        ConfigError: there is nothing of that name, or it cannot do what is asked.
        BundleError: naming the file, what is wrong with it.
    """
    if where in built_in():
        return _of_bundle(load_bundle(where), choice)
    folder = Path(where).expanduser()
    if (folder / "bundle.json").is_file():
        return _of_bundle(load_bundle(str(folder.absolute())), choice)
    return _of_checkpoint(where, choice)


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


def _of_checkpoint(where: str, choice: Choice) -> Base:
    checkpoint = load_checkpoint(
        where, "encoder", revision=choice.revision, allow_pickle=choice.allow_pickle
    )
    # Windows and hops are those of a checkpoint that answers as the new layer will.
    as_task = replace(checkpoint, task="frames" if choice.frames else "clip")
    layout = lay_out(as_task, choice.window_s, choice.hop_s)
    return Base(
        Hearing(
            frontend=layout.frontend,
            window=layout.window,
            input=Input(name="input", shape=("batch", *layout.shape)),
            timing=(layout.timing.hop_samples, layout.timing.offset_samples),
            weighted=False,
            precision=choice.precision or "fp32",
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


def _of_bundle(bundle: Bundle, choice: Choice) -> Base:
    spec = bundle.spec
    for option, value in (
        ("--revision", choice.revision),
        ("--window", choice.window_s),
        ("--precision", choice.precision),
        ("--allow-pickle", choice.allow_pickle or None),
    ):
        if value is not None:
            raise ConfigError(f"{option}: {spec.id} is a bundle; only checkpoints take it")
    model = onnx.load(bundle.model_file)
    output = spec.outputs.clip or spec.outputs.frames
    if output is None:
        raise ValueError("a bundle has an output")
    try:
        place = find_hidden(model, output.name, len(spec.labels))
        encoder = cut(model, place.hidden)
    except BundleError as error:
        raise BundleError(f"{bundle.model_file}: {error}") from None
    base = Base(
        Hearing(
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
    )
    steps = _steps(base)
    timing = None
    if steps is not None:
        if spec.outputs.frames is not None and spec.outputs.clip is None:
            frames = spec.outputs.frames
            timing = (frames.hop_samples, frames.offset_samples)
        elif not _extent(spec.frontend, spec.input) % steps:  # they divide what the network sees
            timing = (_extent(spec.frontend, spec.input) // steps, 0)
    if choice.frames and timing is None:
        raise ConfigError(
            f"--frames: before its last layer {spec.id} has one hidden state for the whole window; "
            "it can score the window alone"
        )
    hearing = replace(base.hearing, timing=timing)
    hop = _hop(hearing, choice)
    window = spec.window.model_copy(update={"hop_samples": hop})
    return replace(base, hearing=replace(hearing, window=window))


def _extent(frontend: Frontend, given: Input) -> int:
    """Samples that the input stands for, its padding included."""
    return int(given.shape[1]) * frontend.hop_multiple


def _steps(base: Base) -> int | None:
    hearing = base.hearing
    hidden, _ = run_graph(base.graph(Path()))
    quiet = hearing.data(np.zeros(hearing.window.samples, np.float32))
    shape = hidden(np.stack([quiet, quiet])).shape
    if len(shape) not in (2, 3) or shape[0] != 2:  # noqa: PLR2004
        raise BundleError(
            f"{hearing.origin.checkpoint}: its last layer is given {list(shape)}, which is neither "
            "(windows, dim) nor (windows, steps, dim)"
        )
    return shape[1] if len(shape) == 3 else None  # noqa: PLR2004


def _hop(hearing: Hearing, choice: Choice) -> int:
    step = hearing.frontend.hop_multiple
    if choice.frames and hearing.timing is not None:
        step = int(np.lcm(step, hearing.timing[0]))  # so the frames of all windows coincide
    window = hearing.window
    if choice.hop_s is None:
        return max(step, window.hop_samples // step * step)
    hop = round(choice.hop_s * SAMPLE_RATE)
    if hop % step or not 0 < hop <= window.samples:
        raise ConfigError(
            f"--hop {choice.hop_s:g}: {hearing.origin.checkpoint} takes a multiple of "
            f"{step / SAMPLE_RATE:g} s, at most its window of {window.samples / SAMPLE_RATE:g} s"
        )
    return hop


def grid_of(hearing: Hearing, steps: int | None) -> FrameGrid | None:
    """How the hidden states lie in the window, if they are frames in time."""
    if steps is None or hearing.timing is None:
        return None
    return FrameGrid(steps, *hearing.timing)
