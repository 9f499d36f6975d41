"""A model that a server computes: the Open Inference Protocol, version 2, over gRPC.

Triton, KServe, OpenVINO Model Server and others speak it. The client is the blocking one: `score`
is called in the model's own thread, which has nothing to do but wait for the answer, and gRPC waits
without holding up other threads.

A server that is away is no reason to end anything. Its windows are not scored; it is asked again by
a new connection, after a pause that grows to two seconds, and in between windows fail at once, so
that no source waits behind the deadlines of others. What the server has is checked before the first
window, and again after each failure: it may have changed.
"""

import os
import random
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, Final

import numpy as np
import structlog

from detector.errors import (
    BundleError,
    ConfigError,
    DetectorError,
    InferenceError,
    ServerAwayError,
)
from detector.inference.declaration import Declaration, Tensor, check_declaration
from detector.inference.decoding import Decoder
from detector.records import FloatArray, Scores, Window
from detector.settings.models import ModelSettings
from detector.settings.tls import TlsSettings
from detector.spec import BundleSpec

# Programs that are started from here leave gRPC alone; what it has to say, its errors say.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
import grpc
from tritonclient.grpc import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.utils import InferenceServerException

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 2.0
"""Before a server that is away is asked again; up to half of it is left to chance."""
CHECK_DEADLINE_S: Final = 2.0
"""For what takes a server no work, however long a window takes it."""
MOST_ANSWER_BYTES: Final = 64 * 2**20

_FLOAT32 = "FP32"
_FLOATS = (_FLOAT32, "FP16", "FP64")
_UNREACHED = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
_REFUSED = (
    *("NOT_FOUND", "INVALID_ARGUMENT", "UNIMPLEMENTED"),
    *("UNAUTHENTICATED", "PERMISSION_DENIED"),
)
_CHANNEL: Final = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", MOST_ANSWER_BYTES),
    # Else a new connection would be the old one, which may lead to nowhere.
    ("grpc.use_local_subchannel_pool", 1),
]

log = structlog.get_logger()


class RemoteModel:
    """A model on a server. One thread at a time uses it."""

    failures_are_final = False
    largest_batch = 32
    """A server gathers them with those of others; many more would make each wait for the last."""
    in_flight = 1
    """The thread waits for each answer."""

    def __init__(self, spec: BundleSpec, address: str, settings: ModelSettings) -> None:
        """Set up; the server is asked nothing yet.

        Args:
            spec: what the model must be.
            address: grpc://HOST:PORT or grpcs://HOST:PORT.
            settings: what else is said of the server.
        """
        self.spec, self.runs_on = spec, address
        self._tls = settings.remote_tls or TlsSettings()
        self._model = settings.remote_model or spec.name
        self._version = settings.remote_version or ""
        self._name = f"{address}: model {self._model}"
        self._decoder = Decoder(spec, self._name)
        self._deadline_s = settings.remote_deadline_s
        self._check_deadline_s = min(CHECK_DEADLINE_S, settings.remote_deadline_s)
        self._client: InferenceServerClient | None = None
        """To a server that was checked."""
        self._most_windows: int | None = None
        """So many the server takes at once, if it says so."""
        self._trouble: str | None = None
        """Why nothing could be scored, until something is."""
        self._pause_s = FIRST_PAUSE_S
        self._ask_again_at = 0.0
        """On the monotonic clock."""

    def connect(self) -> None:
        """See to it that the server has the model; does nothing where that is known.

        Raises:
            ServerAwayError: it does not answer, or did not a moment ago.
            BundleError: what it has is not what the bundle describes.
            ConfigError: a file of `remote_tls` cannot be read.
        """
        self._connected()

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        """Have the server score a batch of windows; as `Scorer.score`."""
        trouble = self._trouble
        try:
            client = self._connected()
        except BundleError as error:
            if str(error) != trouble:
                log.error("the server has another model", model=self.spec.id, error=str(error))  # noqa: TRY400 (it is no mistake of the program)
            raise
        most = self._most_windows or len(windows)
        scores: list[Scores] = []
        try:
            for begin in range(0, len(windows), most):
                scores += self._ask(client, windows[begin : begin + most])
        except DetectorError as error:
            client.close()
            self._client = None
            if isinstance(error, ServerAwayError):
                self._pause(error)
            raise
        if self._trouble:
            log.info("the server answers again", model=self.spec.id, server=self.runs_on)
        self._trouble, self._pause_s = None, FIRST_PAUSE_S
        return scores

    def _connected(self) -> InferenceServerClient:
        """A connection to a server that was checked; raises as `connect`."""
        if self._client is None:
            if self._trouble and monotonic() < self._ask_again_at:
                raise ServerAwayError(self._trouble)
            try:
                self._client = self._open()
            except DetectorError as error:
                self._pause(error)
                raise
        return self._client

    def _pause(self, why: DetectorError) -> None:
        self._trouble = str(why)
        self._ask_again_at = monotonic() + self._pause_s * random.uniform(0.5, 1)  # noqa: S311
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _open(self) -> InferenceServerClient:
        scheme, _, target = self.runs_on.partition("://")
        credentials = self._credentials() if scheme == "grpcs" else None
        client = InferenceServerClient(target, creds=credentials, channel_args=_CHANNEL)
        try:
            self._check(client)
        except BaseException:
            client.close()
            raise
        return client

    def _credentials(self) -> grpc.ChannelCredentials:
        files = (self._tls.ca_file, self._tls.key_file, self._tls.certificate_file)
        try:
            return grpc.ssl_channel_credentials(*(file and file.read_bytes() for file in files))
        except OSError as error:
            raise ConfigError(f"remote_tls: {error.filename}: {error.strerror}") from None

    # Before the first window

    def _check(self, client: InferenceServerClient) -> None:
        which, deadline_s = (self._model, self._version), self._check_deadline_s
        try:
            found = client.get_model_metadata(*which, client_timeout=deadline_s)
        except InferenceServerException as error:
            raise self._refusal(error) from None
        if found.name != self._model:
            raise BundleError(f"{self._name}: the server answers for a model {found.name!r}")
        if self._version and found.versions and self._version not in found.versions:
            raise BundleError(
                f"{self._name}: remote_version = {self._version!r}, but the server has "
                f"{list(found.versions)}"
            )
        declared = Declaration(_tensors(found.inputs), _tensors(found.outputs))
        check_declaration(declared, self.spec, self._name, _FLOAT32, _FLOATS)
        try:
            config = client.get_model_config(*which, client_timeout=deadline_s).config
        except InferenceServerException as error:  # Triton alone can say it
            if _code(error) in _UNREACHED:
                raise self._away(error, deadline_s) from None
            self._most_windows = None
        else:
            self._most_windows = config.max_batch_size or None

    def _refusal(self, error: InferenceServerException) -> DetectorError:
        """What it means that a server does not describe the model."""
        if _code(error) not in _REFUSED:
            return self._away(error, self._check_deadline_s)
        version = self._version and f", remote_version = {self._version!r}"
        return BundleError(
            f"{self.runs_on}: remote_model = {self._model!r}{version}: the server says: "
            f"{_text(error)}"
        )

    def _away(self, error: InferenceServerException, deadline_s: float) -> ServerAwayError:
        if _code(error) == "DEADLINE_EXCEEDED":
            why = f"it does not answer within {deadline_s:g} s"
        else:
            why = f"it cannot be asked: {_text(error)}"
        return ServerAwayError(f"{self._name}: {why}")

    # A window

    def _ask(self, client: InferenceServerClient, windows: Sequence[Window]) -> list[Scores]:
        batch = np.stack([window.data for window in windows])
        tensor = InferInput(self.spec.input.name, list(batch.shape), _FLOAT32)
        tensor.set_data_from_numpy(batch)
        names = [output.name for output in self._decoder.outputs]
        try:
            answer = client.infer(
                self._model,
                [tensor],
                self._version,
                [InferRequestedOutput(name) for name in names],
                client_timeout=self._deadline_s,
            )
        except InferenceServerException as error:
            if _code(error) not in (*_UNREACHED, "NOT_FOUND"):
                raise InferenceError(f"{self._name}: the server fails: {_text(error)}") from None
            raise self._away(error, self._deadline_s) from None
        return self._decoder.decode(windows, {name: self._values(answer, name) for name in names})

    def _values(self, answer: InferResult, name: str) -> FloatArray:
        """The numbers of an output."""
        tensor = answer.get_output(name)
        if tensor is None or tensor.datatype not in _FLOATS:
            found = "no such output" if tensor is None else f"a {tensor.datatype}"
            raise BundleError(f"{self._name}: output {name!r}: the answer has {found}")
        # They are bytes, or else numbers in the message.
        typed = tensor.contents.fp32_contents or tensor.contents.fp64_contents
        try:
            values = np.reshape(typed, tensor.shape) if typed else answer.as_numpy(name)
        except ValueError as error:
            raise InferenceError(f"{self._name}: output {name!r}: {error}") from None
        return np.asarray(values, np.float32)


def _tensors(declared: Iterable[Any]) -> dict[str, Tensor]:
    """What a server says of inputs or outputs; a negative length is free."""
    return {
        tensor.name: Tensor(tensor.datatype, [n if n >= 0 else None for n in tensor.shape])
        for tensor in declared
    }


def _code(error: InferenceServerException) -> str:
    return (error.status() or "").removeprefix("StatusCode.")


def _text(error: InferenceServerException) -> str:
    """What the server or gRPC says, in one line."""
    return " ".join((error.message() or _code(error)).split())
