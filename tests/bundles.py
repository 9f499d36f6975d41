"""Tiny real bundles whose answers can be told beforehand.

`tone_bundle` is an ideal tagger: a frame's logit is high while a tone is in the frame, the score of
a window is that of its highest frame. `loudness_bundle` hears the waveform itself.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from detector.records import SAMPLE_RATE
from detector.spec import BundleSpec, Fbank

Output = Literal["clip", "frames"]
Constants = dict[str, np.ndarray | np.float32]
OPSET: Final = 17
IR_VERSION: Final = 8

LOW_HZ: Final = 500.0
HIGH_HZ: Final = 3000.0
"""Tones that the labels "low" and "high" of a tone bundle stand for."""

_BANDS_HZ: Final = {"low": (400.0, 600.0), "high": (2700.0, 3300.0)}
# Normalised log-mel of a tone of amplitude 0.1 (-23 dBFS): what a frame must reach. Padding, which
# reads 0.47, and quieter tones stay below.
_LEVEL: Final = {"low": 0.60, "high": 0.95}
_CONTRAST: Final = 0.7
"""By how much a tone must stand out from the mean over all bins, which noise does not."""
_GAIN: Final = 40.0


def tone_bundle(  # noqa: PLR0913 (each says what differs from the plainest bundle)
    folder: Path,
    name: str = "tones",
    *,
    outputs: Sequence[Output] = ("clip",),
    window_s: float = 2.56,
    hop_s: float = 0.5,
    decimation: int = 2,
    activation: Literal["sigmoid", "softmax", "none"] = "sigmoid",
    min_duration_s: float = 0.0,
    merge_gap_s: float = 0.0,
) -> Path:
    """Write a bundle that hears tones near 500 Hz ("low") and 3 kHz ("high") of amplitude > 0.1.

    Args:
        folder: of the bundle; made if it is not there.
        name: of the bundle, and the beginning of its id: `name`@1.
        outputs: clip has a score where any frame of the window has one.
        window_s: a multiple of 0.01, as is hop_s.
        hop_s: seconds.
        decimation: log-mel frames (10 ms) in a frame of the output.
        activation: of the outputs. none: the model computes the sigmoid itself; softmax: there is a
            third label, "quiet", which is not enabled.
        min_duration_s: of both labels.
        merge_gap_s: of both labels.

    Returns:
        `folder`.
    """
    frontend = Fbank()
    samples, hop = round(window_s * SAMPLE_RATE), round(hop_s * SAMPLE_RATE)
    rows = -(-frontend.frames_in(samples) // decimation) * decimation
    slugs = [*_BANDS_HZ, "quiet"] if activation == "softmax" else list(_BANDS_HZ)
    nodes, constants = _tone_logits(frontend, quiet="quiet" in slugs)
    nodes += _outputs(outputs, (decimation, len(slugs)), activation, constants)
    labels = [
        {"slug": slug, "name": f"{slug.capitalize()} tone", "enabled": slug != "quiet"}
        | {"min_duration_s": min_duration_s, "merge_gap_s": merge_gap_s}
        for slug in slugs
    ]
    # A frame of the front end is 25 ms long; its middle 10 ms are what it stands for.
    edge = (frontend.frame_samples - frontend.shift_samples) // 2
    return write_bundle(
        folder,
        _model(nodes, constants, ["batch", rows, frontend.mel_bins], outputs, len(labels)),
        {
            "name": name,
            "frontend": frontend.model_dump(),
            "window": {"samples": samples, "hop_samples": hop},
            "input": {"name": "input", "shape": ["batch", rows, frontend.mel_bins]},
            "outputs": _output_specs(
                outputs, activation, decimation * frontend.shift_samples, offset=edge
            ),
            "decoding": "multiclass" if activation == "softmax" else "multilabel",
            "labels": labels,
        },
    )


def loudness_bundle(  # noqa: PLR0913 (as above)
    folder: Path,
    name: str = "loudness",
    *,
    outputs: Sequence[Output] = ("clip",),
    window_s: float = 1.0,
    hop_s: float = 0.25,
    frame_samples: int = 320,
    level_dbfs: float = -40.0,
    normalise: Literal["none", "zero_mean_unit_variance"] = "none",
) -> Path:
    """Write a bundle that hears the waveform: the label "loud" where a frame exceeds a level.

    The arguments are those of `tone_bundle`; a window holds a whole number of frames.
    """
    samples, hop = round(window_s * SAMPLE_RATE), round(hop_s * SAMPLE_RATE)
    if samples % frame_samples:
        raise ValueError(f"{window_s} s hold no whole number of frames of {frame_samples} samples")
    constants: Constants = {
        "frames_shape": np.array([0, -1, frame_samples, 1]),
        "floor": np.float32(1e-12),
        "level": np.float32(level_dbfs * np.log(10) / 10),
        "gain": np.float32(_GAIN),
    }
    nodes = [
        helper.make_node("Reshape", ["input", "frames_shape"], ["cut"]),
        helper.make_node("Mul", ["cut", "cut"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["power"], axes=[2], keepdims=0),
        helper.make_node("Add", ["power", "floor"], ["above_zero"]),
        helper.make_node("Log", ["above_zero"], ["logarithm"]),
        helper.make_node("Sub", ["logarithm", "level"], ["over"]),
        helper.make_node("Mul", ["over", "gain"], ["logits"]),
        *_outputs(outputs, (1, 1), "sigmoid", constants),
    ]
    return write_bundle(
        folder,
        _model(nodes, constants, ["batch", samples], outputs, 1),
        {
            "name": name,
            "frontend": {"kind": "waveform", "normalise": normalise},
            "window": {"samples": samples, "hop_samples": hop},
            "input": {"name": "input", "shape": ["batch", samples]},
            "outputs": _output_specs(outputs, "sigmoid", frame_samples, offset=0),
            "decoding": "multilabel",
            "labels": [{"slug": "loud", "name": "Loud"}],
        },
    )


def write_bundle(folder: Path, model: onnx.ModelProto, description: dict[str, Any]) -> Path:
    """Write a model, and the description of it completed by what any test bundle says."""
    folder.mkdir(parents=True, exist_ok=True)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    spec = BundleSpec.model_validate(
        {
            "version": "1",
            "created": "2026-01-01T00:00:00Z",
            "licence": "CC0-1.0",
            "attribution": "",
            "source": {"checkpoint": "made by hand", "architecture": "arithmetic"},
            "onnx": {
                "sha256": hashlib.sha256(data).hexdigest(),
                "opset": OPSET,
                "precision": "fp32",
            },
        }
        | description
    )
    (folder / "bundle.json").write_text(spec.model_dump_json(indent=2))
    return folder


def edit_description(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Change `bundle.json` by hand, without asking whether it still makes sense."""
    path = folder / "bundle.json"
    description = json.loads(path.read_text())
    edit(description)
    path.write_text(json.dumps(description))
    return folder


def replace_model(folder: Path, model: onnx.ModelProto | bytes) -> Path:
    """Put another model into a bundle, with the hash that belongs to it."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return edit_description(folder, lambda d: d["onnx"].update(sha256=digest))


def _tone_logits(frontend: Fbank, *, quiet: bool) -> tuple[list[onnx.NodeProto], Constants]:
    """From log-mel (batch, rows, bins) to logits (batch, rows, labels)."""
    edges = np.linspace(_mel(frontend.low_hz), _mel(frontend.high_hz), frontend.mel_bins + 2)
    constants: Constants = {
        "level": np.array([_LEVEL[slug] for slug in _BANDS_HZ], np.float32),
        "contrast": np.float32(_CONTRAST),
        "gain": np.float32(_GAIN),
        "bin_axis": np.array([2]),
    }
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2], keepdims=1)]
    for slug, (lowest, highest) in _BANDS_HZ.items():
        inside = (edges[1:-1] >= _mel(lowest)) & (edges[1:-1] <= _mel(highest))
        bins = np.flatnonzero(inside)
        constants[f"{slug}_begin"], constants[f"{slug}_end"] = bins[:1], bins[-1:] + 1
        slice_ = ["input", f"{slug}_begin", f"{slug}_end", "bin_axis"]
        nodes += [
            helper.make_node("Slice", slice_, [f"{slug}_bins"]),
            helper.make_node("ReduceMax", [f"{slug}_bins"], [f"{slug}_peak"], axes=[2], keepdims=1),
        ]
    nodes += [
        helper.make_node("Concat", [f"{slug}_peak" for slug in _BANDS_HZ], ["peaks"], axis=2),
        helper.make_node("Sub", ["peaks", "level"], ["above_level"]),
        helper.make_node("Sub", ["peaks", "mean"], ["above_mean"]),
        helper.make_node("Sub", ["above_mean", "contrast"], ["above_noise"]),
        helper.make_node("Min", ["above_level", "above_noise"], ["above"]),
        helper.make_node("Mul", ["above", "gain"], ["tones" if quiet else "logits"]),
    ]
    if quiet:
        constants["zero"] = np.float32(0)
        nodes += [
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Concat", ["tones", "nothing"], ["logits"], axis=2),
        ]
    return nodes, constants


def _mel(hz: float) -> float:
    return float(1127 * np.log1p(hz / 700))


def _outputs(
    outputs: Sequence[Output],
    shape: tuple[int, int],
    activation: str,
    constants: Constants,
) -> list[onnx.NodeProto]:
    """From logits (batch, rows, labels) to the answers; `shape`: rows a frame, labels."""
    raw = {output: f"{output}_logits" if activation == "none" else output for output in outputs}
    nodes = []
    if "clip" in raw:
        peak = helper.make_node("ReduceMax", ["logits"], [raw["clip"]], axes=[1], keepdims=0)
        nodes.append(peak)
    if "frames" in raw:
        constants["groups_shape"] = np.array([0, -1, *shape])
        nodes += [
            helper.make_node("Reshape", ["logits", "groups_shape"], ["groups"]),
            helper.make_node("ReduceMax", ["groups"], [raw["frames"]], axes=[2], keepdims=0),
        ]
    if activation == "none":
        nodes += [helper.make_node("Sigmoid", [raw[output]], [output]) for output in outputs]
    return nodes


def _output_specs(
    outputs: Sequence[Output], activation: str, hop_samples: int, offset: int
) -> dict[str, Any]:
    specs: dict[str, Any] = {
        output: {"name": output, "activation": activation} for output in outputs
    }
    if "frames" in specs:
        specs["frames"] |= {"hop_samples": hop_samples, "offset_samples": offset}
    return specs


def _model(
    nodes: list[onnx.NodeProto],
    constants: Constants,
    input_shape: Sequence[str | int],
    outputs: Sequence[Output],
    labels: int,
) -> onnx.ModelProto:
    shapes: dict[str, list[str | int]] = {
        "clip": ["batch", labels],
        "frames": ["batch", "frames", labels],
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, shapes[o]) for o in outputs],
        [
            numpy_helper.from_array(np.asarray(value), key)
            for key, value in constants.items()
            if key in used
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model
