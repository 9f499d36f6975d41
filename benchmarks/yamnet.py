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
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.csv_table import read_csv
from detector.records import FloatArray
from export.train.data import HELD_OUT, SPEECH, Row, esc50, read
from export.train.teacher import WINDOW, Yamnet

__all__ = ["FRIGATE_THRESHOLD", "LABELS", "WINDOW", "Yamnet", "label_scores"]

HALF = WINDOW // 2
FRIGATE_THRESHOLD = 0.8
"""Below this score Frigate publishes nothing, if its user sets nothing."""


def _classes() -> dict[str, list[int]]:
    classes: dict[str, list[int]] = {}
    file = Path(__file__).with_name("yamnet_labels.csv")
    for row in read_csv(file, ("label", "class")):
        classes.setdefault(row["label"], []).append(int(row["class"]))
    return classes


_CLASSES = _classes()
LABELS = tuple(_CLASSES)
"""The 50 categories of ESC-50 and speech, in the order of `label_scores`."""


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
