"""The architectures that can be exported: one row says all that is peculiar to one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from export.features.base import Features
from export.features.fbank import FbankFeatures
from export.features.lasr import LasrFeatures
from export.features.parakeet import ParakeetFeatures
from export.features.samples import SampleFeatures
from export.features.seamless import SeamlessFeatures
from export.features.whisper import WhisperFeatures

Convolution = tuple[int, int, int]
"""Of a layer that changes the rate of frames: kernel, stride and padding, in frames it is given."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How a network's frames lie in its window."""

    hop_samples: int
    offset_samples: int
    """Frame i stands for `offset + i * hop` up to `offset + (i + 1) * hop`."""
    span_samples: int
    """What convolutions let one frame see; no window can be shorter."""

    @property
    def grid(self) -> tuple[int, int]:
        """Hop and offset in samples."""
        return self.hop_samples, self.offset_samples


@dataclass(frozen=True, slots=True)
class Family:
    """A row. Every function takes the checkpoint's configuration."""

    features: type[Features]
    keyword: str
    """What the network calls its input."""
    layers: Callable[[Any], Sequence[Convolution]]
    """From the features' frames to the network's."""
    window: Callable[[Any], int] | None = None
    """Samples, where the network takes windows of one length alone."""
    encoder: str = ""
    """Attribute that holds the encoder, where that is not the model's base."""
    pool: Callable[[torch.Tensor, Any], torch.Tensor] | None = None
    """Hidden states to (batch, frames, dim), where they are not frames in time."""
    sizes: Mapping[str, str] | None = None
    """What the extractor calls numbers that the configuration (by name) must share."""

    def timing(self, features: Features, config: Any) -> Timing:  # noqa: ANN401
        """Where the middle of what a frame sees lies, for every frame."""
        first, end, hop = features.frame
        for kernel, stride, padding in self.layers(config):
            first, end, hop = (
                first - padding * hop,
                end + (kernel - 1 - padding) * hop,
                hop * stride,
            )
        # Half a frame that lies before the window is moved into it: bundles know no such frames.
        offset = max(0, (first + end - hop) // 2)
        return Timing(hop, offset, end - first)


def _convolutions(config: Any) -> list[Convolution]:  # noqa: ANN401
    layers = [(k, s, 0) for k, s in zip(config.conv_kernel, config.conv_stride, strict=True)]
    return layers + _adapter(config, padding=1)


def _adapter(config: Any, padding: int) -> list[Convolution]:  # noqa: ANN401
    if not getattr(config, "add_adapter", False):
        return []
    layer = (config.adapter_kernel_size, config.adapter_stride, padding)
    return [layer] * config.num_adapter_layers


def _stacked_pairs(config: Any) -> list[Convolution]:  # noqa: ANN401
    return [(2, 2, 0), *_adapter(config, padding=getattr(config, "adapter_stride", 2) // 2)]


def _patches(config: Any) -> list[Convolution]:  # noqa: ANN401
    return [(config.patch_size, config.time_stride, 0)]


def _mean_over_frequencies(hidden: torch.Tensor, config: Any) -> torch.Tensor:  # noqa: ANN401
    """(batch, 2 + frequencies * times, dim), two tokens first, to (batch, times, dim)."""
    rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    patches = hidden[:, 2:]
    times = patches.shape[1] // rows
    return patches.reshape(-1, rows, times, patches.shape[2]).mean(dim=1)


def _halving(config: Any) -> list[Convolution]:  # noqa: ANN401
    inner = config.encoder_config
    size = inner.subsampling_conv_kernel_size
    layer = (size, inner.subsampling_conv_stride, (size - 1) // 2)
    return [layer] * (inner.subsampling_factor.bit_length() - 1)


def _unpadded_pair(config: Any) -> list[Convolution]:  # noqa: ANN401
    inner = config.encoder_config
    return [(inner.subsampling_conv_kernel_size, inner.subsampling_conv_stride, 0)] * 2


_SHIFT = 160
"""Samples from a log-mel frame to the next in AST's and Whisper's extractors."""

_OF_SAMPLES = Family(SampleFeatures, "input_values", _convolutions)

FAMILIES: Mapping[str, Family] = {
    "audio-spectrogram-transformer": Family(
        FbankFeatures,
        "input_values",
        _patches,
        window=lambda config: config.max_length * _SHIFT,
        pool=_mean_over_frequencies,
        sizes={"max_length": "max_length", "num_mel_bins": "num_mel_bins"},
    ),
    "data2vec-audio": _OF_SAMPLES,
    "hubert": _OF_SAMPLES,
    "sew": _OF_SAMPLES,
    "sew-d": _OF_SAMPLES,
    "unispeech": _OF_SAMPLES,
    "unispeech-sat": _OF_SAMPLES,
    "wav2vec2": _OF_SAMPLES,
    "wav2vec2-conformer": _OF_SAMPLES,
    "wavlm": _OF_SAMPLES,
    "wav2vec2-bert": Family(SeamlessFeatures, "input_features", _stacked_pairs),
    "whisper": Family(
        WhisperFeatures,
        "input_features",
        lambda _: [(3, 1, 1), (3, 2, 1)],
        window=lambda config: config.max_source_positions * 2 * _SHIFT,
        encoder="encoder",
        sizes={"feature_size": "num_mel_bins"},
    ),
    "parakeet_ctc": Family(ParakeetFeatures, "input_features", _halving, encoder="encoder"),
    "lasr_ctc": Family(LasrFeatures, "input_features", _unpadded_pair, encoder="encoder"),
}
"""By the configuration's `model_type`. Which tasks each can do, transformers says."""

REFUSED: Mapping[str, str] = {
    "nemotron3_diarization": "it carries a memory from window to window, which no bundle does",
}
"""Model types that transformers counts among the classifiers, and why they cannot be exported."""
