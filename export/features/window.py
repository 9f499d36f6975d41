"""What the detector itself makes of one window of sound."""

from typing import Protocol

import numpy as np

from detector.features.windows import WindowRequest, windows_of
from detector.records import AudioBlock, FloatArray, Window
from detector.spec import Frontend, Input, WindowSpec


class HasInput(Protocol):
    """A bundle's description, or whatever says the same of a model's input."""

    @property
    def frontend(self) -> Frontend: ...

    @property
    def window(self) -> WindowSpec: ...

    @property
    def input(self) -> Input: ...


def window_of(samples: FloatArray, model: HasInput) -> Window:
    """The window of a model that holds `samples`, (n,) float32, of at most its length."""
    size = model.window.samples
    whole = WindowSpec(samples=size, hop_samples=size)
    rows = int(model.input.shape[1])
    request = WindowRequest(model.frontend, whole, rows, trailing=False)
    for window in windows_of(request, [AudioBlock(0, samples)]):
        return window
    # Too short for one frame: all of the window is padding.
    data = np.full(tuple(map(int, model.input.shape[1:])), model.frontend.padding, np.float32)
    return Window(0, len(samples), len(samples), data, power=0.0)
