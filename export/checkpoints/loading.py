"""Loads a feature extractor and weights with transformers, and says plainly what is wrong."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers

from detector.errors import BundleError
from export.checkpoints.families import Family
from export.checkpoints.repository import CONFIG, Repository
from export.checkpoints.tasks import TASKS, Task
from export.errors import first_line
from export.features.base import Features

_EXTRACTOR = ("preprocessor_config.json", "processor_config.json")
_UNTRAINED = {"masked_spec_embed"}
"""Weights that training alone uses; a checkpoint may lack them."""
_HEADS = {"classifier", "projector", "lm_head", "ctc_head", "layer_weights"}
"""What lies on top of encoders."""


def load_features(repository: Repository, family: Family) -> Features:
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


def load_model(repository: Repository, family: Family, task: Task, *, allow_pickle: bool) -> Any:  # noqa: ANN401
    try:
        model, report = TASKS[task].loader.from_pretrained(
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


@contextmanager
def transformers_quiet() -> Iterator[None]:
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
