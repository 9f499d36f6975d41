"""From a checkpoint to a bundle: the steps in their order."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from detector.errors import BundleError
from detector.inference.bundle import Bundle
from detector.spec import Activation, BundleSpec, Input
from export.bundle import (
    build_outputs,
    build_spec,
    check_folder,
    describe_graph,
    name_of,
    onnx_to_come,
    write_bundle,
)
from export.checkpoints.checkpoint import Checkpoint
from export.checkpoints.layout import Layout, lay_out
from export.checkpoints.network import Classifier, reference_logits
from export.graphs.attention import attention_layers
from export.graphs.graph import export_network
from export.graphs.precision import PARITY_LIMITS, Precision, to_precision
from export.parity.parity import compare_bundle, sounds_to_compare
from export.parity.scores import activate


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the person who exports decides."""

    name: str | None = None
    """The folder's name, if None."""
    version: str = "1"
    window_s: float | None = None
    hop_s: float | None = None
    precision: Precision = "fp32"
    licence: str | None = None
    """What the model card says, if None."""
    attribution: str | None = None


def export_checkpoint(checkpoint: Checkpoint, out: Path, options: ExportOptions) -> BundleSpec:
    """Write a checkpoint as the bundle `out`, whole or not at all.

    Args:
        checkpoint: what to export.
        out: the bundle's folder; a bundle that is there is replaced.
        options: what the person decides.

    Raises:
        ConfigError: an option asks for what the checkpoint cannot do, or `out` cannot be a
            bundle's folder.
        BundleError: the network cannot be exported, does not say what the checkpoint says, or
            cannot be written.
    """
    layout = lay_out(checkpoint, options.window_s, options.hop_s)
    spec = _describe(checkpoint, layout, options.name or name_of(out), options)
    output = spec.outputs.first
    sounds = sounds_to_compare(layout.window.samples)
    limit = PARITY_LIMITS[options.precision]
    try:
        check_folder(out)
        expected = activate(reference_logits(checkpoint, sounds), output.activation)
        near = next(parent for parent in out.absolute().parents if parent.is_dir())
        with tempfile.TemporaryDirectory(dir=near, prefix=f".{out.name}-") as scratch:
            graph = Path(scratch) / spec.onnx.file
            export_network(Classifier(checkpoint).eval(), layout.shape, graph, output.name)
            made = to_precision(
                graph, options.precision, layers=attention_layers(checkpoint.config)
            )
            spec = spec.model_copy(update={"onnx": describe_graph(graph, options.precision)})
            parity = compare_bundle(Bundle(graph.parent, spec), sounds, expected, limit).as_json()
            parity["fused_attention"] = made.fused_attention
            spec = spec.model_copy(update={"parity": parity})
            write_bundle(out, graph, spec, named_as_folder=False)
    except OSError as error:
        raise BundleError(f"{out}: cannot be written: {error.strerror or error}") from None
    return spec


def _describe(
    checkpoint: Checkpoint, layout: Layout, name: str, options: ExportOptions
) -> BundleSpec:
    """What `bundle.json` will say, of no graph yet."""
    decoding = checkpoint.decoding
    if decoding is None:
        raise ValueError("checkpoint: an encoder has no answer; it needs a head")
    activation: Activation = "sigmoid" if decoding == "multilabel" else "softmax"
    if checkpoint.task == "clip":
        outputs = build_outputs(activation, clip=True)
    else:
        outputs = build_outputs(activation, frames=layout.timing.grid)
    return build_spec(
        name=name,
        version=options.version,
        licence=options.licence or checkpoint.licence,
        attribution=options.attribution or f"made from {checkpoint.origin.checkpoint}",
        source=checkpoint.origin,
        onnx=onnx_to_come(options.precision),
        frontend=layout.frontend,
        window=layout.window,
        graph_input=Input(name="input", shape=("batch", *layout.shape)),
        outputs=outputs,
        decoding=decoding,
        ctc=checkpoint.ctc,
        labels=checkpoint.labels,
    )
