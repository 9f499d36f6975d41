"""One ONNX Runtime session for a bundle: windows in, probabilities out."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import structlog

from detector.errors import BundleError, ProviderError
from detector.inference.bundle import Bundle
from detector.records import FloatArray, Scores, Window
from detector.spec import Activation, ClipOutput, FramesOutput

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

Provider = Literal["auto", "cpu", "cuda"]
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3
_FLOAT32 = "tensor(float)"
_FLOATS = (_FLOAT32, "tensor(float16)", "tensor(double)")

log = structlog.get_logger()


class Session:
    """A loaded model. Sessions live as long as the process: ONNX Runtime leaks closed ones."""

    def __init__(self, bundle: Bundle, provider: Provider = "auto", threads: int = 1) -> None:
        """Load the model.

        Args:
            bundle: what to load.
            provider: cuda demands a GPU; auto takes one if it works.
            threads: on how many CPU threads one window is computed.

        Raises:
            ProviderError: a GPU is demanded and does not work.
            BundleError: the model cannot be loaded, or is not what the bundle says.
        """
        self.spec = bundle.spec
        self._path = bundle.model_file
        self._ort = _open(bundle, provider, threads)
        self.provider: Literal["cpu", "cuda"] = (
            "cuda" if self._ort.get_providers()[0] == _CUDA else "cpu"
        )
        self._clip, self._frames = self.spec.outputs.clip, self.spec.outputs.frames
        self._names = [o.name for o in (self._clip, self._frames) if o is not None]
        self._check_input()
        self._check_outputs()

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        """Run the model once over a batch of windows.

        Raises:
            BundleError: the model's answer has not the shape that the bundle promises.
        """
        batch = windows[0].data[None] if len(windows) == 1 else np.stack([w.data for w in windows])
        values = self._ort.run(self._names, {self.spec.input.name: batch})
        results = dict(zip(self._names, values, strict=True))
        clip = self._probabilities(self._clip, results, len(batch))
        frames = self._probabilities(self._frames, results, len(batch))
        return [
            Scores(
                first_sample=window.first_sample,
                end_sample=window.end_sample,
                new_samples=window.new_samples,
                power=window.power,
                clip=None if clip is None else clip[i],
                frames=None if frames is None else frames[i],
            )
            for i, window in enumerate(windows)
        ]

    def _probabilities(
        self, output: ClipOutput | FramesOutput | None, results: dict[str, FloatArray], windows: int
    ) -> FloatArray | None:
        if output is None:
            return None
        values = results[output.name]
        self._check_shape(output, values.shape, windows)
        return activate(values, output.activation)

    def _check_shape(
        self,
        output: ClipOutput | FramesOutput,
        shape: Sequence[int | str | None],
        windows: int | None = None,
    ) -> None:
        """Refuse what is not (windows, labels) or (windows, frames, labels), as far as is known."""
        labels = len(self.spec.labels)
        wanted = [windows, None, labels] if isinstance(output, FramesOutput) else [windows, labels]
        if len(shape) != len(wanted) or any(
            isinstance(n, int) and w is not None and n != w
            for n, w in zip(shape, wanted, strict=True)
        ):
            raise BundleError(
                f"{self._path}: output {output.name!r} has the shape {list(shape)}; the bundle "
                f"promises {len(wanted)} axes, first the windows, last its {labels} labels"
            )

    def _check_input(self) -> None:
        """The model's input must be the one that the bundle names."""
        inputs = {i.name: i for i in self._ort.get_inputs()}
        name, shape = self.spec.input.name, self.spec.input.shape
        if list(inputs) != [name]:
            raise BundleError(
                f"{self._path}: input.name = {name!r}, but the model's inputs are {list(inputs)}"
            )
        found = inputs[name].shape
        same = len(found) == len(shape) and all(
            isinstance(f, str) or f is None or f == s
            for f, s in zip(found[1:], shape[1:], strict=True)
        )
        if not same:
            raise BundleError(
                f"{self._path}: input.shape = {list(shape)}, but the model's is {found}"
            )
        if isinstance(found[0], int):
            raise BundleError(
                f"{self._path}: the model's batch axis is fixed to {found[0]}; it must be dynamic"
            )
        if inputs[name].type != _FLOAT32:
            raise BundleError(
                f"{self._path}: the model's input {name!r} is a {inputs[name].type}; "
                f"it must be a {_FLOAT32}"
            )

    def _check_outputs(self) -> None:
        """The outputs that the bundle names must be there, and be what it says."""
        found = {o.name: o for o in self._ort.get_outputs()}
        for output in (self._clip, self._frames):
            if output is None:
                continue
            if output.name not in found:
                raise BundleError(
                    f"{self._path}: outputs names {output.name!r}, but the model's outputs are "
                    f"{list(found)}"
                )
            if found[output.name].type not in _FLOATS:
                raise BundleError(
                    f"{self._path}: output {output.name!r} is a {found[output.name].type}; "
                    f"it must be one of {', '.join(_FLOATS)}"
                )
            if found[output.name].shape:
                self._check_shape(output, found[output.name].shape)


def activate(logits: FloatArray, activation: Activation) -> FloatArray:
    """Turn logits into probabilities over the last axis."""
    logits = np.asarray(logits, np.float32)  # a model may answer in half precision
    if activation == "sigmoid":
        # tanh does not overflow: sigmoid(x) = (1 + tanh(x / 2)) / 2
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)
    if activation == "softmax":
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
    return logits


def _open(bundle: Bundle, provider: Provider, threads: int) -> Any:  # noqa: ANN401
    wanted = [_CPU]
    if provider != "cpu":
        if _CUDA in ort.get_available_providers():
            ort.preload_dlls()
            wanted = [_CUDA, _CPU]
        elif provider == "cuda":
            raise ProviderError(
                "provider = 'cuda', but the installed ONNX Runtime has no CUDA: install the "
                "extra 'gpu' in place of 'cpu' (pip install 'audio-event-detector[gpu]'), "
                "or set provider = 'cpu'"
            )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait by spinning would burn whole cores between two windows.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    settings: list[Any] = [
        (name, {"arena_extend_strategy": "kSameAsRequested"}) if name == _CUDA else name
        for name in wanted
    ]
    try:
        session = ort.InferenceSession(str(bundle.model_file), options, providers=settings)
    except Exception as error:  # noqa: BLE001 (ONNX Runtime's errors have no common class)
        raise BundleError(f"{bundle.model_file}: ONNX Runtime refuses it: {error}") from None
    # What a session was asked for and what it got are two things: it falls back in silence.
    if wanted[0] == _CUDA and session.get_providers()[0] != _CUDA:
        if provider == "cuda":
            raise ProviderError(
                "provider = 'cuda', but no GPU works here: is there one, and do `nvidia-smi` and "
                "its driver answer? Or set provider = 'cpu'"
            )
        log.warning("no GPU works here, the CPU computes", model=bundle.spec.id)
    return session
