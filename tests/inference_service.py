"""An inference server of a few lines: the Open Inference Protocol, made of tritonclient's stubs.

    python -m tests.inference_service PORT BUNDLE…

runs one as a process, which can be stopped and killed; within a test its attributes make it answer
what no good server would.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import onnxruntime
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from detector.inference.bundle import Bundle, load_bundle
from tests.broker import free_port

_PATIENCE_S = 30.0


class Model:
    """A bundle that is served."""

    def __init__(self, bundle: Bundle) -> None:
        spec = bundle.spec
        self.session = onnxruntime.InferenceSession(
            bundle.model_file, providers=["CPUExecutionProvider"]
        )
        shape = [-1, *(int(n) for n in spec.input.shape[1:])]
        self.metadata = pb.ModelMetadataResponse(name=spec.name, versions=["1", "2"])
        self.metadata.inputs.add(name=spec.input.name, datatype="FP32", shape=shape)
        for output in self.session.get_outputs():
            free = [n if isinstance(n, int) else -1 for n in output.shape]
            self.metadata.outputs.add(name=output.name, datatype="FP32", shape=free)
        self.most_windows: int | None = None
        """As Triton would say it."""
        self.batches: list[int] = []
        """How many windows were asked for, each time."""
        self.edit: Callable[[pb.ModelInferResponse], object] = lambda _: None
        """Changes an answer."""
        self.error: tuple[grpc.StatusCode, str] | None = None
        """Answers so instead."""
        self.answers = threading.Event()
        """Cleared: it hangs."""
        self.answers.set()

    def infer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        self.answers.wait(_PATIENCE_S)
        [tensor], [data] = request.inputs, request.raw_input_contents
        batch = np.frombuffer(data, np.float32).reshape(tensor.shape)
        self.batches.append(len(batch))
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="2")
        names = [output.name for output in request.outputs]
        for name, values in zip(names, self.session.run(names, {tensor.name: batch}), strict=True):
            response.outputs.add(name=name, datatype="FP32", shape=values.shape)
            response.raw_output_contents.append(values.tobytes())
        self.edit(response)
        return response


class InferenceService(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves bundles on 127.0.0.1."""

    def __init__(self, *bundles: str | Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.models = {
            bundle.spec.name: Model(bundle) for bundle in map(load_bundle, map(str, bundles))
        }
        self._server: grpc.Server | None = None

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self, credentials: grpc.ServerCredentials | None = None) -> Self:
        self._server = grpc.server(
            ThreadPoolExecutor(8),
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        target = f"127.0.0.1:{self.port}"
        if credentials:
            self._server.add_secure_port(target, credentials)
        else:
            self._server.add_insecure_port(target)
        self._server.start()
        return self

    def stop(self) -> None:
        for model in self.models.values():
            model.answers.set()
        if self._server:
            self._server.stop(None).wait()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # The protocol

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._model(request.name, request.version, context).metadata

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._model(request.name, request.version, context)
        if model.most_windows is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Triton alone has this")
        response = pb.ModelConfigResponse()
        response.config.max_batch_size = model.most_windows
        return response

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._model(request.model_name, request.model_version, context)
        if model.error:
            context.abort(*model.error)
        return model.infer(request)

    def _model(self, name: str, version: str, context: Any) -> Model:
        model = self.models.get(name)
        if model is None or (version and version not in model.metadata.versions):
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {name!r}, version {version!r}")
            raise AssertionError  # abort has raised
        return model


def main(arguments: Sequence[str]) -> None:
    port, *bundles = arguments
    with InferenceService(*bundles, port=int(port)) as service:
        service.start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
