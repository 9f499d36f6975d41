"""From a base and one's own recordings to a bundle: the steps in their order."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from detector import __version__
from detector.errors import AudioFileError, ConfigError
from detector.inference.bundle import Bundle
from detector.records import FloatArray
from detector.spec import BundleSpec, Label
from export.bundle import (
    build_outputs,
    build_spec,
    check_folder,
    describe_graph,
    name_of,
    onnx_to_come,
    write_bundle,
)
from export.checkpoints.labels import class_labels
from export.checkpoints.network import Encoder
from export.heads.compare import compare_head, reference_of
from export.heads.data.example_file import ExampleFile
from export.heads.data.examples import ComposedExamples, ComposedWindows, FrozenExamples
from export.heads.data.negatives import negative_windows
from export.heads.data.recordings import (
    BACKGROUND,
    Collection,
    Recording,
    display_name,
    read_collection,
)
from export.heads.data.samples import DecodedRecordings
from export.heads.data.scenes import Composer
from export.heads.data.split import Split, split
from export.heads.evaluate import score_windows
from export.heads.fit.fit import FitOptions, Fitter
from export.heads.fit.freeze import unfreeze
from export.heads.fit.layers import Head, HeadShape
from export.heads.fit.measure import choose_thresholds, measure
from export.heads.graph.base import Base, HiddenStates, grid_of, open_base, run_graph
from export.heads.graph.surgery import add_head
from export.heads.options import HeadOptions
from export.heads.progress import ProgressReport
from export.heads.work_folder import WorkFolder, explaining_write_errors

MERGE_GAP_S = {"clip": 1.0, "frames": 0.3}
"""What is apart by less is one event, unless a configuration says otherwise."""
EPOCHS = {"head": 200, "encoder": 30}
"""At most, where the head alone is fitted, which takes seconds, and where layers before it are."""
_MARGIN = 0.5
"""How far above the scores of the base's negatives an onset threshold lies, as a logit."""
_HELD_OUT_WINDOWS = 4
"""Composed of each recording that is held out, besides as it was recorded."""


def make_head(
    where: str,
    data: Path,
    out: Path,
    options: HeadOptions,
    progress: ProgressReport,
    on_unreadable: Callable[[AudioFileError], object] | None = None,
) -> BundleSpec:
    """Fit a new head to the recordings and write the bundle `out`, whole or not at all.

    Memory does not grow with the recordings: their samples and hidden states are in files beside
    `out` until the bundle is written.

    Args:
        where: the base, as for `open_base`.
        data: the recordings, as for `read_collection`.
        out: the bundle's folder; a bundle that is there is replaced. What is unfinished is kept
            beside it, and the same call goes on with it.
        options: what the person decides.
        progress: is called as the steps go on.
        on_unreadable: as for `read_collection`.

    Raises:
        ConfigError, AudioFileError, BundleError: naming what is wrong, and what to do.
    """
    check_folder(out)
    collection = read_collection(data, on_unreadable)
    for note in collection.notes:
        progress.note(note)
    base = open_base(where, options.base)
    knows_none = base.negatives is not None
    exclusive = _is_exclusive(collection, options, progress, knows_none=knows_none)
    parts = split(collection, options.held_out, options.seed)
    if options.freeze is not None and base.checkpoint is None:
        raise ConfigError(
            f"--freeze {options.freeze}: {base.spec.origin.checkpoint} is a bundle, whose "
            "encoder is frozen; only a checkpoint's layers can be fitted"
        )
    with explaining_write_errors(out):
        work = WorkFolder(out, _inputs_of(base, collection, options))
        if work.resumed:
            progress.note(f"goes on with what is in {work.folder}")
        steps = _Steps(base, collection, options, work, progress, exclusive=exclusive)
        try:
            spec = steps.make(parts, out)
        except ConfigError:  # nothing that is worth going on with
            work.remove()
            raise
        work.remove()
    return spec


def _is_exclusive(
    collection: Collection, options: HeadOptions, progress: ProgressReport, *, knows_none: bool
) -> bool:
    """Whether exactly one label is always right; `knows_none`: the base knows what is none."""
    labels, none = collection.labels, f"recordings of what is none of them ({BACKGROUND!r})"
    exclusive = collection.exclusive
    if exclusive and knows_none and options.decoding != "multiclass":
        return False
    if options.decoding == "multiclass" and not exclusive:
        raise ConfigError(
            "--decoding multiclass: not every recording is of exactly one label throughout; leave "
            "the option out"
        )
    if len(labels) == 1 and exclusive:
        raise ConfigError(
            f"there is one label, {labels[0]!r}, and nothing to tell it from: add another label or "
            f"{none}"
        )
    if exclusive and options.decoding != "multilabel":
        progress.note(
            f"there are no {none}: the model will always hear one of its labels, in silence too"
        )
        return True
    return False


def _inputs_of(base: Base, collection: Collection, options: HeadOptions) -> dict[str, object]:
    """All that the result depends on."""
    return {
        "program": __version__,
        "base": base.spec.identity,
        "options": asdict(options),
        "threads": None if options.freeze is None else torch.get_num_threads(),
        "labels": collection.labels,
        "recordings": sorted(
            [r.path.name, r.digest, *([s.first_sample, s.end_sample, s.label] for s in r.spans)]
            for r in collection.recordings
        ),
    }


class _Steps:
    """What is done with recordings that are split, until there is a bundle."""

    def __init__(
        self,
        base: Base,
        collection: Collection,
        options: HeadOptions,
        work: WorkFolder,
        progress: ProgressReport,
        *,
        exclusive: bool,
    ) -> None:
        self._base, self._encoder, self._collection = base, base.spec, collection
        self._options, self._work, self._progress = options, work, progress
        self._exclusive, self._frames = exclusive, options.base.frames

    def make(self, parts: Split, out: Path) -> BundleSpec:
        """Fit, put together, measure, compare, write."""
        network = self._network()
        graph = self._base.graph(self._work.folder) if network is None else None
        hidden = run_graph(graph)[0] if graph is not None else _in_torch(network)
        shape = self._shape(hidden)
        spec = self._describe(self._options.name or name_of(out), shape.steps)
        windows = self._compose(parts, shape.steps)
        fitter = self._fit(network, hidden, shape, windows)
        if graph is None:
            with tempfile.TemporaryDirectory(dir=self._work.folder) as scratch:
                graph = self._base.graph(Path(scratch))
        cast = not run_graph(graph)[1]
        whole = add_head(graph, fitter.head.weights(), shape.steps, cast=cast)
        file = self._work.path("model.onnx")
        file.write_bytes(whole.SerializeToString())
        onnx = describe_graph(file, self._encoder.precision)
        bundle = Bundle(file.parent, spec.model_copy(update={"onnx": onnx}))
        labels, metrics = self._measure(bundle, windows, parts, fitter)
        reference = reference_of(self._base, network, hidden, fitter.head)
        parity = compare_head(bundle, self._base, reference)
        spec = bundle.spec.model_copy(
            update={"labels": labels, "metrics": metrics, "parity": parity}
        )
        write_bundle(out, file, spec, named_as_folder=False)
        return spec

    def _network(self) -> Encoder | None:
        """The encoder in PyTorch, if layers of it are fitted."""
        if self._options.freeze is None or self._base.checkpoint is None:
            return None
        network = Encoder(self._base.checkpoint).eval()
        unfreeze(network, self._options.freeze)
        return network

    def _shape(self, hidden: HiddenStates) -> HeadShape:
        silence = self._encoder.features(np.zeros(self._encoder.window.samples, np.float32))
        shape = hidden(np.stack([silence, silence])).shape
        steps = shape[1] if len(shape) == 3 else None  # noqa: PLR2004
        pool = self._options.pool
        weighted = self._encoder.weighted if pool is None else pool == "attention"
        return HeadShape(
            dim=shape[-1],
            labels=len(self._collection.labels),
            steps=steps,
            weighted=weighted and steps is not None,
            frames=self._frames,
            exclusive=self._exclusive,
        )

    def _compose(self, parts: Split, steps: int | None) -> ComposedWindows:
        samples = DecodedRecordings(self._work.path("recordings"))

        def composer(recordings: Sequence[Recording]) -> Composer:
            return Composer(
                recordings,
                len(self._collection.labels),
                self._encoder.window.samples,
                grid_of(self._encoder, steps) if self._frames else None,
                samples.read,
                exclusive=self._exclusive,
            )

        fitted, held_out = composer(parts.fitted), composer(parts.held_out)
        return ComposedWindows(
            fitted,
            held_out,
            self._options.seed,
            windows=self._options.windows * fitted.amount,
            held_out_windows=_HELD_OUT_WINDOWS * held_out.amount,
        )

    def _fit(
        self,
        network: Encoder | None,
        hidden: HiddenStates,
        shape: HeadShape,
        windows: ComposedWindows,
    ) -> Fitter:
        most = EPOCHS["head" if network is None else "encoder"]
        options = FitOptions(epochs=self._options.epochs or most)
        head = Head(shape)
        report = self._progress.windows_prepared
        examples: FrozenExamples | ComposedExamples
        if network is None:
            files = self._file("fitted", shape), self._file("held-out", shape)
            examples = FrozenExamples(
                windows, self._encoder, hidden, files, options.batch, report, self._negatives(shape)
            )
            head.standardise(examples.hidden())
        else:
            examples = ComposedExamples(windows, self._encoder, options.batch, report)
            with torch.no_grad():
                head.standardise([network(next(examples.epoch(0)).inputs)])
        fitter = Fitter(network, head, options, self._work.path("fit.safetensors"))
        # A head is so small that threads would wait for one another longer than they work.
        with _threads(1 if network is None else torch.get_num_threads()):
            fitter.run(
                examples,
                lambda epoch, loss: self._progress.epoch_fitted(epoch, options.epochs, loss),
            )
        return fitter

    def _negatives(self, shape: HeadShape) -> FloatArray | None:
        """(n, steps, dim) or (n, dim): windows in which no label is heard, if the base has any."""
        states = None if self._exclusive else self._base.negatives
        if states is None:
            return None
        return negative_windows(states, shape.steps, self._options.seed)

    def _file(self, name: str, shape: HeadShape) -> ExampleFile:
        inputs = (shape.dim,) if shape.steps is None else (shape.steps, shape.dim)
        frames = shape.steps if shape.frames and shape.steps else 0
        return ExampleFile(self._work.path(f"{name}.examples"), inputs, shape.labels, frames)

    def _describe(self, name: str, steps: int | None) -> BundleSpec:
        """`bundle.json`, but for the graph and what is measured.

        Raises:
            ConfigError: an option says what no bundle can.
        """
        encoder, options = self._encoder, self._options
        grid = grid_of(encoder, steps) if self._frames else None
        return build_spec(
            name=name,
            version=options.version,
            licence=options.licence or encoder.licence,
            attribution=options.attribution or encoder.attribution,
            source=encoder.origin,
            onnx=onnx_to_come(encoder.precision),
            frontend=encoder.frontend,
            window=encoder.window,
            graph_input=encoder.input,
            outputs=build_outputs(
                "softmax" if self._exclusive else "sigmoid",
                clip=True,
                frames=(grid.hop_samples, grid.offset_samples) if grid else None,
            ),
            decoding="multiclass" if self._exclusive else "multilabel",
            labels=[
                label.model_copy(
                    update={
                        "name": display_name(label.name),
                        "merge_gap_s": MERGE_GAP_S["frames" if grid else "clip"],
                    }
                )
                for label in class_labels(self._collection.labels)
            ],
        )

    def _measure(
        self, bundle: Bundle, windows: ComposedWindows, parts: Split, fitter: Fitter
    ) -> tuple[tuple[Label, ...], dict[str, Any]]:
        """Labels with thresholds, and figures, of what the detector says of held-out windows."""
        scored = score_windows(bundle, windows.held_out_examples())
        thresholds = choose_thresholds(scored, self._least(fitter.head))
        slugs = [label.slug for label in bundle.spec.labels]
        plain = scored.first(windows.held_out.plain_count)
        onsets = [onset for onset, _ in thresholds]
        freeze = self._options.freeze
        metrics = {
            "measured": datetime.now(UTC).date().isoformat(),
            "recordings": {
                slug: {
                    "fitted": sum(index in r.labels for r in parts.fitted),
                    "held_out": sum(index in r.labels for r in parts.held_out),
                }
                for index, slug in enumerate(slugs)
            },
            "held_out": measure(plain, slugs, onsets, exclusive=self._exclusive),
            "beware": "what was held out also ended the fit and chose the thresholds",
            "fit": {
                "frozen_layers": "all" if freeze is None else freeze,
                "windows": windows.windows,
                "epochs": fitter.progress.epoch,
                "best_epoch": fitter.progress.best_epoch + 1,
                "held_out_loss": round(fitter.progress.best_loss, 4),
                "seed": self._options.seed,
            },
        }
        labels = tuple(
            label.model_copy(update={"onset_threshold": onset, "offset_threshold": offset})
            for label, (onset, offset) in zip(bundle.spec.labels, thresholds, strict=True)
        )
        return labels, metrics

    def _least(self, head: Head) -> FloatArray | None:
        """(labels,): what no window of the negatives reaches."""
        negatives = self._negatives(head.shape)
        if negatives is None:
            return None
        with torch.no_grad():
            clip, frames = head(torch.from_numpy(negatives))
        scores = clip if frames is None else frames.flatten(end_dim=1)
        least: FloatArray = (scores.amax(dim=0) + _MARGIN).sigmoid().numpy()
        return least


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_torch(network: nn.Module | None) -> HiddenStates:
    def hidden(inputs: FloatArray) -> FloatArray:
        if network is None:
            raise ValueError("there is no network")
        with torch.no_grad():
            states: FloatArray = network(torch.from_numpy(inputs)).numpy()
        return states

    return hidden
