"""A model repository for Triton's ONNX Runtime backend, made of bundles.

    REPOSITORY/NAME/config.pbtxt      what Triton reads
                    labels.txt        the slugs, in the order of the scores
                    VERSION/model.onnx

Triton calls a model as the bundle is named, so that a detector finds it without being told more.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import onnx
from google.protobuf import text_format
from onnx import TensorProto
from tritonclient.grpc import model_config_pb2 as pb

from detector.errors import BundleError, ConfigError
from detector.inference.bundle import Bundle

CONFIG: Final = "config.pbtxt"
LABELS: Final = "labels.txt"
MODEL: Final = "model.onnx"
"""What the backend looks for in the folder of a version."""
SMALLEST_PREFERRED: Final = 4
"""Windows: fewer are sent on when the delay is over."""

_TYPES: Final = {
    TensorProto.FLOAT: pb.TYPE_FP32,
    TensorProto.FLOAT16: pb.TYPE_FP16,
    TensorProto.DOUBLE: pb.TYPE_FP64,
}
_KINDS: Final = {
    "auto": pb.ModelInstanceGroup.KIND_AUTO,
    "cpu": pb.ModelInstanceGroup.KIND_CPU,
    "gpu": pb.ModelInstanceGroup.KIND_GPU,
}


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """How Triton is to run the models."""

    most_windows: int = 64
    """In one batch."""
    max_delay_ms: float = 5.0
    """How long a window may wait for others."""
    instances: int = 1
    """Copies of the model, on each GPU if there are several."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    tensorrt: bool = False
    """Have TensorRT compute what it can."""
    engine_cache: str = "/var/cache/tensorrt"
    """A folder on the server: TensorRT takes minutes to build what it keeps there."""


def add_to_repository(repository: Path, bundle: Bundle, options: TritonOptions) -> Path:
    """Put a bundle into a repository, in the place of the model of its name, whole or not at all.

    Returns:
        the model's folder.

    Raises:
        BundleError: the graph does not say what the bundle's outputs are.
        ConfigError: where the model would lie is something else.
    """
    folder = repository / bundle.spec.name
    if folder.exists() and not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder}: is no model of a repository, which this bundle would replace")
    config = model_config(bundle, options)
    repository.mkdir(parents=True, exist_ok=True)
    # Beside it, for Triton takes every folder within for a model.
    with tempfile.TemporaryDirectory(dir=repository.absolute().parent) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        version = new / str(version_of(bundle))
        version.mkdir(parents=True)
        shutil.copyfile(bundle.model_file, version / MODEL)
        slugs = [label.slug for label in bundle.spec.labels]
        (new / LABELS).write_text("\n".join(slugs) + "\n", encoding="utf-8")
        (new / CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    return folder


def version_of(bundle: Bundle) -> int:
    """Triton's version: the bundle's own if it is a number such as Triton has, else 1."""
    version = bundle.spec.version
    return int(version) if re.fullmatch(r"[1-9][0-9]{0,8}", version) else 1


def model_config(bundle: Bundle, options: TritonOptions) -> pb.ModelConfig:
    """What Triton is told of a model.

    Raises:
        BundleError: the graph does not say what the bundle's outputs are.
    """
    spec = bundle.spec
    shape = [int(n) for n in spec.input.shape[1:]]
    sizes = list(_preferred_sizes(options.most_windows))
    # A GPU chooses for each size how it works; a CPU may take seconds for each window.
    warm_up = [1] if options.device == "cpu" else sorted({1, *sizes})
    return pb.ModelConfig(
        name=spec.name,
        backend="onnxruntime",
        default_model_filename=MODEL,
        max_batch_size=options.most_windows,
        input=[pb.ModelInput(name=spec.input.name, data_type=pb.TYPE_FP32, dims=shape)],
        output=_outputs(bundle),
        # No time limit for what waits: with one, Triton 2.51 let up to one in five single windows
        # wait half a second (measured). Detectors have deadlines of their own.
        dynamic_batching=pb.ModelDynamicBatching(
            preferred_batch_size=sizes,
            max_queue_delay_microseconds=round(options.max_delay_ms * 1e3),
        ),
        instance_group=[
            pb.ModelInstanceGroup(count=options.instances, kind=_KINDS[options.device])
        ],
        optimization=_tensorrt(bundle, shape, options) if options.tensorrt else None,
        model_warmup=[_warm_up(spec.input.name, shape, size) for size in warm_up],
    )


def _preferred_sizes(most: int) -> Iterator[int]:
    size = SMALLEST_PREFERRED
    while size < most:
        yield size
        size *= 2
    yield most


def _outputs(bundle: Bundle) -> list[pb.ModelOutput]:
    graph = onnx.load(bundle.model_file, load_external_data=False).graph
    declared = {output.name: output.type.tensor_type for output in graph.output}
    outputs = []
    for output in (bundle.spec.outputs.clip, bundle.spec.outputs.frames):
        if output is None:
            continue
        tensor = declared.get(output.name)
        if tensor is None or tensor.elem_type not in _TYPES:
            raise BundleError(
                f"{bundle.model_file}: output {output.name!r}: the graph has no such output of "
                "floating-point numbers"
            )
        dims = [d.dim_value or -1 for d in tensor.shape.dim[1:]]
        if not dims:
            raise BundleError(f"{bundle.model_file}: output {output.name!r} has no declared shape")
        outputs.append(
            pb.ModelOutput(
                name=output.name,
                data_type=_TYPES[tensor.elem_type],
                dims=dims,
                label_filename=LABELS,
            )
        )
    return outputs


def _warm_up(name: str, shape: list[int], windows: int) -> pb.ModelWarmup:
    silence = pb.ModelWarmup.Input(data_type=pb.TYPE_FP32, dims=shape, zero_data=True)
    return pb.ModelWarmup(name=f"{windows} windows", batch_size=windows, inputs={name: silence})


def _tensorrt(
    bundle: Bundle, shape: list[int], options: TritonOptions
) -> pb.ModelOptimizationPolicy:
    def profile(windows: int) -> str:
        return f"{bundle.spec.input.name}:{'x'.join(map(str, (windows, *shape)))}"

    parameters: dict[str, Any] = {
        "precision_mode": "FP16" if bundle.spec.onnx.precision == "fp16" else "FP32",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": options.engine_cache,
        # One engine for all sizes of a batch, instead of a new one for each size that comes.
        "trt_profile_min_shapes": profile(1),
        "trt_profile_opt_shapes": profile(options.most_windows),
        "trt_profile_max_shapes": profile(options.most_windows),
    }
    accelerator = pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator(
        name="tensorrt", parameters=parameters
    )
    return pb.ModelOptimizationPolicy(
        execution_accelerators=pb.ModelOptimizationPolicy.ExecutionAccelerators(
            gpu_execution_accelerator=[accelerator]
        )
    )
