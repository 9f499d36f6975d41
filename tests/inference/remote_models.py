"""A model on the small server, and windows for it."""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from detector.errors import InferenceError
from detector.inference.bundle import load_bundle
from detector.inference.remote import RemoteModel
from detector.records import FloatArray, Window
from detector.settings.models import ModelSettings
from tests.inference_service import InferenceService

SAMPLES: Final = 16_000
RECOVERY_S: Final = 5.0
"""So soon a server that came back is used again."""


def window(data: FloatArray) -> Window:
    return Window(0, len(data), 10, data, 0.25)


def noise(seed: int, shape: tuple[int, ...] = (SAMPLES,)) -> FloatArray:
    data = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return np.asarray(data * 0.1**seed, np.float32)


def remote(folder: Path, service: InferenceService, **settings: Any) -> RemoteModel:
    spec = load_bundle(str(folder), with_model=False).spec
    address = settings.setdefault("remote", service.address)
    values = {"bundle": "x", "remote_deadline_s": 5.0} | settings
    return RemoteModel(spec, address, ModelSettings.model_validate(values))


def until_it_scores(scorer: RemoteModel) -> float:
    """Ask as often as windows come; how long it took, in seconds."""
    began = time.monotonic()
    while True:
        try:
            scorer.score([window(noise(1))])
        except InferenceError:
            assert time.monotonic() < began + 2 * RECOVERY_S
            time.sleep(0.05)
        else:
            return time.monotonic() - began
