"""YAMNet as a teacher: what it hears in the training recordings, as soft targets.

YAMNet (Google, Apache-2.0) was trained on AudioSet and has seen nothing of ESC-50. Its scores
teach a second head that is left out of the bundle; only the rows that train are given to it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from detector.records import FloatArray
from export.train.data import Row, read

WINDOW = 15_600
"""Samples: 0.975 s."""
HOP = 8_000
"""Samples, between two windows that teach."""
CLASSES = 521


def teacher_scores(rows: Iterable[Row], model: Path, cache: Path) -> Iterator[FloatArray]:
    """For each row (windows, CLASSES) float32; window i begins at sample i * HOP."""
    cache.mkdir(parents=True, exist_ok=True)
    yamnet = None
    for row in rows:
        file = cache / f"{row.path.stem}.npy"
        if not file.exists():
            yamnet = yamnet or Yamnet(model)
            part = file.with_suffix(".part.npy")
            np.save(part, yamnet.scores(read(row.path), HOP))
            part.rename(file)
        scores: FloatArray = np.load(file)
        yield scores


class Yamnet:
    """YAMNet as it is given away, on one thread."""

    def __init__(self, model: Path) -> None:
        """Load yamnet.tflite."""
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only who needs it

        self._interpreter = Interpreter(model_path=str(model), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def window(self, samples: FloatArray) -> FloatArray:
        """(WINDOW,) float32 at 16 kHz to (CLASSES,), 0..1."""
        self._interpreter.set_tensor(self._input, samples)
        self._interpreter.invoke()
        scores: FloatArray = self._interpreter.get_tensor(self._output)[0].copy()
        return scores

    def scores(self, samples: FloatArray, hop: int = WINDOW) -> FloatArray:
        """(windows, CLASSES): window i begins at sample i * hop; all are whole.

        What is shorter than a window is padded with silence to one.
        """
        samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
        starts = range(0, len(samples) - WINDOW + 1, hop)
        return np.stack([self.window(samples[start : start + WINDOW]) for start in starts])
