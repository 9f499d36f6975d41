"""How well `detector-export head` learns five sounds from ten recordings of each.

    python benchmarks/heads.py --data DIR                            # on the built-in model
    python benchmarks/heads.py --data DIR --base ./BUNDLE            # on one by unheard_base.py
    python benchmarks/heads.py --data DIR --speech CTC_CHECKPOINT    # speech or no speech

`DIR` holds the folders `esc50` and `speech`. Beside it, on the same recordings in the same run,
stands a linear model on the mean log-mel of a recording. It is fitted at three strengths of its
penalty and the one that does best on the test is reported, which is in its favour.

The ten recordings are drawn from folds 1 to 4 of ESC-50, several times; the test is on fold 5,
which trains no model. A base that says in its metrics which labels were left out of its training
("left_out") is tested on those, and on all other recordings of them too.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import report

from detector.features.fbank import LogMel
from detector.inference.bundle import Bundle, load_bundle
from detector.inference.session import Session
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Fbank
from export.features.window import window_of
from export.heads.graph.base import BaseOptions
from export.heads.make import make_head
from export.heads.options import HeadOptions
from export.train.data import HELD_OUT, SPEECH, Row, esc50, label_slugs, read, speech

LABELS = 5
VOICES = ("crying_baby", "laughing", "coughing", "sneezing", "breathing", "snoring")
"""Categories of ESC-50 that are neither speech nor clearly something else."""


@dataclass(frozen=True)
class Draw:
    """Recordings to fit to, and to test on; no source is among both."""

    fitted: list[Row]
    tests: dict[str, list[Row]]


class Silent:
    """Tells nothing."""

    def note(self, text: str) -> None: ...

    def windows_prepared(self, windows: int, total: int) -> None: ...

    def epoch_fitted(self, epoch: int, epochs: int, loss: float) -> None: ...


def draw_sounds(data: Path, labels: Sequence[str], each: int, seed: int, *, unheard: bool) -> Draw:
    rng = np.random.default_rng(seed)
    rows = [row for row in esc50(data) if row.labels[0] in labels]
    fitted = []
    for label in labels:
        own = [row for row in rows if row.labels[0] == label and row.fold != HELD_OUT]
        fitted += [own[i] for i in rng.permutation(len(own))[:each]]
    sources = {row.source for row in fitted}
    rest = [row for row in rows if row.source not in sources]
    tests = {"fold 5": [row for row in rest if row.fold == HELD_OUT]}
    if unheard:
        tests["all the rest"] = rest
    return Draw(fitted, tests)


def draw_speech(data: Path, each: int, seed: int) -> Draw:
    """Utterances, and clips of ESC-50 without voices under the label no_speech."""
    rng = np.random.default_rng(seed)
    talk = speech(data)
    other = [
        Row(row.path, ("no_speech",), row.source, row.licence, row.fold)
        for row in esc50(data)
        if row.labels[0] not in VOICES
    ]
    sides = [
        (talk[::2], [row for row in other if row.fold != HELD_OUT]),
        (talk[1::2], [row for row in other if row.fold == HELD_OUT]),
    ]
    fitted = [rows[i] for rows in sides[0] for i in rng.permutation(len(rows))[:each]]
    sources = {row.source for row in fitted if row.labels[0] != SPEECH}
    test = [row for rows in sides[1] for row in rows if row.source not in sources]
    return Draw(fitted, {"held out": test})


def fit_head(base: str, draw: Draw, folder: Path, options: HeadOptions) -> Bundle:
    """What a person would do: a folder a label, and the command."""
    for row in draw.fitted:
        place = folder / "data" / row.labels[0] / row.path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(row.path.absolute())
    make_head(base, folder / "data", folder / "own", options, Silent())
    return load_bundle(str(folder / "own"))


def accuracy(bundle: Bundle, rows: Sequence[Row]) -> float:
    """Share of recordings whose first window has the highest score for the right label."""
    session = Session(bundle, "cpu", 2)
    slugs = [label.slug for label in bundle.spec.labels]
    right = 0
    for row in rows:
        samples = read(row.path)[: bundle.spec.window.samples]
        clip = session.score([window_of(samples, bundle.spec)])[0].clip
        right += clip is not None and slugs[int(clip.argmax())] == row.labels[0]
    return right / len(rows)


def linear(fitted: Sequence[Row], tests: dict[str, list[Row]]) -> dict[str, float]:
    """Logistic regression on the mean log-mel, at the best of three penalties for each test."""
    labels = sorted({row.labels[0] for row in fitted})
    given, target = _means(fitted), _targets(fitted, labels)
    centre, spread = given.mean(0), given.std(0) + 1e-3
    best = dict.fromkeys(tests, 0.0)
    for penalty in (1e-3, 1e-2, 1e-1):
        layer = torch.nn.Linear(given.shape[1], len(labels))
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200)

        def loss(
            layer: torch.nn.Linear = layer,
            penalty: float = penalty,
            optimiser: torch.optim.LBFGS = optimiser,
        ) -> torch.Tensor:
            optimiser.zero_grad()
            error = torch.nn.functional.cross_entropy(layer((given - centre) / spread), target)
            total = error + penalty * layer.weight.square().sum()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        for name, rows in tests.items():
            with torch.no_grad():
                said = layer((_means(rows) - centre) / spread).argmax(1)
            right = float((said == _targets(rows, labels)).float().mean())
            best[name] = max(best[name], right)
    return best


def _means(rows: Sequence[Row]) -> torch.Tensor:
    return torch.from_numpy(np.stack([_mean(row.path) for row in rows]))


_CACHE: dict[Path, FloatArray] = {}


def _mean(path: Path) -> FloatArray:
    if path not in _CACHE:
        _CACHE[path] = LogMel(Fbank(), SAMPLE_RATE).push(read(path)).mean(axis=0)
    return _CACHE[path]


def _targets(rows: Sequence[Row], labels: Sequence[str]) -> torch.Tensor:
    return torch.tensor([labels.index(row.labels[0]) for row in rows])


def labels_for(data: Path, left_out: Sequence[str]) -> tuple[str, ...]:
    """Those that the base has not heard; else five at random, the same every time."""
    if left_out:
        return tuple(left_out)
    categories = [slug for slug in label_slugs(data) if slug != SPEECH]
    return tuple(sorted(random.Random(0).sample(categories, LABELS)))  # noqa: S311


def what_it_heard(base: str, left_out: Sequence[str]) -> str:
    metrics: dict[str, Any] = _metrics(base)
    trained_on = metrics.get("trained_on", "nothing that it tells of")
    heard = (
        f"none of it is of {', '.join(left_out)}"
        if left_out
        else "all five labels are among it, and so may be the recordings that are fitted to, but "
        "none that it is tested on"
    )
    return f"the base {_shown(base)} was trained on {trained_on}; {heard}"


def _shown(base: str) -> str:
    """Without where on this machine it lies."""
    return f"./{Path(base).name}" if "/" in base else base


def _metrics(base: str) -> dict[str, Any]:
    try:
        return load_bundle(base).spec.metrics
    except ValueError:  # it is a checkpoint
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default="sounds")
    parser.add_argument("--speech", metavar="CHECKPOINT")
    parser.add_argument("--clips", type=int, default=10, help="of each label")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--name", help="of the result; heads or heads-speech if absent")
    options = parser.parse_args()
    base = options.speech or options.base
    left_out = tuple(_metrics(base).get("left_out", ()))
    print(
        "the labels of the CTC model are replaced by speech and no_speech; what trained it, it "
        "does not say: utterances of the test may be among it"
        if options.speech
        else what_it_heard(base, left_out)
    )
    found: dict[str, list[float]] = {}
    for seed in range(options.draws):
        if options.speech:
            draw = draw_speech(options.data, options.clips, seed)
        else:
            labels = labels_for(options.data, left_out)
            draw = draw_sounds(options.data, labels, options.clips, seed, unheard=bool(left_out))
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            bundle = fit_head(base, draw, Path(folder), HeadOptions(seed=seed, base=BaseOptions()))
            found.setdefault("time of a fit", []).append(time.perf_counter() - began)
            for test, rows in draw.tests.items():
                found.setdefault(f"head, {test}", []).append(100 * accuracy(bundle, rows))
        for test, share in linear(draw.fitted, draw.tests).items():
            found.setdefault(f"mean log-mel and a linear layer, {test}", []).append(100 * share)
        print(f"draw {seed}: " + ", ".join(f"{k} {v[-1]:.1f}" for k, v in found.items()))
    which = f"--speech {Path(base).name}" if options.speech else f"--base {_shown(base)}"
    command = f"python benchmarks/heads.py --data DIR {which}"
    report(
        options.name or ("heads-speech" if options.speech else "heads"),
        command,
        [
            (what, float(np.mean(values)), "s" if "time" in what else "%", "")
            for what, values in found.items()
        ],
    )


if __name__ == "__main__":
    main()
