"""Is a sound that somebody taught the built-in model heard again, and is it quiet otherwise?

    python benchmarks/taught.py --data DIR [--base NAME|DIR] [--seed N]

Three bundles by `detector-export head`, each of one label and ten recordings of it: a chime of two
tones, synthesised, each in a room of its own; and two classes of ESC-50, from folds 1 to 4 (the
built-in model was trained on these classes, if not to name them by this head). They are tried on
other chimes and on the clips of fold 5, and on the excerpts of rooms that trained nothing, where
every start is a false one unless the excerpt may hold the sound; then on silence. Everything goes
through the whole pipeline at the thresholds that `head` chose.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import conditions as made
import numpy as np
import soundfile
from heads import Silent
from report import report

from detector.loading import LoadedModel, load_model
from detector.records import SAMPLE_RATE, FloatArray
from detector.settings.models import ModelSettings
from export.heads.make import make_head
from export.heads.options import HeadOptions
from export.train.data import FREE, HELD_OUT, POSITIVES, counted_rooms, esc50, read
from export.train.fused.calibrate import listen

CLASSES = ("door_wood_knock", "mouse_click")
CHIME = "two_tone_chime"
TAUGHT, TRIED = 10, 30
SILENCES = (0.0, 1e-5, 1e-3)
"""Levels of white noise, a minute each."""

Figures = list[tuple[str, float, str, str]]


def chime(rng: np.random.Generator) -> FloatArray:
    """Two struck tones, a third apart and falling, as of one doorbell pressed again and again."""
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    wave = np.zeros(len(time))
    gap = rng.uniform(0.4, 0.6)
    for start, hertz in ((0.3, 660.0), (0.3 + gap, 523.0)):
        since = np.maximum(time - start, 0)
        for harmonic, strength in ((1, 1.0), (2, 0.3), (3.01, 0.15)):
            tone = np.sin(2 * np.pi * hertz * harmonic * since)
            wave += strength * tone * np.exp(-since * 3 * harmonic) * (time >= start)
    level = 10 ** rng.uniform(-1.5, -0.3)
    dry = level * wave / np.abs(wave).max() + 10 ** rng.uniform(-4, -3) * rng.standard_normal(
        len(time)
    )
    return made.in_room(dry.astype(np.float32), rng, rng.uniform(0.2, 0.6))


def recordings(data: Path, label: str, seed: int) -> tuple[list[FloatArray], list[FloatArray]]:
    """What is taught, and what it is tried on."""
    rng = np.random.default_rng(seed)
    if label == CHIME:
        every = [chime(rng) for _ in range(TAUGHT + TRIED)]
        return every[:TAUGHT], every[TAUGHT:]
    rows = [row for row in esc50(data) if row.labels[0] == label]
    held_out = [row for row in rows if row.fold == HELD_OUT]
    sources = {row.source for row in held_out}
    own = [r for r in rows if r.fold != HELD_OUT and r.licence == FREE and r.source not in sources]
    drawn = [own[i] for i in rng.permutation(len(own))[:TAUGHT]]
    return [read(row.path) for row in drawn], [read(row.path) for row in held_out]


def taught(base: str, label: str, sounds: list[FloatArray], folder: Path, seed: int) -> LoadedModel:
    """What a person would do: a folder of recordings, and the command."""
    place = folder / "data" / label
    place.mkdir(parents=True)
    for number, samples in enumerate(sounds):
        soundfile.write(place / f"{number}.wav", samples, SAMPLE_RATE)
    make_head(base, folder / "data", folder / "own", HeadOptions(seed=seed), Silent())
    settings = ModelSettings(bundle=str(folder / "own"), provider="cpu")
    return load_model("own", settings, None)


def figures(data: Path, base: str, label: str, seed: int) -> Iterator[tuple[str, float, str, str]]:
    learnt, tried = recordings(data, label, seed)
    with tempfile.TemporaryDirectory() as folder:
        model = taught(base, label, learnt, Path(folder), seed)
        heard = sum(label in listen(model, samples)[0] for samples in tried)
        least = ">= 90" if label == CHIME else ">= 80"
        yield f"{label}: heard of {len(tried)} others", 100 * heard / len(tried), "%", least
        false, seconds = 0, 0.0
        for row in counted_rooms(data):
            if row.kind != POSITIVES and label not in row.unknown:
                samples = read(row.path)
                false += len(listen(model, samples)[0])
                seconds += len(samples) / SAMPLE_RATE
        yield f"{label}: false starts in rooms", false / seconds * 3600, "/h", "<= 2"
        rng = np.random.default_rng(0)
        quiet = [level * rng.standard_normal(60 * SAMPLE_RATE) for level in SILENCES]
        starts = sum(len(listen(model, samples.astype(np.float32))[0]) for samples in quiet)
        yield f"{label}: starts in {len(quiet)} minutes of silence", starts, "starts", "0"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--base", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found: Figures = []
    for label in (CHIME, *CLASSES):
        found += figures(options.data, options.base, label, options.seed)
    report("taught", "python benchmarks/taught.py --data DIR", found)


if __name__ == "__main__":
    main()
