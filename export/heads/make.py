"""From a base and one's own recordings to a bundle: the steps in their order."""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from detector import __version__
from detector.errors import ConfigError
from detector.inference.bundle import Bundle
from detector.inference.session import Session
from detector.records import FloatArray, Window
from detector.spec import Activation, BundleSpec, ClipOutput, FramesOutput, Onnx, Outputs
from detector.validation_errors import describe_errors
from export.bundle import describe, write_bundle
from export.checkpoints.labels import class_labels
from export.convert import Encoder, check_out, name_of
from export.graphs.graph import OPSET
from export.graphs.precision import PARITY_LIMITS
from export.heads.data.examples import Composed, ComposedExamples, FrozenExamples
from export.heads.data.recordings import (
    BACKGROUND,
    Collection,
    Recording,
    display_name,
    read_collection,
)
from export.heads.data.scenes import Composer, Example
from export.heads.data.split import Split, split
from export.heads.fit.fit import Fit, Plan
from export.heads.fit.freeze import thaw
from export.heads.fit.layers import Form, Head
from export.heads.fit.measure import Scored, choose_thresholds, measure
from export.heads.graph.base import Base, Choice, HiddenStates, grid_of, open_base, run_graph
from export.heads.graph.surgery import add_head
from export.heads.work import Work, telling_what_cannot_be_written
from export.parity.parity import Parity, compare_bundle, probabilities, sounds_to_compare

Logits = Callable[[FloatArray], dict[str, FloatArray]]
"""Windows of sound, (batch, samples), to the logits of each output."""

MERGE_GAP_S = {"clip": 1.0, "frames": 0.3}
"""What is apart by less is one event, unless a configuration says otherwise."""
EPOCHS = {"head": 200, "encoder": 30}
"""At most, where the head alone is fitted, which takes seconds, and where layers before it are."""
_SCORED_AT_ONCE = 8
_HELD_OUT_WINDOWS = 4
"""Composed of each recording that is held out, besides as it was recorded."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the person decides."""

    name: str | None = None
    """The folder's name, if None."""
    version: str = "1"
    choice: Choice = field(default_factory=Choice)
    freeze: int | None = None
    """How many of the encoder's layers stay as they are; None for the whole encoder."""
    pool: Literal["mean", "attention"] | None = None
    """The window's answer is of the mean of its hidden states, or weighted by each label; None
    for what the base's own head does."""
    decoding: Literal["multilabel", "multiclass"] | None = None
    """What the recordings say, if None."""
    epochs: int | None = None
    """At most; EPOCHS if None."""
    windows: int = 12
    """Composed of each recording, or each window's length of a long one."""
    held_out: float = 0.2
    """Share of the recordings."""
    seed: int = 0
    licence: str | None = None
    attribution: str | None = None


class Reporter(Protocol):
    """Tells the person how far it is."""

    def note(self, text: str) -> None: ...

    def heard(self, windows: int, total: int) -> None: ...

    def fitted(self, epoch: int, epochs: int, loss: float) -> None: ...


def make_head(where: str, data: Path, out: Path, options: Options, tell: Reporter) -> BundleSpec:
    """Fit a new layer to the recordings and write the bundle `out`, whole or not at all.

    Args:
        where: the base, as for `open_base`.
        data: the recordings, as for `read_collection`.
        out: the bundle's folder; a bundle that is there is replaced. What is unfinished is kept
            beside it, and the same call goes on with it.
        options: what the person decides.
        tell: how far it is.

    Raises:
        ConfigError, AudioFileError, BundleError: naming what is wrong, and what to do.
    """
    check_out(out)
    collection = read_collection(data)
    for note in collection.notes:
        tell.note(note)
    exclusive = _is_exclusive(collection, options, tell)
    parts = split(collection, options.held_out, options.seed)
    base = open_base(where, options.choice)
    if options.freeze is not None and base.checkpoint is None:
        raise ConfigError(
            f"--freeze {options.freeze}: {base.hearing.origin.checkpoint} is a bundle, whose "
            "encoder is frozen; only a checkpoint's layers can be fitted"
        )
    with telling_what_cannot_be_written(out):
        work = Work(out, _plan(base, collection, options))
        if work.resumed:
            tell.note(f"goes on with what is in {work.folder}")
        run = _Run(base, collection, options, work, tell, exclusive=exclusive)
        try:
            spec = run.make(parts, out)
        except ConfigError:  # nothing that is worth going on with
            work.remove()
            raise
        work.remove()
    return spec


def _is_exclusive(collection: Collection, options: Options, tell: Reporter) -> bool:
    labels, none = collection.labels, f"recordings of what is none of them ({BACKGROUND!r})"
    exclusive = collection.exclusive
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
        tell.note(
            f"there are no {none}: the model will always hear one of its labels, in silence too"
        )
        return True
    return False


def _plan(base: Base, collection: Collection, options: Options) -> dict[str, object]:
    """All that the result depends on."""
    return {
        "program": __version__,
        "base": base.hearing.identity,
        "options": asdict(options),
        "threads": None if options.freeze is None else torch.get_num_threads(),
        "labels": collection.labels,
        "recordings": sorted(
            [r.path.name, r.digest, *([s.first_sample, s.end_sample, s.label] for s in r.spans)]
            for r in collection.recordings
        ),
    }


class _Run:
    """One run, from recordings that are split to a bundle."""

    def __init__(
        self,
        base: Base,
        collection: Collection,
        options: Options,
        work: Work,
        tell: Reporter,
        *,
        exclusive: bool,
    ) -> None:
        self._base, self._hearing, self._collection = base, base.hearing, collection
        self._options, self._work, self._tell, self._exclusive = options, work, tell, exclusive
        self._frames = options.choice.frames

    def make(self, parts: Split, out: Path) -> BundleSpec:
        """Fit, put together, measure, compare, write."""
        network = self._network()
        graph = self._base.graph(self._work.folder) if network is None else None
        hidden = run_graph(graph)[0] if graph is not None else _in_torch(network)
        form = self._form(hidden)
        spec = self._describe(self._options.name or name_of(out), form.steps)
        composed = self._compose(parts, form.steps)
        fit = self._fit(network, hidden, form, composed)
        if graph is None:
            with tempfile.TemporaryDirectory(dir=self._work.folder) as scratch:
                graph = self._base.graph(Path(scratch))
        cast = not run_graph(graph)[1]
        whole = add_head(graph, fit.head.layers(), form.steps, cast=cast)
        file = self._work.path("model.onnx")
        file.write_bytes(whole.SerializeToString())
        onnx = describe(file, self._hearing.precision)
        bundle = Bundle(file.parent, spec.model_copy(update={"onnx": onnx}))
        expected = self._expected(network, hidden, fit.head)
        found = self._measure(bundle, composed, parts, fit) | self._compare(bundle, expected)
        spec = bundle.spec.model_copy(update=found)
        write_bundle(out, file, spec, named_as_folder=False)
        return spec

    def _network(self) -> Encoder | None:
        """The encoder in PyTorch, if layers of it are fitted."""
        if self._options.freeze is None or self._base.checkpoint is None:
            return None
        network = Encoder(self._base.checkpoint).eval()
        thaw(network, self._options.freeze)
        return network

    def _form(self, hidden: HiddenStates) -> Form:
        quiet = self._hearing.data(np.zeros(self._hearing.window.samples, np.float32))
        shape = hidden(np.stack([quiet, quiet])).shape
        steps = shape[1] if len(shape) == 3 else None  # noqa: PLR2004
        pool = self._options.pool
        weighted = self._hearing.weighted if pool is None else pool == "attention"
        return Form(
            dim=shape[-1],
            labels=len(self._collection.labels),
            steps=steps,
            weighted=weighted and steps is not None,
            frames=self._frames,
            exclusive=self._exclusive,
        )

    def _compose(self, parts: Split, steps: int | None) -> Composed:
        def composer(recordings: Sequence[Recording]) -> Composer:
            return Composer(
                recordings,
                len(self._collection.labels),
                self._hearing.window.samples,
                grid_of(self._hearing, steps) if self._frames else None,
                exclusive=self._exclusive,
            )

        fitted, held_out = composer(parts.fitted), composer(parts.held_out)
        return Composed(
            fitted,
            held_out,
            self._options.seed,
            windows=self._options.windows * fitted.amount,
            held_out_windows=_HELD_OUT_WINDOWS * held_out.amount,
        )

    def _fit(
        self, network: Encoder | None, hidden: HiddenStates, form: Form, composed: Composed
    ) -> Fit:
        most = EPOCHS["head" if network is None else "encoder"]
        plan = Plan(epochs=self._options.epochs or most)
        head = Head(form)
        examples: FrozenExamples | ComposedExamples
        if network is None:
            examples = FrozenExamples(
                composed, self._hearing, hidden, self._work, plan.batch, self._tell.heard
            )
            head.standardise(examples.hidden)
        else:
            examples = ComposedExamples(composed, self._hearing, plan.batch, self._tell.heard)
            with torch.no_grad():
                head.standardise(network(next(examples.epoch(0)).inputs))
        fit = Fit(network, head, plan, self._work.path("fit.safetensors"))
        # A head is so small that threads would wait for one another longer than they work.
        with _threads(1 if network is None else torch.get_num_threads()):
            fit.run(examples, lambda epoch, loss: self._tell.fitted(epoch, plan.epochs, loss))
        return fit

    def _describe(self, name: str, steps: int | None) -> BundleSpec:
        """`bundle.json`, but for the graph and what is measured.

        Raises:
            ConfigError: an option says what no bundle can.
        """
        hearing, options = self._hearing, self._options
        activation: Activation = "softmax" if self._exclusive else "sigmoid"
        grid = grid_of(hearing, steps)
        frames = None
        if self._frames and grid is not None:
            frames = FramesOutput(
                name="frames",
                activation=activation,
                hop_samples=grid.hop_samples,
                offset_samples=grid.offset_samples,
            )
        try:
            return BundleSpec(
                name=name,
                version=options.version,
                created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                licence=options.licence or hearing.licence,
                attribution=options.attribution or hearing.attribution,
                source=hearing.origin,
                onnx=Onnx(sha256="0" * 64, opset=OPSET, precision=hearing.precision),
                frontend=hearing.frontend,
                window=hearing.window,
                input=hearing.input,
                outputs=Outputs(clip=ClipOutput(name="clip", activation=activation), frames=frames),
                decoding="multiclass" if self._exclusive else "multilabel",
                labels=tuple(
                    label.model_copy(
                        update={
                            "name": display_name(label.name),
                            "merge_gap_s": MERGE_GAP_S["frames" if frames else "clip"],
                        }
                    )
                    for label in class_labels(self._collection.labels)
                ),
            )
        except ValidationError as error:
            raise ConfigError("\n".join(describe_errors(error, BundleSpec))) from None

    def _measure(
        self, bundle: Bundle, composed: Composed, parts: Split, fit: Fit
    ) -> dict[str, Any]:
        """Let the detector hear what was held out; choose thresholds and say how good it is."""
        examples = list(composed.held_out_examples())
        scored = self._score(bundle, examples)
        thresholds = choose_thresholds(scored)
        slugs = [label.slug for label in bundle.spec.labels]
        plain = scored.first(len(examples) - composed.held_out_windows)
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
                "windows": composed.windows,
                "epochs": fit.progress.epoch,
                "best_epoch": fit.progress.best_epoch + 1,
                "held_out_loss": round(fit.progress.best_loss, 4),
                "seed": self._options.seed,
            },
        }
        labels = tuple(
            label.model_copy(update={"onset_threshold": onset, "offset_threshold": offset})
            for label, (onset, offset) in zip(bundle.spec.labels, thresholds, strict=True)
        )
        return {"labels": labels, "metrics": metrics}

    def _score(self, bundle: Bundle, examples: Sequence[Example]) -> Scored:
        session = Session(bundle, "cpu", os.cpu_count() or 1)
        scores = []
        for first in range(0, len(examples), _SCORED_AT_ONCE):
            scores += session.score(
                [self._window(e.samples) for e in examples[first : first + _SCORED_AT_ONCE]]
            )
        clip = np.stack([s.clip for s in scores if s.clip is not None])
        frames = [s.frames for s in scores if s.frames is not None]
        return Scored(examples, clip, np.stack(frames) if frames else None)

    def _window(self, samples: FloatArray) -> Window:
        size = len(samples)
        return Window(0, size, size, self._hearing.data(samples), power=0.0)

    def _expected(self, network: Encoder | None, hidden: HiddenStates, head: Head) -> Logits:
        """What the bundle must say: the base's own features and network, then the head."""
        checkpoint = self._base.checkpoint
        if checkpoint is not None:
            encoder = network or Encoder(checkpoint).eval()
            encoder.prelude = nn.Identity()

        def logits(sounds: FloatArray) -> dict[str, FloatArray]:
            with torch.no_grad():
                if checkpoint is not None:
                    states = encoder(checkpoint.features.reference(sounds))
                else:
                    given = np.stack([self._hearing.data(sound) for sound in sounds])
                    states = torch.from_numpy(hidden(given))
                clip, frames = head(states)
            return {"clip": clip.numpy()} | ({} if frames is None else {"frames": frames.numpy()})

        return logits

    def _compare(self, bundle: Bundle, expected: Logits) -> dict[str, Any]:
        """Hold each output against what PyTorch says."""
        spec = bundle.spec
        sounds = sounds_to_compare(spec.window.samples)
        logits = expected(sounds)
        # In lower precision the layer was fitted to hidden states as they are: the distance from
        # PyTorch's is told, and how good the result is was measured on the graph itself.
        limit = PARITY_LIMITS["fp32"] if self._hearing.precision == "fp32" else math.inf
        found: list[Parity] = []
        for kind, output in (("clip", spec.outputs.clip), ("frames", spec.outputs.frames)):
            if output is not None:
                alone = spec.model_copy(update={"outputs": Outputs(**{kind: output})})
                right = probabilities(logits[kind], output.activation)
                found.append(compare_bundle(Bundle(bundle.folder, alone), sounds, right, limit))
        parity = max(found, key=lambda p: p.max_probability_difference).as_json()
        if self._base.checkpoint is None:
            parity["reference"] = f"hidden states of {spec.source.checkpoint}, a layer in PyTorch"
        return {"parity": parity}


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
