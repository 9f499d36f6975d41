"""Checkpoints of published sizes with random weights, as save_pretrained leaves them."""

from pathlib import Path
from typing import Any

import torch
import transformers

AUDIOSET_LABELS = 527
OTHER_LABELS = 32


def ast_base(folder: Path, layers: int = 12) -> Path:
    """An AST for AudioSet."""
    config = transformers.ASTConfig(num_hidden_layers=layers)
    config.num_labels = AUDIOSET_LABELS
    config.problem_type = "multi_label_classification"
    extractor = transformers.ASTFeatureExtractor()
    return _save(folder / "ast-base", transformers.ASTForAudioClassification, config, extractor)


def wav2vec2_base(folder: Path, layers: int = 12) -> Path:
    """A Wav2Vec2 that classifies frames."""
    config = transformers.Wav2Vec2Config(num_hidden_layers=layers)
    config.num_labels = OTHER_LABELS
    kind = transformers.Wav2Vec2ForAudioFrameClassification
    return _save(folder / "wav2vec2-base", kind, config, transformers.Wav2Vec2FeatureExtractor())


def hubert_base(folder: Path, layers: int = 12) -> Path:
    """A HuBERT that tags clips."""
    config = transformers.HubertConfig(num_hidden_layers=layers)
    config.num_labels = OTHER_LABELS
    kind = transformers.HubertForSequenceClassification
    return _save(folder / "hubert-base", kind, config, transformers.Wav2Vec2FeatureExtractor())


def _save(folder: Path, kind: Any, config: Any, extractor: Any) -> Path:  # noqa: ANN401
    """Save a model whose weights are the same every time, and as wide as trained ones.

    As transformers draws them, all sounds would score alike, and nothing would be compared: these
    heads give logits with a standard deviation of about 2.
    """
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.08 if name.startswith(("classifier", "projector")) else 0.04)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder
