"""Weights of YAMNet's form, drawn by chance: tests need no file."""

import numpy as np

from export.train.network.yamnet import CLASSES, CONVOLUTIONS, DEPTHWISE, Weights

_POINTWISE = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
"""Channels after each of the convolutions of one by one."""


def random_weights(seed: int = 0) -> Weights:
    """So scaled that what passes through neither dies nor saturates."""
    rng = np.random.default_rng(seed)
    convolutions, channels = [], 1
    for i in range(CONVOLUTIONS):
        if i in DEPTHWISE:
            shape = (channels, 1, 3, 3)
        else:
            out = _POINTWISE[i // 2 - 1] if i else 32
            shape = (out, channels, 1, 1) if i else (out, channels, 3, 3)
        kernel = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        convolutions.append((kernel, rng.normal(0, 0.1, shape[0]).astype(np.float32)))
        channels = shape[0]
    classes = rng.normal(0, channels**-0.5, (CLASSES, channels)).astype(np.float32)
    return Weights(tuple(convolutions), (classes, np.zeros(CLASSES, np.float32)))
