"""Which tasks there are, and which architecture can do which of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import transformers
from transformers.models.auto import modeling_auto

from detector.errors import BundleError
from export.checkpoints.families import FAMILIES, REFUSED, Family
from export.checkpoints.repository import Repository

Task = Literal["clip", "frames", "ctc", "encoder"]
"""What is wanted of a checkpoint: one score set for the whole window, one for each frame, one for
each frame over a CTC vocabulary, or its hidden states alone."""


@dataclass(frozen=True, slots=True)
class TaskClasses:
    """What transformers and `detector-export` call that which does a task."""

    command: str
    suffix: str
    """Of the names of classes that can do nothing else."""
    loader: Any
    types: Mapping[str, Any]
    """The model types that can do it."""


TASKS: Mapping[Task, TaskClasses] = {
    "clip": TaskClasses(
        "model",
        "ForSequenceClassification",
        transformers.AutoModelForAudioClassification,
        modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    ),
    "frames": TaskClasses(
        "frames",
        "ForAudioFrameClassification",
        transformers.AutoModelForAudioFrameClassification,
        modeling_auto.MODEL_FOR_AUDIO_FRAME_CLASSIFICATION_MAPPING_NAMES,
    ),
    "ctc": TaskClasses(
        "ctc",
        "ForCTC",
        transformers.AutoModelForCTC,
        modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES,
    ),
    "encoder": TaskClasses("head", "Model", transformers.AutoModel, FAMILIES),
}


def _built(settings: Mapping[str, Any]) -> str:
    """The class that the checkpoint was saved from."""
    names = settings.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def family_of(repository: Repository, settings: Mapping[str, Any], task: Task) -> Family:
    """The row of the checkpoint's architecture.

    Raises:
        BundleError: it cannot be exported, or not for this task.
    """
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
    if kind not in TASKS[task].types:
        able = [k.command for t, k in TASKS.items() if kind in k.types and t != "encoder"]
        raise BundleError(
            f"{repository.where}: there is no {kind} for `detector-export {TASKS[task].command}`, "
            f"only for `{'`, `'.join(able)}`; `head` fits a new classification layer to its encoder"
        )
    for other in TASKS.values():
        if task != "encoder" and other != TASKS[task] and built.endswith(other.suffix):
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
