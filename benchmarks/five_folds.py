"""The built-in model's recipe by ESC-50's own protocol: each fold named by what never heard it.

    python benchmarks/five_folds.py --data DIR --yamnet FILE [--steps N] [--work DIR]

Five networks, each trained on the other four folds whatever their licence, so none of them ships;
they are trained for fewer steps than the built-in model, of which the report says how many. Clips
whose source occurs in the held-out fold as well do not train. A fold that is done is not done
again: the command goes on where it was interrupted.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from report import report

from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE
from export.train.__main__ import train
from export.train.data import FBANK, Row, esc50, label_slugs, read, training_rows
from export.train.evaluate import categories, window
from export.train.fit import Plan
from export.train.model import Sounds

BATCH = 50


def right(model: Sounds, rows: list[Row], slugs: tuple[str, ...], among: int) -> int:
    """How many clips get their own category's score as the highest, one window each."""
    count = 0
    for i in range(0, len(rows), BATCH):
        some = rows[i : i + BATCH]
        windows = [window(LogMel(FBANK, SAMPLE_RATE).push(read(row.path))) for row in some]
        with torch.no_grad():
            clip, _ = model(torch.from_numpy(np.stack(windows)))
        best = clip[:, :among].argmax(dim=1).tolist()
        count += sum(slugs[one] == row.labels[0] for one, row in zip(best, some, strict=True))
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--yamnet", type=Path, required=True, help="yamnet.tflite, which teaches")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--work", type=Path, default=Path("build/five_folds"))
    options = parser.parse_args()
    slugs, among = label_slugs(options.data), len(categories(options.data))
    rows: list[tuple[str, float, str, str]] = []
    clips = esc50(options.data)
    total = 0
    for fold in range(1, 6):
        held_out = [clip for clip in clips if clip.fold == fold]
        work = options.work / f"{fold}-{options.steps}"
        work.mkdir(parents=True, exist_ok=True)
        for shared in ("mel", "teacher"):  # computed once for all folds
            (options.work / shared).mkdir(exist_ok=True)
            if not (work / shared).exists():
                (work / shared).symlink_to(Path("..", shared))
        done = work / "right.json"
        if not done.exists():
            training = training_rows(options.data, fold, ships=False)
            model = train(training, slugs, work, options.yamnet, Plan(steps=options.steps))
            done.write_text(json.dumps(right(model, held_out, slugs, among)))
        named = json.loads(done.read_text())
        total += named
        rows.append((f"fold {fold}: top-1", 100 * named / len(held_out), "%", ""))
    rows.append(("all folds: top-1", 100 * total / len(clips), "%", ""))
    command = f"python benchmarks/five_folds.py --data DIR --yamnet FILE --steps {options.steps}"
    report("five_folds", command, rows)


if __name__ == "__main__":
    main()
