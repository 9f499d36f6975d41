"""Checkpoints: trained models, loaded with all that an export must know of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import transformers

from detector.errors import BundleError
from detector.spec import Ctc, Decoding, Label, Origin
from export.checkpoints.families import Family
from export.checkpoints.labels import are_of_audioset, class_labels, token_labels
from export.checkpoints.loading import load_features, load_model, transformers_quiet
from export.checkpoints.repository import (
    CONFIG,
    Repository,
    ensure_weights,
    find,
    licence_of,
    read_config,
)
from export.checkpoints.tasks import Task, family_of
from export.errors import first_line
from export.features.base import Features


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with all that an export must know of it."""

    model: Any = field(repr=False)
    """A transformers model in evaluation mode, float32, on the CPU."""
    config: Any = field(repr=False)
    """Its transformers configuration."""
    features: Features
    """What it wants to hear."""
    family: Family
    task: Task
    origin: Origin
    labels: tuple[Label, ...]
    """In the order of the model's outputs; none for an encoder."""
    decoding: Decoding | None
    """None for an encoder."""
    ctc: Ctc | None
    licence: str
    """As the model card names it, or "unknown"."""


def load_checkpoint(
    where: str,
    task: Task,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    decoding: Literal["multilabel", "multiclass"] | None = None,
) -> Checkpoint:
    """Load a checkpoint for a task. Code that it brings along is never run.

    Args:
        where: a folder that `save_pretrained` wrote, or the name of a repository on the Hugging
            Face hub (`organisation/name`), which is downloaded, with progress on stderr, unless it
            is in the cache.
        task: "encoder" takes any checkpoint of a known architecture, whatever lies on top of it.
        revision: branch, tag or commit in the repository.
        allow_pickle: read pickled weights where there are no others.
        decoding: what a classifier was trained for, where its configuration says nothing or
            something else.

    Raises:
        ConfigError: `where` is no checkpoint's name.
        BundleError: naming the file or the field, what is wrong with it and what to do.
    """
    repository = find(where, revision)
    settings = read_config(repository)
    family = family_of(repository, settings, task)
    with transformers_quiet():
        features = load_features(repository, family)
    ensure_weights(repository, allow_pickle=allow_pickle)
    with transformers_quiet():
        model = load_model(repository, family, task, allow_pickle=allow_pickle)
        labels, ctc = _labels(repository, model.config, task)
    return Checkpoint(
        model=model,
        config=model.config,
        features=features,
        family=family,
        task=task,
        origin=Origin(
            checkpoint=repository.name,
            revision=repository.commit,
            architecture=type(model).__name__,
        ),
        labels=labels,
        decoding=_decoding(repository, settings, task, labels, decoding),
        ctc=ctc,
        licence=licence_of(repository),
    )


def _labels(
    repository: Repository,
    config: Any,  # noqa: ANN401
    task: Task,
) -> tuple[tuple[Label, ...], Ctc | None]:
    if task == "encoder":
        return (), None
    if task == "ctc":
        return _vocabulary(repository, config)
    names = config.id2label
    if sorted(names) != list(range(config.num_labels)):
        raise BundleError(f"{repository.folder / CONFIG}: id2label does not name every output")
    return class_labels([str(names[i]) for i in range(len(names))]), None


def _vocabulary(
    repository: Repository,
    config: Any,  # noqa: ANN401
) -> tuple[tuple[Label, ...], Ctc]:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            repository.folder, trust_remote_code=False, local_files_only=True
        )
        tokens = {int(i): str(token) for token, i in tokenizer.get_vocab().items()}
    except Exception as error:  # noqa: BLE001 (whatever a crafted file provokes)
        raise BundleError(
            f"{repository.where}: its tokenizer, whose vocabulary becomes the labels, cannot be "
            f"read: {first_line(error)}"
        ) from None
    size, blank = config.vocab_size, config.pad_token_id
    if blank is None or not 0 <= blank < size:
        raise BundleError(
            f"{repository.folder / CONFIG}: pad_token_id = {blank}: the blank of a CTC model must "
            f"be one of its {size} tokens"
        )
    delimiter = getattr(tokenizer, "word_delimiter_token", None)
    names = [tokens.get(i, f"<unused_{i}>") for i in range(size)]
    return token_labels(names, names[blank], delimiter if delimiter in names else None)


def _decoding(
    repository: Repository,
    settings: Mapping[str, Any],
    task: Task,
    labels: tuple[Label, ...],
    wanted: Decoding | None,
) -> Decoding | None:
    if task in ("ctc", "encoder"):
        return "ctc" if task == "ctc" else None
    problem = settings.get("problem_type")
    if problem == "regression" and wanted is None:
        raise BundleError(
            f"{repository.folder / CONFIG}: problem_type = 'regression': its outputs are "
            "quantities, not probabilities"
        )
    several = problem == "multi_label_classification" or (
        problem is None and are_of_audioset(labels)
    )
    decoding = wanted or ("multilabel" if several else "multiclass")
    if decoding == "multiclass" and len(labels) == 1:
        raise BundleError(
            f"{repository.where}: has one label, {labels[0].name!r}: the softmax over one is "
            "always 1. If it was trained with a sigmoid, give --decoding multilabel"
        )
    return decoding
