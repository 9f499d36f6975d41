"""A checkpoint loads with all that is known of it, or is refused with what is wrong with it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")

import torch
import transformers
from safetensors.torch import load_file, save_file

from detector.errors import BundleError, ConfigError
from export.audioset.ontology import ontology
from export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from export.checkpoints.tasks import Task
from tests.export.checkpoints import LABELS, VOCABULARY, config_of, extractor_of, save

pytestmark = pytest.mark.export

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    save(folder / "clip", "wav2vec2", "clip")
    save(folder / "frames", "wav2vec2", "frames")
    save(folder / "ctc", "wav2vec2", "ctc")
    save(folder / "ast", "audio-spectrogram-transformer", "clip")
    return folder


@pytest.fixture
def copy(originals: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A checkpoint to damage."""
    return lambda name: Path(shutil.copytree(originals / name, tmp_path / name))


def edit(path: Path, **changes: Any) -> None:
    """Change settings of a JSON file; None removes one."""
    table = json.loads(path.read_text("utf-8")) | changes
    table = {key: value for key, value in table.items() if value is not None}
    path.write_text(json.dumps(table), encoding="utf-8")


def refused(folder: Path | str, task: Task = "clip", **options: Any) -> str:
    with pytest.raises((BundleError, ConfigError)) as caught:
        load_checkpoint(str(folder), task, **options)
    return str(caught.value)


def test_a_classifier_brings_its_labels_and_its_past(originals: Path) -> None:
    found = load_checkpoint(str(originals / "clip"), "clip")
    assert [label.name for label in found.labels] == list(LABELS)
    assert (found.decoding, found.ctc, found.licence) == ("multiclass", None, "unknown")
    assert found.origin.checkpoint == "clip"  # no path of this machine
    assert found.origin.architecture == "Wav2Vec2ForSequenceClassification"
    assert not found.model.training


def test_a_ctc_model_brings_its_vocabulary(originals: Path) -> None:
    found = load_checkpoint(str(originals / "ctc"), "ctc")
    assert [label.name for label in found.labels] == list(VOCABULARY)
    assert found.decoding == "ctc"
    assert found.ctc is not None
    assert (found.ctc.blank, found.ctc.word_delimiter) == ("special_pad", "token_vertical_line")


def test_outputs_without_a_token_are_labels_that_are_not_enabled(
    copy: Callable[[str], Path],
) -> None:
    folder = copy("ctc")
    edit(folder / "vocab.json", E=None)
    found = load_checkpoint(str(folder), "ctc")
    assert [label.slug for label in found.labels if "unused" in label.slug] == ["special_unused_5"]
    assert not found.labels[5].enabled


@pytest.mark.parametrize("name", ["clip", "frames", "ctc", "ast"])
def test_any_checkpoint_is_an_encoder(originals: Path, name: str) -> None:
    found = load_checkpoint(str(originals / name), "encoder")
    assert (found.labels, found.decoding, found.ctc) == ((), None, None)


@pytest.mark.parametrize(
    ("problem", "decoding", "expected"),
    [
        ("multi_label_classification", None, "multilabel"),
        ("single_label_classification", None, "multiclass"),
        (None, None, "multiclass"),
        (None, "multilabel", "multilabel"),
        ("multi_label_classification", "multiclass", "multiclass"),
    ],
)
def test_decoding_is_what_the_checkpoint_was_trained_for_unless_told(
    copy: Callable[[str], Path], problem: str | None, decoding: Any, expected: str
) -> None:
    folder = copy("clip")
    edit(folder / "config.json", problem_type=problem)
    assert load_checkpoint(str(folder), "clip", decoding=decoding).decoding == expected


def test_audioset_labels_are_heard_several_at_a_time(tmp_path: Path) -> None:
    names = [kind.name for kind in ontology().values()]
    folder = save(
        tmp_path / "a", "audio-spectrogram-transformer", "clip", id2label=dict(enumerate(names))
    )
    found = load_checkpoint(str(folder), "clip")
    assert found.decoding == "multilabel"
    assert found.labels[0].mid == "/m/0dgw9r"


def test_licence_is_the_model_cards(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    (folder / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n# A model\n")
    assert load_checkpoint(str(folder), "clip").licence == "bsd-3-clause"


def test_a_card_that_cannot_be_read_stops_nothing(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    assert load_checkpoint(str(folder), "clip").licence == "unknown"


# What must not be read


def test_a_pickle_is_refused_unless_it_is_allowed(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    told = refused(folder)
    assert "pytorch_model.bin" in told
    assert "--allow-pickle" in told
    assert load_checkpoint(str(folder), "clip", allow_pickle=True).labels


def test_safetensors_are_read_even_where_a_pickle_is_allowed(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")
    assert load_checkpoint(str(folder), "clip", allow_pickle=True).labels


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}, "model_type": "own"}, "never run"),
        ({"transformers_weights": "pytorch_model.bin"}, "transformers_weights"),
        ({"quantization_config": {"quant_method": "gptq"}}, "full precision"),
    ],
)
def test_what_would_run_or_fetch_something_else_is_refused(
    copy: Callable[[str], Path], changes: dict[str, Any], told: str
) -> None:
    folder = copy("clip")
    edit(folder / "config.json", **changes)
    assert told in refused(folder)


def test_code_that_a_known_architecture_brings_is_not_run(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    ran = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    names = {
        "AutoConfig": "evil.Config",
        "AutoModelForAudioClassification": "evil.Model",
        "AutoFeatureExtractor": "evil.Extractor",
    }
    edit(folder / "config.json", auto_map=names)
    edit(folder / "preprocessor_config.json", auto_map=names)
    assert load_checkpoint(str(folder), "clip").labels
    assert not ran.exists()


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "weights.bin"])
def test_an_index_that_leads_elsewhere_is_refused(copy: Callable[[str], Path], name: str) -> None:
    folder = copy("clip")
    (folder / WEIGHTS).unlink()
    index = {"metadata": {}, "weight_map": {"classifier.bias": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert re.search(rf"index\.json: names '{re.escape(name)}'", refused(folder))


def test_a_missing_part_of_the_weights_is_named(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    (folder / WEIGHTS).unlink()
    index = {"metadata": {}, "weight_map": {"classifier.bias": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors: is missing" in refused(folder)


# What is missing, damaged, or of another kind


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "none")


def test_a_file_is_no_folder(originals: Path) -> None:
    assert "is a file" in refused(originals / "clip" / WEIGHTS)


def test_a_folder_has_no_revision(originals: Path) -> None:
    assert "--revision v1" in refused(originals / "clip", revision="v1")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("config.json", r"config\.json: no such file"),
        ("preprocessor_config.json", r"preprocessor_config\.json: no such file.*feature extractor"),
        (WEIGHTS, r"model\.safetensors: no such file"),
    ],
)
def test_a_missing_file_is_named(copy: Callable[[str], Path], file: str, told: str) -> None:
    folder = copy("clip")
    (folder / file).unlink()
    assert re.search(told, refused(folder))


def test_a_ctc_model_without_tokenizer_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("ctc")
    (folder / "vocab.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert "tokenizer" in refused(folder, "ctc")


@pytest.mark.parametrize("text", ["{", "[]", "\xff", '{"model_type": 3}'])
def test_a_damaged_configuration_is_named(copy: Callable[[str], Path], text: str) -> None:
    folder = copy("clip")
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    assert "config.json" in refused(folder)


@pytest.mark.parametrize("kept", [0, 7, 2000, -1])
def test_truncated_weights_are_refused(copy: Callable[[str], Path], kept: int) -> None:
    path = copy("clip") / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    assert "weights cannot be loaded" in refused(path.parent)


def test_weights_of_another_shape_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    edit(folder / "config.json", hidden_size=64)
    assert "do not fit config.json" in refused(folder)


def test_weights_that_lack_a_layer_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    weights = load_file(folder / WEIGHTS)
    del weights["wav2vec2.encoder.layers.1.attention.k_proj.weight"]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    assert "the weights lack wav2vec2.encoder.layers.1" in refused(folder)


@pytest.mark.parametrize(
    ("name", "task", "command"),
    [("ctc", "clip", "ctc"), ("clip", "frames", "model"), ("frames", "ctc", "frames")],
)
def test_a_head_that_would_be_random_is_refused_and_the_right_command_named(
    originals: Path, name: str, task: Task, command: str
) -> None:
    told = refused(originals / name, task)
    assert "no classification layer" in told
    assert f"`detector-export {command}`" in told
    assert "`detector-export head`" in told


def test_an_encoder_alone_is_sent_to_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    transformers.Wav2Vec2Model(config_of("wav2vec2")).save_pretrained(tmp_path)
    extractor_of("wav2vec2").save_pretrained(tmp_path)
    told = refused(tmp_path)
    assert "no classification layer" in told
    assert "`detector-export head`" in told
    assert load_checkpoint(str(tmp_path), "encoder").labels == ()


def test_whisper_that_writes_text_is_sent_to_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config_of("whisper"))
    model.save_pretrained(tmp_path)
    extractor_of("whisper").save_pretrained(tmp_path)
    told = refused(tmp_path)
    assert "writes text" in told
    assert "`detector-export head`" in told
    assert load_checkpoint(str(tmp_path), "encoder").labels == ()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model_type": "t5", "is_encoder_decoder": True}, "an encoder and a decoder"),
        (
            {"model_type": "speech_to_text", "is_encoder_decoder": True},
            "an encoder and a decoder",
        ),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "language model"),
        ({"model_type": "vit", "architectures": ["ViTForImageClassification"]}, "images"),
        ({"model_type": "bert"}, "no encoder of audio"),
        ({"model_type": "nemotron3_diarization"}, "memory from window to window"),
    ],
)
def test_models_of_other_kinds_are_refused_with_the_reason(
    copy: Callable[[str], Path], settings: dict[str, Any], told: str
) -> None:
    folder = copy("clip")
    edit(folder / "config.json", **({"architectures": None} | settings))
    assert told in refused(folder)


def test_an_architecture_without_such_a_head_names_the_command_that_fits(tmp_path: Path) -> None:
    folder = save(tmp_path / "h", "hubert", "clip")
    told = refused(folder, "frames")
    assert "no hubert for `detector-export frames`" in told
    assert "`model`, `ctc`" in told


def test_an_adapter_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    (folder / "adapter_config.json").write_text("{}")
    assert "merge_and_unload" in refused(folder)


def test_one_label_is_refused_since_its_softmax_is_always_one(tmp_path: Path) -> None:
    folder = save(tmp_path / "one", "wav2vec2", "clip", id2label={0: "Scream"})
    told = refused(folder)
    assert "one label, 'Scream'" in told
    assert "--decoding multilabel" in told
    assert load_checkpoint(str(folder), "clip", decoding="multilabel").decoding == "multilabel"


def test_a_regression_is_no_classifier(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    edit(folder / "config.json", problem_type="regression")
    assert "quantities, not probabilities" in refused(folder)


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("clip", {"sampling_rate": 8000}, "sampling_rate = 8000.*16 kHz"),
        ("ast", {"sampling_rate": 32000}, "sampling_rate = 32000.*16 kHz"),
        ("clip", {"padding_side": "left"}, "padding_side = 'left'"),
        ("clip", {"padding_value": -1.0}, "padding_value = -1.0"),
        ("ast", {"std": -3.0}, "std"),
        ("clip", {"feature_extractor_type": "WhisperFeatureExtractor"}, "Whisper.*Wav2Vec2Fe"),
        ("clip", {"feature_extractor_type": "None"}, "preprocessor_config.json"),
    ],
)
def test_what_the_detector_cannot_hear_is_refused(
    copy: Callable[[str], Path], name: str, changes: dict[str, Any], told: str
) -> None:
    folder = copy(name)
    edit(folder / "preprocessor_config.json", **changes)
    assert re.search(told, refused(folder), re.DOTALL)


# The hub


@pytest.fixture
def hub(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache as a download leaves it, and no way to the hub itself."""
    repository = tmp_path / "hub" / "models--someone--tagger"
    for commit in ("1" * 40, "2" * 40):
        shutil.copytree(originals / "clip", repository / "snapshots" / commit)
    refs = repository / "refs"
    refs.mkdir()
    (refs / "main").write_text("1" * 40)
    (refs / "v2").write_text("2" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository


@pytest.mark.parametrize(("revision", "commit"), [(None, "1"), ("v2", "2"), ("2" * 40, "2")])
def test_a_name_on_the_hub_is_loaded_at_its_revision(
    hub: Path, revision: str | None, commit: str
) -> None:
    found: Checkpoint = load_checkpoint("someone/tagger", "clip", revision=revision)
    assert found.origin.checkpoint == "someone/tagger"
    assert found.origin.revision == commit * 40
    assert len(found.labels) == len(LABELS)


def test_what_neither_the_cache_nor_the_hub_has_is_said_so(hub: Path) -> None:
    told = refused("someone/else")
    assert "someone/else: no such folder here" in told
    assert "cannot be reached" in told
    assert "at revision v9" in refused("someone/tagger", revision="v9")


@pytest.mark.parametrize("name", ["a/b/c", "../x", "no folder", "a//b"])
def test_what_can_be_no_name_on_the_hub_is_refused_without_asking_it(name: str) -> None:
    assert "no name of a repository" in refused(name)
