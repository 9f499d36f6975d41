"""How well a CTC model spots its words, and when: fitted from nothing, exported, replayed.

    python benchmarks/ctc_words.py [--work DIR] [--minutes M]

A small model is fitted on recordings of wake words (ctc_model.py), exported with `detector-export
ctc` and heard with `detector replay`, in recordings that the fit never saw: each alone, all in one
long recording with background between them, and half an hour in which nobody speaks. Then the same
checkpoint is given another head, `detector-export head`, that tells speech from other sounds. The
checkpoint is kept in --work, and used again.

The truth is in ctc_data.py. An onset is compared where the recording is quiet enough to tell it.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import soundfile as sf
from ctc_data import FOLDER, WORDS, Utterance, background, clips, utterances
from report import report

from detector.records import SAMPLE_RATE, FloatArray

TOLERANCE_S: Final = 0.2
_PIECE: Final = 5 * SAMPLE_RATE
Row = tuple[str, float, str, str]


@dataclass(frozen=True, slots=True)
class Heard:
    """An event, as `detector replay --json` tells it."""

    source: str
    label: str
    onset_s: float


@dataclass(frozen=True, slots=True)
class Said:
    """An utterance in a recording."""

    source: str
    begin_s: float
    end_s: float
    words: tuple[str, ...]
    onset_s: float | None
    """Of the first word, where it is known."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was said and what was heard."""

    said: dict[str, int]
    heard: dict[str, int]
    right: dict[str, int]
    errors_s: list[float]
    """Onset heard less onset said, of the first words."""


def replay(config: Path, files: Sequence[Path]) -> list[Heard]:
    """What `detector replay` says of recordings: the end of each event."""
    command = [sys.executable, "-m", "detector", "replay", "--json", "--config", str(config)]
    lines = subprocess.run(
        [*command, *map(str, files)], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    return [
        Heard(e["source"], e["label"], datetime.fromisoformat(e["onset"]).timestamp())
        for e in events
        if e["type"] == "end"
    ]


def tally(said: Iterable[Said], heard: Iterable[Heard]) -> Tally:
    """Each word that was said is heard at most once; all else that is heard is wrong."""
    said_of, heard_of, right_of = (dict.fromkeys(WORDS, 0) for _ in range(3))
    counts = Tally(said_of, heard_of, right_of, [])
    left = list(heard)
    for event in left:
        counts.heard[event.label] += 1
    for utterance in said:
        for place, word in enumerate(utterance.words):
            counts.said[word] += 1
            found = [
                e
                for e in left
                if (e.source, e.label) == (utterance.source, word)
                and utterance.begin_s - TOLERANCE_S <= e.onset_s <= utterance.end_s
            ]
            if not found:
                continue
            left.remove(found[0])
            counts.right[word] += 1
            if place == 0 and utterance.onset_s is not None:
                counts.errors_s.append(found[0].onset_s - utterance.onset_s)
    return counts


def alone(utterances: Iterable[Utterance]) -> tuple[list[Path], list[Said]]:
    """Each recording by itself."""
    files, said = [], []
    for utterance in utterances:
        file = FOLDER / "speech" / "audio" / utterance.filename
        source = file.stem.replace("-", "_")
        files.append(file)
        said.append(_said(utterance, source, 0))
    return files, said


def together(utterances: Sequence[Utterance], file: Path) -> list[Said]:
    """Write one recording of all utterances, in random order, with background between them."""
    rng = np.random.default_rng(0)
    noises = background(held_out=True)
    pieces: list[FloatArray] = []
    said, at = [], 0
    for index in rng.permutation(len(utterances)):
        noise = noises[rng.integers(len(noises))]
        length = min(len(noise), round(rng.uniform(1, 4) * SAMPLE_RATE))
        first = rng.integers(len(noise) - length + 1)
        said.append(_said(utterances[index], file.stem, at + length))
        pieces += [noise[first : first + length], utterances[index].samples]
        at += length + len(utterances[index].samples)
    sf.write(file, np.concatenate(pieces), SAMPLE_RATE, subtype="FLOAT")
    return said


def _said(utterance: Utterance, source: str, at: int) -> Said:
    words, span = tuple(utterance.phrase.split()), utterance.span
    return Said(
        source,
        at / SAMPLE_RATE,
        (at + len(utterance.samples)) / SAMPLE_RATE,
        words,
        None if span is None else (at + span[0]) / SAMPLE_RATE,
    )


def words_of(name: str, counts: Tally) -> list[Row]:
    """Recall and precision of each word, and of all."""
    rows: list[Row] = []
    for word in WORDS:
        right, said, heard = counts.right[word], counts.said[word], counts.heard[word]
        rows.append((f"{name}, {word}: recall", right / said, f"of {said}", ""))
        if heard:
            rows.append((f"{name}, {word}: precision", right / heard, f"of {heard}", ""))
    right, said, heard = (sum(c.values()) for c in (counts.right, counts.said, counts.heard))
    rows.append((f"{name}: recall", right / said, f"of {said}", ""))
    rows.append((f"{name}: precision", right / max(heard, 1), f"of {heard}", ""))
    return rows


def onsets_of(name: str, counts: Tally) -> list[Row]:
    """How far the onsets are from the truth."""
    errors = counts.errors_s
    near = sum(abs(e) <= TOLERANCE_S for e in errors) / len(errors)
    return [
        (f"{name}: onsets compared", len(errors), "", ""),
        (f"{name}: onset, median error", statistics.median(errors), "s", ""),
        (f"{name}: onset, median |error|", statistics.median(map(abs, errors)), "s", ""),
        (f"{name}: onset within {TOLERANCE_S} s", near, "", ">= 0.9"),
    ]


def fitted(work: Path, everything: Sequence[Utterance], minutes: float) -> tuple[Path, list[Row]]:
    """The checkpoint, and what its fit took; what was finished in `work` is used again."""
    rows: list[Row] = []
    checkpoint = None
    for name, share in (("aligned", 0.4), ("spelt", 0.6)):
        begin, checkpoint = checkpoint, work / name
        notes = checkpoint / "fit.json"
        if not notes.is_file():
            from ctc_model import ALIGNED, SPELT, fit

            may_learn = [u for u in everything if not u.held_out]
            stage = SPELT if begin else ALIGNED
            notes.write_text(json.dumps(fit(may_learn, stage, begin, checkpoint, share * minutes)))
        spent = json.loads(notes.read_text())
        rows.append((f"fit, {name}: steps", spent["steps"], "", ""))
        rows.append((f"fit, {name}: minutes", spent["minutes"], "min", ""))
    return checkpoint or work, rows


def spot_words(work: Path, checkpoint: Path, everything: Sequence[Utterance]) -> list[Row]:
    """Export the checkpoint and hear what was held out."""
    bundle = work / "words"
    export("ctc", str(checkpoint), "--out", str(bundle))
    config = _config(work / "words.toml", bundle, WORDS)
    held_out = [u for u in everything if u.held_out]

    files, said = alone(held_out)
    single = tally(said, replay(config, files))
    said = together(held_out, work / "together.wav")
    joined = tally(said, replay(config, [work / "together.wav"]))
    files, said = alone([u for u in everything if u.span and not u.held_out])
    fitted = tally(said, replay(config, files))

    nobody = without_words(work)
    false = replay(config, nobody)
    hours = sum(sf.info(file).duration for file in nobody) / 3600
    return [
        *words_of("alone", single),
        *onsets_of("alone", single),
        *words_of("together", joined),
        *onsets_of("together", joined),
        ("nobody speaks", hours, "hours", ""),
        ("nobody speaks: words heard", len(false) / hours, "an hour", ""),
        *onsets_of("fitted", fitted),
    ]


def tell_speech(work: Path, checkpoint: Path, everything: Sequence[Utterance]) -> list[Row]:
    """Give the checkpoint a head that tells speech from other sounds, and hear new ones."""
    data = work / "recordings"
    shutil.rmtree(data, ignore_errors=True)
    for label in ("speech", "background"):
        (data / label).mkdir(parents=True)
    for utterance in everything:
        if not utterance.held_out:
            file = data / "speech" / f"{Path(utterance.filename).stem}.wav"
            sf.write(file, utterance.samples, SAMPLE_RATE)
    others = [*background(held_out=False), *clips(held_out=False)[::4]]
    for index, samples in enumerate(others):
        sf.write(data / "background" / f"{index}.wav", samples, SAMPLE_RATE)
    bundle = work / "speech"
    export("head", str(checkpoint), "--data", str(data), "--out", str(bundle), "--window", "2")

    config = _config(work / "speech.toml", bundle, ("speech",))
    speech, _ = alone([u for u in everything if u.held_out])
    nobody = without_words(work)
    heard = {event.source for event in replay(config, [*speech, *nobody])}
    hits = sum(file.stem.replace("-", "_") in heard for file in speech)
    rejected = sum(file.stem not in heard for file in nobody)
    return [
        ("speech: recordings of speech", len(speech), "", ""),
        ("speech: other recordings", len(nobody), "", ""),
        ("speech: recall", hits / len(speech), "", ""),
        ("speech: others rejected", rejected / len(nobody), "", ""),
        ("speech: balanced accuracy", (hits / len(speech) + rejected / len(nobody)) / 2, "", ""),
    ]


def without_words(work: Path) -> list[Path]:
    """Write held-out background in pieces of 5 s, and the clips of the held-out fold."""
    folder = work / "nobody"
    folder.mkdir(exist_ok=True)
    files = []
    places = [
        sound[first : first + _PIECE]
        for sound in background(held_out=True)
        for first in range(0, len(sound), _PIECE)
    ]
    for kind, sounds in (("place", places), ("clip", clips(held_out=True))):
        for index, samples in enumerate(sounds):
            file = folder / f"{kind}_{index}.wav"
            sf.write(file, samples, SAMPLE_RATE)
            files.append(file)
    return files


def export(*arguments: str) -> None:
    """Run `detector-export`."""
    subprocess.run([sys.executable, "-m", "export.cli", *arguments], check=True)


def _config(file: Path, bundle: Path, labels: Iterable[str]) -> Path:
    only = ", ".join(f'"{label}"' for label in labels)
    file.write_text(f'[models.one]\nbundle = "{bundle}"\nprovider = "cpu"\nonly = [{only}]\n')
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="where checkpoints and bundles are kept")
    parser.add_argument("--minutes", type=float, default=12.0, help="of the fit, at most")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = (arguments.work or Path(scratch)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        everything = utterances()
        checkpoint, spent = fitted(work, everything, arguments.minutes)
        report(
            "ctc_words",
            "python benchmarks/ctc_words.py",
            [
                *spent,
                *spot_words(work, checkpoint, everything),
                *tell_speech(work, checkpoint, everything),
            ],
        )


if __name__ == "__main__":
    main()
