"""Where a checkpoint's files are, on disk or on the Hugging Face hub, and which may be read.

Weights are read from safetensors; pickled ones, which can run programs, only where that is allowed.
Code that a checkpoint brings along is not even downloaded.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from detector.errors import BundleError, ConfigError

CONFIG = "config.json"
_SAFE = "model.safetensors"
_SAFE_INDEX = "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_DESCRIPTION = ["*.json", "*.txt", "*.model", "README.md"]
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Repository:
    """A folder that `save_pretrained` wrote, or a repository on the hub."""

    where: str
    """As the person who exports calls it."""
    folder: Path
    commit: str | None
    """On the hub."""

    @property
    def name(self) -> str:
        """Without where on this machine it lies."""
        return self.where if self.commit else self.folder.resolve().name

    def has(self, *names: str) -> bool:
        """Whether one of these files is there."""
        return any((self.folder / name).is_file() for name in names)

    @property
    def is_safe(self) -> bool:
        """Whether the weights are there as safetensors."""
        return self.has(_SAFE, _SAFE_INDEX)


def find(where: str, revision: str | None) -> Repository:
    """A folder, or the description (everything but the weights) from the hub or its cache.

    Raises:
        ConfigError: `where` is no checkpoint's name, or a folder with a revision.
        BundleError: the hub does not have it, or cannot be reached.
    """
    folder = Path(where).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(
                f"--revision {revision}: {where} is a folder; only repositories on the Hugging "
                "Face hub have revisions"
            )
        return Repository(where, folder, None)
    if folder.exists():
        raise ConfigError(f"{where}: is a file; give the folder that save_pretrained wrote")
    if not _HUB_NAME.fullmatch(where):
        raise ConfigError(
            f"{where}: no such folder, and no name of a repository on the Hugging Face hub "
            "(organisation/name)"
        )
    snapshot = _fetch(where, revision, _DESCRIPTION)
    return Repository(where, snapshot, snapshot.name)


def read_config(repository: Repository) -> dict[str, Any]:
    """`config.json`.

    Raises:
        BundleError: it is missing, damaged, or of weights that cannot be read.
    """
    path = repository.folder / CONFIG
    if not path.is_file():
        raise BundleError(
            f"{path}: no such file: {repository.where} is not a checkpoint that save_pretrained "
            "wrote"
        )
    settings = _read_json(path)
    if not isinstance(settings.get("model_type"), str):
        raise BundleError(
            f"{path}: has no model_type; which architecture the weights belong to cannot be told"
        )
    if "transformers_weights" in settings:  # it could name a pickle
        raise BundleError(
            f"{path}: transformers_weights: the weights must be in {_SAFE}, not in a file that "
            "the configuration names"
        )
    if "quantization_config" in settings:
        raise BundleError(
            f"{path}: quantization_config: the weights are quantised; export the checkpoint in "
            "full precision, and let --precision make it smaller"
        )
    return settings


def ensure_weights(repository: Repository, *, allow_pickle: bool) -> None:
    """Download the weights where they come from the hub, and see that they may be read.

    Raises:
        BundleError: naming the file that is missing or must not be read.
    """
    if repository.commit is not None:
        weights = [_SAFE, "model-*.safetensors"]
        _fetch(repository.where, repository.commit, [*_DESCRIPTION, *weights])
        if allow_pickle and not repository.is_safe:
            weights = [_PICKLED[0], "pytorch_model-*.bin"]
            _fetch(repository.where, repository.commit, [*_DESCRIPTION, *weights])
    adapter = repository.folder / "adapter_config.json"
    if adapter.is_file():
        raise BundleError(
            f"{adapter}: this is an adapter, a part of a model; merge it into its base "
            "(merge_and_unload) and save the whole"
        )
    if repository.is_safe:
        _check_shards(repository)
    elif not repository.has(*_PICKLED):
        hint = "" if allow_pickle else "; if it has pickled ones, --allow-pickle reads them"
        raise BundleError(f"{repository.folder / _SAFE}: no such file: no weights{hint}")
    elif not allow_pickle:
        raise BundleError(
            f"{repository.folder / _PICKLED[0]}: is a pickle, which can run any program when it "
            "is read, and there is no model.safetensors. If you trust whoever made it, give "
            "--allow-pickle; better, save the model as safetensors"
        )


def licence_of(repository: Repository) -> str:
    """The licence that the model card names, or "unknown"."""
    path = repository.folder / "README.md"
    try:
        card = huggingface_hub.ModelCard.load(path).data.to_dict() if path.is_file() else {}
    except Exception:  # noqa: BLE001 (a card is prose; nothing in it may stop an export)
        return "unknown"
    licence = card.get("license_name") or card.get("license")
    return licence if isinstance(licence, str) and licence else "unknown"


def _fetch(name: str, revision: str | None, patterns: list[str]) -> Path:
    """Download what is not in the cache, with progress on stderr."""
    try:
        return Path(
            huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns)
        )
    except LocalEntryNotFoundError:
        cause = "it is not in the cache, and the hub cannot be reached"
    except (HfHubHTTPError, HFValidationError) as error:
        cause = str(error).strip().splitlines()[-1]
    except OSError as error:
        cause = str(error)
    at = f" at revision {revision}" if revision else ""
    raise BundleError(
        f"{name}: no such folder here, and it cannot be had from the Hugging Face hub{at}: {cause}"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise BundleError(f"{path}: is not a JSON object")
    return table


def _check_shards(repository: Repository) -> None:
    """An index of several files may name only safetensors that lie beside it."""
    if repository.has(_SAFE):
        return
    index = repository.folder / _SAFE_INDEX
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise BundleError(f"{index}: has no weight_map")
    for name in sorted({str(name) for name in names.values()}):
        if not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise BundleError(f"{index}: names {name!r}; a part must be a .safetensors beside it")
        if not repository.has(name):
            raise BundleError(f"{index.parent / name}: is missing, though {index.name} names it")
