"""Which of YAMNet's classes mean which label."""

from pathlib import Path

from detector.csv_table import read_csv


def audioset_classes() -> dict[str, tuple[int, ...]]:
    """For each label, the classes of YAMNet that mean it.

    Chosen by hand from their names and, where those leave a doubt, by what names more clips of
    folds 1 to 4 right.
    """
    classes: dict[str, tuple[int, ...]] = {}
    for row in read_csv(Path(__file__).with_name("yamnet_labels.csv"), ("label", "class")):
        classes[row["label"]] = (*classes.get(row["label"], ()), int(row["class"]))
    return classes
