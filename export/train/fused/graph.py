"""The graphs of the parts, joined to one: features in, what all of them say together out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from export.audioset.front_end import FRAMES as PATCH
from export.audioset.front_end import FRONT_END
from export.audioset.graph import write_graph
from export.audioset.tflite import Yamnet
from export.graphs.graph import export_graph
from export.graphs.precision import to_precision
from export.heads.graph.surgery import HIDDEN, find_hidden
from export.train.augment import FRAME, FRAMES
from export.train.data import FBANK
from export.train.fused.bands import PATCHES, Bands
from export.train.fused.fusion import Fusion

INPUT: Final = "input"
CLIP, FRAME_SCORES = "network.clip", "network.frames"
"""What the network that was trained here answers, inside the joined graph."""
SIGHTS, CLASSES = "yamnet.sights", "yamnet.classes"
"""(batch, PATCHES, dim), what YAMNet sees, and (batch, PATCHES, classes), its logits."""


def network_graph(path: Path, labels: int) -> onnx.ModelProto:
    """The trained network's graph, from its own file or from a bundle in which it was joined."""
    model = onnx.load(path)
    if CLIP in {name for node in model.graph.node for name in node.output}:
        return onnx.utils.Extractor(model).extract_model([INPUT], [CLIP, FRAME_SCORES])
    hidden = find_hidden(model, "clip", labels).hidden
    names = {hidden: HIDDEN, "clip": CLIP, "frames": FRAME_SCORES}
    return _called(model, "network", {INPUT: INPUT, **names})


def yamnet_graph(bands: Bands, yamnet: Yamnet, work: Path) -> onnx.ModelProto:
    """Windows to SIGHTS and CLASSES."""
    first, second = work / "bands.onnx", work / "yamnet.onnx"
    export_graph(bands, torch.zeros(2, FRAMES, FBANK.mel_bins), first, outputs=("patches",))
    to_precision(first, "fp32", layers=0)  # takes out what the exporter says of this machine
    write_graph(yamnet.layers, PATCH, FRONT_END.mel_bins, second)
    layers = onnx.load(second)
    seen = layers.graph.node[-1].input[0]
    model = _joined(
        _called(onnx.load(first), "bands", {INPUT: INPUT, "patches": "patches"}),
        _called(layers, "yamnet", {INPUT: "patches", seen: "sights", "clip": "classes"}),
    )
    del model.graph.output[:]
    widths = {SIGHTS: len(yamnet.layers[-2].bias), CLASSES: len(yamnet.layers[-1].bias)}
    for (name, width), given in zip(widths.items(), ("sights", "classes"), strict=True):
        shape = numpy_helper.from_array(np.array([-1, PATCHES, width]), f"{name}.shape")
        model.graph.initializer.append(shape)
        model.graph.node.append(helper.make_node("Reshape", [given, shape.name], [name], name=name))
        model.graph.output.append(_value(name, PATCHES, width))
    return model


def fused_graph(
    network: onnx.ModelProto, yamnet: onnx.ModelProto, fusion: Fusion, work: Path
) -> onnx.ModelProto:
    """Windows to "clip" and "frames", logits of all labels."""
    last = work / "fusion.onnx"
    inputs = {
        CLIP: torch.zeros(2, fusion.network_labels),
        FRAME_SCORES: torch.zeros(2, FRAMES // FRAME, fusion.network_labels),
        SIGHTS: torch.zeros(2, PATCHES, fusion.view.layer.in_features // 2),
        CLASSES: torch.zeros(2, PATCHES, fusion.classes),
    }
    export_graph(fusion, inputs, last, outputs=("clip", "frames"))
    to_precision(last, "fp32", layers=0)
    names = {name: name for name in (*inputs, "clip", "frames")}
    model = _joined(_joined(network, yamnet), _called(onnx.load(last), "fusion", names))
    onnx.checker.check_model(model, full_check=True)
    return model


def _joined(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """One after the other; they share the names that they have in common."""
    given = {value.name for value in (*first.graph.input, *first.graph.output)}
    graph = helper.make_graph(
        [*first.graph.node, *second.graph.node],
        "sounds",
        [*first.graph.input],
        [*second.graph.output],
        [*first.graph.initializer, *second.graph.initializer],
        value_info=[*first.graph.value_info, *first.graph.output],
    )
    missing = {value.name for value in second.graph.input} - given - _made(first)
    if missing:
        raise ValueError(f"nothing makes {sorted(missing)}")
    return helper.make_model(
        graph,
        opset_imports=_opsets(first, second),
        ir_version=max(first.ir_version, second.ir_version),
        producer_name="audio-event-detector",
    )


def _made(model: onnx.ModelProto) -> set[str]:
    return {name for node in model.graph.node for name in node.output}


def _opsets(*models: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    versions: dict[str, int] = {}
    for used in (used for model in models for used in model.opset_import):
        domain = "" if used.domain == "ai.onnx" else used.domain
        if versions.setdefault(domain, used.version) != used.version:
            raise ValueError(f"the parts are of different versions of {domain or 'ONNX'}")
    return [helper.make_opsetid(domain, version) for domain, version in versions.items()]


def _called(model: onnx.ModelProto, prefix: str, names: Mapping[str, str]) -> onnx.ModelProto:
    """The same graph, its tensors called by `names` or by themselves after the prefix."""
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    graph = renamed.graph
    graph.ClearField("value_info")

    def new(name: str) -> str:
        return names.get(name, f"{prefix}.{name}") if name else ""

    for node in graph.node:
        node.name = f"{prefix}.{node.name}" if node.name else ""
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new(value.name)
    return renamed


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
