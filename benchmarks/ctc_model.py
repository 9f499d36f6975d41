"""A small CTC model of words, fitted from nothing on a CPU, as transformers would save it.

CTC alone does not care when a letter comes, and learns to say it late; and from nothing it learns
slowly. So there are two stages, both with a second loss, cross-entropy of frames, in windows where
a phrase's time is known by its energy. In the first, ALIGNED, the letters are laid evenly over that
time, which teaches the words quickly and the spelling roughly. In the second, SPELT, only the first
letter is held to the phrase's onset and the blank to what is outside, and CTC spells the rest.
Recordings too noisy to tell the time have the CTC loss alone.
"""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers
from ctc_data import Utterance
from ctc_scenes import (
    BLANK,
    DELIMITER,
    FRAMES,
    UNKNOWN,
    UNKNOWN_LETTER,
    VOCABULARY,
    WINDOW,
    Scene,
    Scenes,
    Teach,
    align,
    anchor,
)
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detector.records import SAMPLE_RATE

_WARM_UP: Final = 40
_BLANK_WEIGHT: Final = 0.3


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the fit."""

    teach: Teach
    """What is known of a frame."""
    ctc_weight: float
    """Beside the cross-entropy of frames."""
    steps: int
    batch: int
    """Windows a step."""
    rate: float
    """Of learning, at its highest."""
    seed: int
    """Of the weights and the windows."""


ALIGNED: Final = Stage(align, ctc_weight=0.2, steps=800, batch=16, rate=2e-3, seed=0)
SPELT: Final = Stage(anchor, ctc_weight=1.0, steps=1300, batch=16, rate=1.5e-3, seed=1)


def fit(
    utterances: list[Utterance], stage: Stage, begin: Path | None, folder: Path, minutes: float
) -> dict[str, float]:
    """Fit a model and save it as a checkpoint.

    Args:
        utterances: what it may learn from.
        stage: how.
        begin: the checkpoint to go on with; None begins with random weights.
        folder: the checkpoint's.
        minutes: it ends after so many, whatever was reached.

    Returns:
        The steps taken and the minutes spent.
    """
    torch.manual_seed(stage.seed)
    torch.set_num_threads(1)
    network = transformers.ParakeetForCTC
    model: Any = network.from_pretrained(begin) if begin else network(_config())
    model.train()
    average = get_ema_multi_avg_fn(0.98)  # type: ignore[no-untyped-call]
    averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    extractor = transformers.ParakeetFeatureExtractor()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.05)
    scenes = iter(Scenes(utterances, stage.teach, stage.seed))
    began = time.monotonic()
    spent = 0.0
    step = 0
    while step < stage.steps and spent < minutes:
        share = max(step / stage.steps, spent / minutes)
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * min((step + 1) / _WARM_UP, (1 + np.cos(np.pi * share)) / 2)
        batch = list(itertools.islice(scenes, stage.batch))
        by_frame, by_word = _losses(model, extractor, batch)
        optimizer.zero_grad()
        (by_frame + stage.ctc_weight * by_word).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        averaged.update_parameters(model)
        step += 1
        spent = (time.monotonic() - began) / 60
        if step % 20 == 0:
            print(f"{step} {spent:.1f} min: {by_frame:.3f} {by_word:.3f}", flush=True)
    _save(averaged.module.eval(), extractor, folder)
    return {"steps": step, "minutes": spent}


def _config() -> Any:  # noqa: ANN401 (transformers is untyped)
    return transformers.ParakeetCTCConfig(
        vocab_size=len(VOCABULARY),
        pad_token_id=VOCABULARY.index(BLANK),
        encoder_config={
            "hidden_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "num_mel_bins": 80,
            "subsampling_factor": 4,  # a frame of 40 ms: with the usual 80, letters are lost
            "subsampling_conv_channels": 16,
            "conv_kernel_size": 9,
            "layerdrop": 0.0,
        },
    )


def _losses(
    model: Any,  # noqa: ANN401
    extractor: Callable[..., Any],
    batch: list[Scene],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of frames, and CTC of those windows that have whole words alone."""
    features = extractor(
        [scene.samples for scene in batch],
        sampling_rate=SAMPLE_RATE,
        return_tensors="pt",
        padding="max_length",
        max_length=WINDOW,
    )["input_features"][:, :-1]  # the last frame lies beyond the window
    logits = model(input_features=_mask(features)).logits
    weight = torch.ones(len(VOCABULARY))
    weight[VOCABULARY.index(BLANK)] = _BLANK_WEIGHT
    frames = torch.from_numpy(np.stack([scene.frames for scene in batch]))
    by_frame = nn.functional.cross_entropy(
        logits.transpose(1, 2), frames, weight, ignore_index=UNKNOWN
    )
    whole = [i for i, scene in enumerate(batch) if scene.tokens is not None]
    tokens = [torch.tensor(batch[i].tokens, dtype=torch.long) for i in whole]
    by_word = nn.functional.ctc_loss(
        logits[whole].log_softmax(2).transpose(0, 1),
        torch.cat(tokens),
        torch.full((len(whole),), FRAMES),
        torch.tensor([len(t) for t in tokens]),
        blank=VOCABULARY.index(BLANK),
        zero_infinity=True,
        reduction="sum",
    )
    return by_frame, by_word / (1 + sum(len(t) for t in tokens))


def _mask(features: torch.Tensor) -> torch.Tensor:
    """SpecAugment (Park et al., 2019): a band of frequencies and a moment are not heard."""
    masked = features.clone()
    batch, frames, bins = features.shape
    for i in range(batch):
        width, length = (int(torch.randint(0, most, ())) for most in (12, 12))
        low, first = (int(torch.randint(0, most, ())) for most in (bins - 12, frames - 12))
        masked[i, :, low : low + width] = 0
        masked[i, first : first + length] = 0
    return masked


def _save(model: Any, extractor: Any, folder: Path) -> None:  # noqa: ANN401
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(VOCABULARY)}))
    transformers.Wav2Vec2CTCTokenizer(
        vocabulary,
        pad_token=BLANK,
        unk_token=UNKNOWN_LETTER,
        word_delimiter_token=DELIMITER,
        bos_token=None,
        eos_token=None,
    ).save_pretrained(folder)
