"""YAMNet, which Frigate's audio detector runs, as the benchmarks run it.

    python benchmarks/yamnet.py --data DIR --yamnet FILE

YAMNet (Google, Apache-2.0) scores 521 classes of AudioSet in windows of 0.975 s. Which of them
mean which of our labels stands in yamnet_labels.csv, chosen by hand from their names and, where
those leave a doubt, by what names more clips of folds 1 to 4 right; a label's score is the highest
of its classes'. The command prints how many held-out clips of ESC-50 YAMNet names right: what it
is worth with this map.

Needs ai-edge-litert, which runs the .tflite file.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.records import FloatArray
from export.train.data import HELD_OUT, SPEECH, Row, esc50, read

WINDOW = 15_600
"""Samples: 0.975 s. Frigate's windows follow each other without overlap."""
HALF = 7_800
CLASSES = 521
FRIGATE_THRESHOLD = 0.8
"""Below this score Frigate publishes nothing, if its user sets nothing."""


def _classes() -> dict[str, list[int]]:
    classes: dict[str, list[int]] = {}
    file = Path(__file__).with_name("yamnet_labels.csv")
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            classes.setdefault(row["label"], []).append(int(row["class"]))
    return classes


_CLASSES = _classes()
LABELS = tuple(_CLASSES)
"""The 50 categories of ESC-50 and speech, in the order of `label_scores`."""


class Yamnet:
    def __init__(self, model: Path) -> None:
        """Load yamnet.tflite; one thread."""
        from ai_edge_litert.interpreter import Interpreter

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


def label_scores(scores: FloatArray) -> FloatArray:
    """(windows, CLASSES) to (windows, len(LABELS)): each label's highest class."""
    return np.stack([scores[:, classes].max(axis=1) for classes in _CLASSES.values()], axis=1)


def top_one(yamnet: Yamnet, clips: Sequence[Row]) -> float:
    """Share of the clips whose best window names them right, among ESC-50's labels."""
    ours = [i for i, label in enumerate(LABELS) if label != SPEECH]
    right = 0
    for clip in clips:
        best = label_scores(yamnet.scores(read(clip.path), HALF)).max(axis=0)
        right += LABELS[ours[int(np.argmax(best[ours]))]] == clip.labels[0]
    return right / len(clips)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite")
    options = parser.parse_args()
    clips = [clip for clip in esc50(options.data) if clip.fold == HELD_OUT]
    share = top_one(Yamnet(options.yamnet), clips)
    print(f"YAMNet names {share:.1%} of {len(clips)} held-out clips of ESC-50 right")


if __name__ == "__main__":
    main()
