"""One ONNX Runtime session for a bundle: windows in, probabilities out."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import numpy as np
import structlog

from detector.errors import BundleError, InferenceError, ProviderError
from detector.inference.bundle import Bundle
from detector.inference.declaration import Declaration, Tensor, check_declaration
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

    failures_are_final = True

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
        found = Declaration(_tensors(self._ort.get_inputs()), _tensors(self._ort.get_outputs()))
        check_declaration(found, self.spec, str(self._path), _FLOAT32, _FLOATS)

    @property
    def runs_on(self) -> str:
        return self.provider

    def connect(self) -> None:
        """Nothing is to be done: it is here."""

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        """Run the model once over a batch of windows; as `Scorer.score`."""
        batch = windows[0].data[None] if len(windows) == 1 else np.stack([w.data for w in windows])
        try:
            values = self._ort.run(self._names, {self.spec.input.name: batch})
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's errors have no common class)
            raise InferenceError(f"{self._path}: ONNX Runtime fails: {error}") from None
        return self._decoder.decode(windows, dict(zip(self._names, values, strict=True)))


def _tensors(arguments: Iterable[Any]) -> dict[str, Tensor]:
    """What ONNX Runtime says of a model's inputs, or outputs."""
    return {argument.name: Tensor(argument.type, argument.shape) for argument in arguments}


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
