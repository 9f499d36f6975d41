"""Tiny checkpoints of every architecture, as save_pretrained leaves them.

Their weights are random but the same every time, and their heads large enough that no two sounds
have the same scores.
"""

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
import transformers as tf
from torch import nn

Task = Literal["clip", "frames", "ctc"]

LABELS = ("Dog", "Car horn", "Wail, moan", "Dog", "犬/cat+")
VOCABULARY = ("<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "'", "ü")

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
_WAV: dict[str, Any] = _SIZES | {
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 24,
    "feat_proj_dropout": 0.0,
}
_SEW: dict[str, Any] = _WAV | {
    "conv_dim": (16,) * 13,
    "squeeze_factor": 2,
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "audio-spectrogram-transformer": ("ASTConfig", _SIZES | {"max_length": 128}),
    "data2vec-audio": ("Data2VecAudioConfig", _WAV | {"conv_pos_kernel_size": 3}),
    "hubert": ("HubertConfig", _WAV),
    "sew": ("SEWConfig", _SEW),
    "sew-d": ("SEWDConfig", _SEW | {"position_buckets": 16, "max_position_embeddings": 32}),
    "unispeech": ("UniSpeechConfig", _WAV),
    "unispeech-sat": ("UniSpeechSatConfig", _WAV),
    "wav2vec2": ("Wav2Vec2Config", _WAV),
    "wav2vec2-conformer": (
        "Wav2Vec2ConformerConfig",
        _WAV | {"position_embeddings_type": "relative", "conv_depthwise_kernel_size": 5},
    ),
    "wavlm": ("WavLMConfig", _WAV),
    "wav2vec2-bert": (
        "Wav2Vec2BertConfig",
        _SIZES | {"conv_depthwise_kernel_size": 5, "classifier_proj_size": 24},
    ),
    "whisper": (
        "WhisperConfig",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_source_positions": 100,
            "classifier_proj_size": 24,
            "vocab_size": 20,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
    ),
    "parakeet_ctc": (
        "ParakeetCTCConfig",
        {
            "encoder_config": _SIZES
            | {"num_mel_bins": 80, "subsampling_conv_channels": 8, "conv_kernel_size": 5}
        },
    ),
    "lasr_ctc": (
        "LasrCTCConfig",
        {"encoder_config": _SIZES | {"subsampling_conv_channels": 8, "conv_kernel_size": 6}},
    ),
}
_TASKS: dict[Task, Any] = {
    "clip": tf.AutoModelForAudioClassification,
    "frames": tf.AutoModelForAudioFrameClassification,
    "ctc": tf.AutoModelForCTC,
}


def config_of(kind: str, **changes: Any) -> Any:
    """A tiny configuration of this architecture."""
    name, settings = CONFIGS[kind]
    if name.startswith(("Parakeet", "Lasr")):
        return getattr(tf, name)(**(settings | {"pad_token_id": 0} | changes))
    return getattr(tf, name)(**(settings | changes))


def extractor_of(kind: str, **changes: Any) -> Any:
    """The feature extractor that belongs to it."""
    match kind:
        case "audio-spectrogram-transformer":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # one of its 128 mel bands is empty, as it should
                return tf.ASTFeatureExtractor(**({"max_length": 128} | changes))
        case "whisper":
            return tf.WhisperFeatureExtractor(**({"chunk_length": 2} | changes))
        case "wav2vec2-bert":
            return tf.SeamlessM4TFeatureExtractor(**changes)
        case "parakeet_ctc":
            return tf.ParakeetFeatureExtractor(**changes)
        case "lasr_ctc":
            return tf.LasrFeatureExtractor(**changes)
    return tf.Wav2Vec2FeatureExtractor(**({"do_normalize": True} | changes))


def save(folder: Path, kind: str, task: Task, *, extractor: Any = None, **changes: Any) -> Path:
    """Save a checkpoint with random weights.

    Args:
        folder: made if it is not there.
        kind: its `model_type`.
        task: what it does.
        extractor: the one that belongs to it, if None.
        changes: settings of its configuration.

    Returns:
        `folder`.
    """
    if task == "ctc":
        changes = {"vocab_size": len(VOCABULARY), "pad_token_id": 0} | changes
    else:
        changes = {"id2label": dict(enumerate(LABELS))} | changes
    config = config_of(kind, **changes)
    torch.manual_seed(1)
    model = _TASKS[task].from_config(config)
    _spread(model)
    model.save_pretrained(folder)
    (extractor or extractor_of(kind)).save_pretrained(folder)
    if task == "ctc":
        vocabulary = {token: i for i, token in enumerate(VOCABULARY)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        tokenizer = {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "pad_token": "<pad>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "word_delimiter_token": "|",
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def _spread(model: nn.Module) -> None:
    """Random layers make all sounds alike: let what follows tell them apart."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            head = name.split(".")[0] in {"classifier", "projector", "lm_head", "ctc_head"}
            if parameter.dim() > 1:
                parameter.mul_(30 if head else 2)
