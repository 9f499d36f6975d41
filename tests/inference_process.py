"""Inference servers that are processes: they can be stopped and killed.

`ServiceProcess` is the small one of `inference_service.py`, `TritonProcess` a real Triton. Its
package, nvidia-pytriton, has no ONNX Runtime backend: ONNX Runtime runs in its Python backend
(`triton_model.py`), in the repository that `detector-export triton` writes.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, model_config_pb2
from tritonclient.utils import InferenceServerException

from detector.inference.bundle import load_bundle
from export.triton import CONFIG, TritonOptions, add_to_repository, version_of
from tests.broker import free_port

ROOT = Path(__file__).parents[1]
TRITON_PYTHON = os.environ.get("TRITON_PYTHON")
needs_triton = pytest.mark.skipif(
    TRITON_PYTHON is None,
    reason="TRITON_PYTHON does not name a Python with nvidia-pytriton and onnxruntime",
)
_START_S = 60.0


class _Process:
    """A server that is a process, with those that it starts."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._log = folder / f"server-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Return once its models can be asked."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(),
                cwd=ROOT,
                env=os.environ | self._environment(),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        with InferenceServerClient(f"127.0.0.1:{self.port}") as client:
            while not self._is_ready(client):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(self._log.read_text())
                time.sleep(0.05)  # it has no way to say that it is ready
        return self

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server itself."""
        assert self._process is not None
        self._process.send_signal(number)

    def cpu_seconds(self) -> float:
        """What it and the processes that it has started have computed so far."""
        assert self._process is not None
        ticks = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = file.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self._process.pid:  # its group
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End it at once, and whatever it has started."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return {}

    def _is_ready(self, client: InferenceServerClient) -> bool:
        raise NotImplementedError


class ServiceProcess(_Process):
    """`tests.inference_service` as a process."""

    def __init__(self, folder: Path, *bundles: Path | str) -> None:
        super().__init__(folder)
        self._bundles = [load_bundle(str(bundle)) for bundle in bundles]

    def _command(self) -> Sequence[str]:
        folders = [str(bundle.folder) for bundle in self._bundles]
        return [sys.executable, "-m", "tests.inference_service", str(self.port), *folders]

    def _is_ready(self, client: InferenceServerClient) -> bool:
        with contextlib.suppress(InferenceServerException):
            client.get_model_metadata(self._bundles[0].spec.name, client_timeout=1)
            return True
        return False


class TritonProcess(_Process):
    """A real Triton."""

    def __init__(
        self, folder: Path, *bundles: Path | str, options: TritonOptions | None = None
    ) -> None:
        super().__init__(folder)
        assert TRITON_PYTHON is not None
        self._repository = folder / "repository"
        for bundle in map(load_bundle, map(str, bundles)):
            model = add_to_repository(self._repository, bundle, options or TritonOptions())
            compute_in_python(model, model / str(version_of(bundle)))
        found = subprocess.run(
            [TRITON_PYTHON, "-c", _WHERE], capture_output=True, text=True, check=True
        )
        self._packages, version = map(Path, found.stdout.split())
        self._server = self._packages / "pytriton" / "tritonserver"
        self._backends = folder / "backends"
        if not self._backends.exists():
            shutil.copytree(self._server / "backends", self._backends)
            stubs = self._server / "python_backend_stubs" / version
            shutil.copytree(stubs, self._backends / "python", dirs_exist_ok=True)

    def kill(self) -> None:
        super().kill()
        for left in Path("/dev/shm").glob(f"{self._shared_memory}*"):
            left.unlink(missing_ok=True)

    @property
    def _shared_memory(self) -> str:
        return f"triton_test_{self.port}_"

    def _command(self) -> Sequence[str]:
        return [
            str(self._server / "bin" / "tritonserver"),
            *("--model-repository", str(self._repository)),
            *("--backend-directory", str(self._backends)),
            *("--backend-config", f"python,shm-region-prefix-name={self._shared_memory}"),
            *("--allow-http", "0", "--allow-metrics", "0"),
            *("--grpc-address", "127.0.0.1", "--grpc-port", str(self.port)),
        ]

    def _environment(self) -> dict[str, str]:
        assert TRITON_PYTHON is not None
        return {
            "LD_LIBRARY_PATH": str(self._packages / "nvidia_pytriton.libs"),
            "PATH": f"{Path(TRITON_PYTHON).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self._packages),
        }

    def _is_ready(self, client: InferenceServerClient) -> bool:
        with contextlib.suppress(InferenceServerException):
            return bool(client.is_server_ready(client_timeout=1))
        return False


_WHERE = (
    "import importlib.util as u, pathlib, sys\n"
    "print(pathlib.Path(u.find_spec('pytriton').origin).parents[1], '%d.%d' % sys.version_info[:2])"
)


def compute_in_python(model: Path, version: Path) -> None:
    """Have Triton's Python backend compute a model of a repository."""
    config = text_format.Parse((model / CONFIG).read_text(), model_config_pb2.ModelConfig())
    config.backend, config.default_model_filename = "python", "model.py"
    (model / CONFIG).write_text(text_format.MessageToString(config))
    shutil.copyfile(Path(__file__).with_name("triton_model.py"), version / "model.py")
