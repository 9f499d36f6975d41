"""`detector-export inspect`: what is in a bundle."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
from onnx.helper import tensor_dtype_to_np_dtype
from rich.console import Console
from rich.table import Table

from detector.inference.bundle import Bundle, load_bundle
from detector.spec import BundleSpec, Label
from export.graphs.attention import FUSED

_SHOWN = 20
"""Labels, unless all are asked for."""
_INDICES = "int64"
"""The type of shapes and positions, which nobody has trained."""


def inspect_bundle(bundle: str, *, all_labels: bool, as_json: bool) -> None:
    """Print what is in the bundle.

    Raises:
        BundleError: it is broken.
    """
    loaded = open_bundle(bundle)
    graph = graph_facts(loaded)
    if as_json:
        described = loaded.spec.model_dump(mode="json")
        sys.stdout.write(json.dumps({"bundle": described, "graph": graph}, indent=2) + "\n")
        return
    _print(loaded, graph, len(loaded.spec.labels) if all_labels else _SHOWN)


def open_bundle(name: str) -> Bundle:
    """Load a bundle: a folder, with or without a slash in its name, or a built-in one.

    Raises:
        BundleError: it is none, or broken.
    """
    return load_bundle(f"./{name}" if "/" not in name and Path(name).is_dir() else name)


def graph_facts(bundle: Bundle) -> dict[str, Any]:
    """What the graph is made of.

    Returns:
        bytes: the file's size; parameters: how many numbers were trained; fused_attention: layers
        whose attention is one node; quantised: products with 8-bit weights; operators: how many
        nodes of each, domain and name.
    """
    graph = onnx.load(bundle.model_file, load_external_data=False).graph
    operators = Counter(
        f"{node.domain}.{node.op_type}" if node.domain not in {"", "ai.onnx"} else node.op_type
        for node in graph.node
    )
    parameters = 0
    for tensor in graph.initializer:
        if tensor_dtype_to_np_dtype(tensor.data_type).name not in {_INDICES, "bool"}:
            size = 1
            for length in tensor.dims:
                size *= length
            parameters += size
    return {
        "bytes": bundle.model_file.stat().st_size,
        "parameters": parameters,
        "fused_attention": sum(operators[f"com.microsoft.{name}"] for name in FUSED),
        "quantised": operators["MatMulInteger"],
        "operators": dict(operators.most_common()),
    }


def _print(bundle: Bundle, graph: dict[str, Any], shown: int) -> None:
    spec = bundle.spec
    console = Console(highlight=False, soft_wrap=True)
    facts = _facts(spec) | {
        "graph": f"{spec.onnx.precision}, opset {spec.onnx.opset}, "
        f"{graph['parameters'] / 1e6:.2f} million parameters, {graph['bytes'] / 1e6:.1f} MB",
        "attention": f"{graph['fused_attention']} fused nodes",
        "operators": ", ".join(f"{n} {name}" for name, n in graph["operators"].items()),
        "metrics": json.dumps(spec.metrics) if spec.metrics else "none",
        "parity": json.dumps(spec.parity) if spec.parity else "none",
    }
    width = max(map(len, facts))
    for what, fact in facts.items():
        console.print(f"{what:<{width}}  {fact}", markup=False)
    console.print(_label_table(spec.labels[:shown]))
    if (more := len(spec.labels) - shown) > 0:
        console.print(f"… and {more} more: --all shows them")


def _facts(spec: BundleSpec) -> dict[str, str]:
    rate = spec.sample_rate
    origin = spec.source
    at = f" at {origin.revision}" if origin.revision else ""
    outputs = []
    if spec.outputs.clip:
        outputs.append(f"window ({spec.outputs.clip.activation})")
    if frames := spec.outputs.frames:
        outputs.append(
            f"frames of {1000 * frames.hop_samples / rate:g} ms, the first at "
            f"{1000 * frames.offset_samples / rate:g} ms ({frames.activation})"
        )
    return {
        "model": f"{spec.id}, of {spec.created}",
        "source": f"{origin.checkpoint}{at}, {origin.architecture}",
        "licence": f"{spec.licence}; {spec.attribution}",
        "front end": ", ".join(f"{k} {v}" for k, v in spec.frontend.model_dump().items()),
        "window": f"{spec.window.samples / rate:g} s, every {spec.window.hop_samples / rate:g} s",
        "input": f"{spec.input.name} {list(spec.input.shape)}",
        "scores": f"{' and '.join(outputs)}, {spec.decoding}",
    }


def _label_table(labels: tuple[Label, ...]) -> Table:
    table = Table()
    for column in ("label", "name", "id", "onset", "offset", "shortest", "merge gap"):
        table.add_column(column, justify="left" if column in {"label", "name", "id"} else "right")
    for label in labels:
        table.add_row(
            label.slug,
            label.name,
            label.mid or "",
            f"{label.onset_threshold:g}",
            f"{label.offset_threshold:g}",
            f"{label.min_duration_s:g} s",
            f"{label.merge_gap_s:g} s",
            style=None if label.enabled else "dim strike",
        )
    return table
