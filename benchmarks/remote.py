"""A model on a real Triton beside the same model here, on the same CPU.

    TRITON_PYTHON=/path/to/python python benchmarks/remote.py [--bundle NAME|DIR] [--seconds S]

The Python that TRITON_PYTHON names has nvidia-pytriton and onnxruntime. Its Triton has no ONNX
Runtime backend: the model is computed in its Python backend by ONNX Runtime, with the options of a
session here, in the repository that `detector-export triton` writes. Both sides take turns. Where
other programs keep the machine busy, times say little, and CPU time (of Triton, its backend and the
client) against CPU time says what it costs.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from report import report

sys.path.insert(0, str(Path(__file__).parents[1]))

from detector.inference.bundle import load_bundle
from detector.inference.remote import RemoteModel
from detector.inference.scorer import Scorer
from detector.inference.session import Session
from detector.records import Window
from detector.settings.models import ModelSettings
from export.triton import TritonOptions
from tests.inference_process import TRITON_PYTHON, TritonProcess

BATCHES = (1, 4, 16)
"""Windows that are asked for at once."""
ROUNDS = 10
CPU_ROUNDS = 50


def times(score: Callable[[], object], seconds: float) -> list[float]:
    """How long each call takes, over so many seconds."""
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        score()
        taken.append(time.perf_counter() - began)
    return taken


def in_turns(
    here: Scorer, there: Scorer, windows: list[Window], seconds: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Seconds of each call here and there, and the median ratio of the rates of a round."""
    taken: dict[Scorer, list[float]] = {here: [], there: []}
    ratios = []
    for _ in range(ROUNDS):
        rounds = {
            scorer: times(lambda s=scorer: s.score(windows), seconds / ROUNDS / 2)  # type: ignore[misc]
            for scorer in (here, there)
        }
        for scorer, one in rounds.items():
            taken[scorer] += one
        ratios.append(np.mean(rounds[here]) / np.mean(rounds[there]))
    return np.array(taken[here]), np.array(taken[there]), float(np.median(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each row")
    options = parser.parse_args()
    if TRITON_PYTHON is None:
        sys.exit("TRITON_PYTHON does not name a Python with nvidia-pytriton and onnxruntime")
    bundle = load_bundle(options.bundle)
    shape = tuple(int(n) for n in bundle.spec.input.shape[1:])
    rng = np.random.default_rng(0)
    windows = [
        Window(0, 1, 1, rng.standard_normal(shape).astype(np.float32), 0.0) for _ in range(16)
    ]
    here = Session(bundle, "cpu", threads=1)
    rows: list[tuple[str, float, str, str]] = []
    for max_delay_ms in (0.0, TritonOptions().max_delay_ms):
        with tempfile.TemporaryDirectory() as folder:
            triton_options = TritonOptions(max_delay_ms=max_delay_ms)
            with TritonProcess(Path(folder), bundle.folder, options=triton_options) as triton:
                triton.start()
                settings = ModelSettings(bundle="x", remote=triton.address, remote_deadline_s=60)
                there = RemoteModel(bundle.spec, triton.address, settings)
                rows += measure(here, there, windows, max_delay_ms, options.seconds)
                if not max_delay_ms:
                    rows += cpu_time(here, there, windows, triton)
    bytes_of_answer = sum(a.nbytes for a in _arrays(here, windows[0]))
    rows += [
        ("load of the machine", os.getloadavg()[0], "processes", ""),
        ("bytes of a window", windows[0].data.nbytes, "B", ""),
        ("bytes of its answer", bytes_of_answer, "B", ""),
    ]
    report("remote", " ".join(["python", "benchmarks/remote.py", *sys.argv[1:]]), rows)


def _arrays(scorer: Scorer, window: Window) -> list[np.ndarray]:
    [scores] = scorer.score([window])
    return [array for array in (scores.clip, scores.frames) if array is not None]


def cpu_time(
    here: Scorer, there: Scorer, windows: list[Window], triton: TritonProcess
) -> list[tuple[str, float, str, str]]:
    """What a window costs, in CPU time of all processes that have to do with it."""

    def cost(scorer: Scorer) -> np.ndarray:
        """Milliseconds of a window, in this process and in those of Triton."""
        before = np.array([time.process_time(), triton.cpu_seconds()])
        for _ in range(CPU_ROUNDS):
            scorer.score(windows)
        spent = np.array([time.process_time(), triton.cpu_seconds()]) - before
        return np.asarray(spent / CPU_ROUNDS / len(windows) * 1000)

    local, (client, server) = cost(here)[0], cost(there)
    return [
        ("CPU time of a window here", local, "ms", ""),
        ("CPU time of a window on Triton", client + server, "ms", ""),
        ("of it the client's", client, "ms", ""),
        ("here / Triton, CPU time", local / (client + server), "x", ""),
    ]


def measure(
    here: Scorer, there: Scorer, windows: list[Window], max_delay_ms: float, seconds: float
) -> list[tuple[str, float, str, str]]:
    """The rows of a Triton that lets a window wait for others as long as that."""
    rows: list[tuple[str, float, str, str]] = []
    there.score(windows)  # the connection is made and checked
    for batch in BATCHES:
        local, remote, ratio = in_turns(here, there, windows[:batch], seconds)
        what = f"batch of {batch}, delay {max_delay_ms:g} ms"
        rows += [
            (f"{what}: windows/s here", batch / local.mean(), "1/s", ""),
            (f"{what}: windows/s on Triton", batch / remote.mean(), "1/s", ""),
            (f"{what}: Triton / here", ratio, "x", ">= 0.8"),
        ]
        if batch == 1:
            added = (remote - np.median(local)) * 1000
            spread = (local - np.median(local)) * 1000
            rows += [
                (f"{what}: added latency p50", float(np.median(added)), "ms", ""),
                (f"{what}: added latency p99", float(np.percentile(added, 99)), "ms", "<= 15"),
                (f"{what}: p99 over p50 here", float(np.percentile(spread, 99)), "ms", ""),
            ]
    return rows


if __name__ == "__main__":
    main()
