"""Checkpoints: trained models, loaded with all that an export must know of them."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import transformers
from transformers.models.auto import modeling_auto

from detector.errors import BundleError
from detector.spec import Ctc, Label, Origin
from export.checkpoints.families import FAMILIES, REFUSED, Family
from export.checkpoints.labels import are_of_audioset, class_labels, token_labels
from export.checkpoints.repository import (
    CONFIG,
    Repository,
    ensure_weights,
    find,
    licence_of,
    read_config,
)
from export.features.base import Features

Task = Literal["clip", "frames", "ctc", "encoder"]
"""What is wanted of a checkpoint: one score set for the whole window, one for each frame, one for
each frame over a CTC vocabulary, or its hidden states alone."""

Decoding = Literal["multilabel", "multiclass", "ctc"]

_EXTRACTOR = ("preprocessor_config.json", "processor_config.json")
_UNTRAINED = {"masked_spec_embed"}
"""Weights that training alone uses; a checkpoint may lack them."""
_HEADS = {"classifier", "projector", "lm_head", "ctc_head", "layer_weights"}
"""What lies on top of encoders."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How transformers and `detector-export` call what does a task."""

    command: str
    suffix: str
    """Of the names of classes that can do nothing else."""
    loader: Any
    types: Mapping[str, Any]
    """The model types that can do it."""


_KINDS: Mapping[Task, _Kind] = {
    "clip": _Kind(
        "model",
        "ForSequenceClassification",
        transformers.AutoModelForAudioClassification,
        modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    ),
    "frames": _Kind(
        "frames",
        "ForAudioFrameClassification",
        transformers.AutoModelForAudioFrameClassification,
        modeling_auto.MODEL_FOR_AUDIO_FRAME_CLASSIFICATION_MAPPING_NAMES,
    ),
    "ctc": _Kind(
        "ctc",
        "ForCTC",
        transformers.AutoModelForCTC,
        modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES,
    ),
    "encoder": _Kind("head", "Model", transformers.AutoModel, FAMILIES),
}


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
    family = _family(repository, settings, task)
    with _quietly():
        features = _load_features(repository, family)
    ensure_weights(repository, allow_pickle=allow_pickle)
    with _quietly():
        model = _load_model(repository, family, task, allow_pickle=allow_pickle)
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


def _built(settings: Mapping[str, Any]) -> str:
    """The class that the checkpoint was saved from."""
    names = settings.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _family(repository: Repository, settings: Mapping[str, Any], task: Task) -> Family:
    kind, built = settings["model_type"], _built(settings)
    if kind in REFUSED:
        raise BundleError(f"{repository.where}: a {kind} cannot be exported: {REFUSED[kind]}")
    if kind not in FAMILIES:
        raise BundleError(
            f"{repository.where}: model_type = {kind!r} ({built or 'no architecture named'}) "
            f"cannot be exported: {_why_unknown(settings)}. Known are {', '.join(FAMILIES)}"
        )
    if task != "encoder" and "Generation" in built:
        raise BundleError(
            f"{repository.where}: a {built} writes text: it has a decoder and no classification "
            "layer; `detector-export head` fits one to its encoder"
        )
    if kind not in _KINDS[task].types:
        able = [k.command for t, k in _KINDS.items() if kind in k.types and t != "encoder"]
        raise BundleError(
            f"{repository.where}: there is no {kind} for `detector-export {_KINDS[task].command}`, "
            f"only for `{'`, `'.join(able)}`; `head` fits a new classification layer to its encoder"
        )
    for other in _KINDS.values():
        if task != "encoder" and other != _KINDS[task] and built.endswith(other.suffix):
            raise BundleError(
                f"{repository.where}: this checkpoint has no classification layer of that kind: it "
                f"is a {built}, which `detector-export {other.command}` takes; or "
                "`detector-export head` fits a new layer"
            )
    return FAMILIES[kind]


def _why_unknown(settings: Mapping[str, Any]) -> str:
    built = _built(settings)
    if "auto_map" in settings:
        return "its architecture is code of its own (auto_map), which is never run"
    if settings.get("is_encoder_decoder"):
        return "it is an encoder and a decoder, and generates"
    if "CausalLM" in built or "LMHead" in built:
        return "it is a language model, and generates"
    if "Image" in built or "vision_config" in settings or "image_size" in settings:
        return "it looks at images"
    return "it is no encoder of audio that is known here"


def _load_features(repository: Repository, family: Family) -> Features:
    path = repository.folder / _EXTRACTOR[0]
    if not repository.has(*_EXTRACTOR):
        raise BundleError(
            f"{path}: no such file: without its feature extractor nobody knows what "
            f"{repository.where} wants to hear; save_pretrained the one that it was trained with "
            "there"
        )
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(
            repository.folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # noqa: BLE001 (whatever a crafted file provokes)
        raise BundleError(f"{path}: is no feature extractor's: {first_line(error)}") from None
    kind = type(extractor).__name__
    if kind not in family.features.extractors:
        raise BundleError(
            f"{path}: is a {kind}'s; this architecture takes a "
            f"{' or a '.join(family.features.extractors)}"
        )
    try:
        return family.features(extractor)
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from None


def _load_model(repository: Repository, family: Family, task: Task, *, allow_pickle: bool) -> Any:  # noqa: ANN401
    try:
        model, report = _KINDS[task].loader.from_pretrained(
            repository.folder,
            dtype=torch.float32,
            use_safetensors=repository.is_safe or not allow_pickle,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:  # noqa: BLE001 (whatever a crafted file provokes)
        raise BundleError(
            f"{repository.where}: the weights cannot be loaded, they are damaged or do not fit "
            f"{CONFIG}: {first_line(error)}"
        ) from None
    missing = {key for key in report["missing_keys"] if key.split(".")[-1] not in _UNTRAINED}
    if task == "encoder" and family.encoder:
        missing = {key for key in missing if key.startswith(f"{family.encoder}.")}
    if missing:
        raise BundleError(f"{repository.where}: {_what_is_missing(missing)}")
    return model.eval()


def _what_is_missing(missing: set[str]) -> str:
    shown = ", ".join(sorted(missing)[:3]) + (", …" if len(missing) > 3 else "")  # noqa: PLR2004
    if not all(key.split(".")[0] in _HEADS for key in missing):
        return f"the weights lack {shown}: they are not whole, or belong to another {CONFIG}"
    return (
        f"this checkpoint has no classification layer ({shown} would be random): "
        "`detector-export head` fits one"
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


def first_line(error: Exception) -> str:
    """What kind of error it is and how its message begins: enough of another program's error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'it says no more'}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers' own words, meant for programmers, from the terminal."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
