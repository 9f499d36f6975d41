"""YAMNet's layers out of the TFLite file in which it is given away.

YAMNet (M. Plakal and D. Ellis, Google; github.com/tensorflow/models, research/audioset/yamnet,
Apache-2.0) is MobileNet v1 over patches of 96 log-mel frames. In the file its batch normalisation
is folded into the convolutions, whose weights are integers of 8 bits with a scale a channel.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.errors import BundleError
from detector.records import FloatArray

_LABELS: Final = "yamnet_label_list.txt"
"""In the archive of metadata that hangs at the file's end."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution with ReLU6 after it, or the linear layer that answers."""

    weights: NDArray[np.int8]
    """(channels out, channels in, height, width) of a convolution, which has one channel in if it
    is depthwise; (channels out, channels in) of a linear layer."""
    scale: FloatArray
    """(channels out, 1, …): what a channel's integers are multiplied by."""
    bias: FloatArray
    """(channels out,)."""
    stride: int = 1
    depthwise: bool = False


@dataclass(frozen=True, slots=True)
class Yamnet:
    """What the file holds."""

    names: tuple[str, ...]
    """Of its classes, in the order of its outputs."""
    taper: FloatArray
    """(400,): the analysis window of its frames."""
    mel_filters: FloatArray
    """(257, 64): the weight of each line of the spectrum in each mel bin."""
    log_offset: float
    layers: tuple[Layer, ...]
    """The convolutions, with TensorFlow's padding "SAME"; then, of the mean of all places, the
    linear layer to the logits."""


def read_yamnet(path: Path) -> Yamnet:
    """Read yamnet.tflite, which needs the extra `yamnet`.

    Raises:
        BundleError: it cannot be read, or is another network.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415 - only here
    except ImportError:
        raise BundleError("the extra 'yamnet' is missing, which reads .tflite files") from None
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            names = archive.read(_LABELS).decode().splitlines()
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise BundleError(f"{path}: is not YAMNet with its list of classes: {error}") from None
    graph = _Graph(schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0)), schema)
    layers = tuple(graph.layers())
    front_end = graph.front_end()
    if front_end is None or len(layers) != _LAYERS or len(layers[-1].bias) != len(names):
        raise BundleError(f"{path}: is another network than YAMNet")
    taper, mel_filters, offset = front_end
    return Yamnet(tuple(names), taper, mel_filters.T, float(offset[0]), layers)


_LAYERS: Final = 28


class _Graph:
    """The operators of a TFLite model."""

    def __init__(self, model: Any, schema: Any) -> None:  # noqa: ANN401 (has no types)
        self._model, self._schema = model, schema
        self._tensors = model.subgraphs[0].tensors
        names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
        self._operators = [
            (names[model.operatorCodes[operator.opcodeIndex].builtinCode], operator)
            for operator in model.subgraphs[0].operators
        ]

    def front_end(self) -> tuple[FloatArray, FloatArray, FloatArray] | None:
        """Taper, mel filters and offset before the logarithm."""
        tapers = [self._constant(o.inputs[1]) for name, o in self._operators if name == "MUL"]
        linear = [
            (self._constant(o.inputs[1]), self._constant(o.inputs[2]))
            for name, o in self._operators
            if name == "FULLY_CONNECTED" and not self._is_quantised(o.inputs[1])
        ]
        return (tapers[0], *linear[0]) if tapers and linear else None

    def layers(self) -> list[Layer]:
        """The convolutions and the linear layer that are in integers, in their order."""
        layers = []
        for name, operator in self._operators:
            if name not in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
                continue
            if not self._is_quantised(operator.inputs[1]):
                continue
            weights, scale = self._integers(operator.inputs[1])
            bias, bias_scale = self._integers(operator.inputs[2])
            options, depthwise = operator.builtinOptions, name == "DEPTHWISE_CONV_2D"
            if weights.ndim == _CONVOLUTION:
                self._check(options)
                # TensorFlow's (out, height, width, in); of depthwise ones (1, height, width, out).
                weights = weights.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
            layers.append(
                Layer(
                    weights=weights,
                    scale=scale.reshape(-1, *(1,) * (weights.ndim - 1)),
                    bias=(bias * bias_scale.astype(np.float64)).astype(np.float32),
                    stride=getattr(options, "strideH", 1),
                    depthwise=depthwise,
                )
            )
        return layers

    def _check(self, options: Any) -> None:  # noqa: ANN401
        expected = (self._schema.Padding.SAME, self._schema.ActivationFunctionType.RELU6)
        if (options.padding, options.fusedActivationFunction) != expected:
            raise BundleError("a convolution has another padding or activation than YAMNet's")

    def _is_quantised(self, tensor: int) -> bool:
        return bool(self._tensors[tensor].type != self._schema.TensorType.FLOAT32)

    def _constant(self, tensor: int) -> NDArray[Any]:
        types = self._schema.TensorType
        kinds = {types.FLOAT32: np.float32, types.INT32: np.int32, types.INT8: np.int8}
        found = self._tensors[tensor]
        data = bytes(self._model.buffers[found.buffer].data)
        return np.frombuffer(data, kinds[found.type]).reshape(list(found.shape))

    def _integers(self, tensor: int) -> tuple[NDArray[Any], FloatArray]:
        """Integers, and the scale of each channel."""
        scale = np.asarray(self._tensors[tensor].quantization.scale, np.float32)
        return self._constant(tensor), scale


_CONVOLUTION: Final = 4
"""Axes of a convolution's weights."""
