"""One ONNX Runtime session for a bundle: windows in, probabilities out."""

import os
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import structlog

from detector.errors import BundleError, InferenceError, ProviderError
from detector.inference.bundle import Bundle
from detector.inference.decoding import Decoder
from detector.records import Scores, Window

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

Provider = Literal["auto", "cpu", "cuda"]
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3
_FLOAT32 = "tensor(float)"
_FLOATS = (_FLOAT32, "tensor(float16)", "tensor(double)")

LARGEST_BATCH: Final = {"cpu": 4, "cuda": 32}
"""On two cores a window of the built-in models costs up to 28 % less in a batch of four, and no
less, or more, in larger ones."""

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
        self.largest_batch = LARGEST_BATCH[self.provider]
        self.in_flight = 1
        self._decoder = Decoder(self.spec, str(self._path))
        self._names = [output.name for output in self._decoder.outputs]
        self._check_input()
        self._check_outputs()

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        """Run the model once over a batch of windows; as `Scorer.score`."""
        batch = windows[0].data[None] if len(windows) == 1 else np.stack([w.data for w in windows])
        try:
            values = self._ort.run(self._names, {self.spec.input.name: batch})
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's errors have no common class)
            raise InferenceError(f"{self._path}: ONNX Runtime fails: {error}") from None
        return self._decoder.decode(windows, dict(zip(self._names, values, strict=True)))

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
        for output in self._decoder.outputs:
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
                self._decoder.check_shape(output, found[output.name].shape)


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
