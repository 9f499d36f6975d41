"""Incremental log-mel against recomputing the window, and against the reference implementations.

    python benchmarks/fbank.py [--torchaudio DIR]

Everything is timed in one process, in turns, so that a slow moment of the machine meets all alike;
ratios count. `--torchaudio DIR` is where `pip install --no-deps --target DIR torchaudio` put it:
its filterbank is plain Python over torch and is loaded by itself, since the package's own library
loads only beside the very torch that it was built for.
"""

import argparse
import importlib.util
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import report
from transformers import ASTFeatureExtractor

from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Fbank

WINDOW = 163_840  # samples: 10.24 s
ROUNDS = 60


def timed(call: Callable[[], object], repeat: int = 1) -> float:
    began = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - began) / repeat


def torchaudio_fbank(folder: Path, audio: FloatArray) -> Callable[[], object]:
    """The call that `ASTFeatureExtractor` makes where torchaudio is installed."""
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # which the filterbank never uses
    path = folder / "torchaudio" / "compliance" / "kaldi.py"
    found = importlib.util.spec_from_file_location("kaldi", path)
    if found is None or found.loader is None:
        raise SystemExit(f"{path}: not found")
    kaldi: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(kaldi)
    waveform = torch.from_numpy(audio)[None]
    return lambda: kaldi.fbank(
        waveform, sample_frequency=SAMPLE_RATE, window_type="hanning", num_mel_bins=128
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torchaudio", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    audio = np.random.default_rng(0).standard_normal(WINDOW).astype(np.float32) * np.float32(0.1)
    fbank = Fbank()
    frames = fbank.frames_in(WINDOW)
    stream = LogMel(fbank, SAMPLE_RATE)
    extractor = ASTFeatureExtractor()

    fresh = LogMel(fbank, SAMPLE_RATE)

    def recompute() -> FloatArray:
        fresh.reset()
        return fresh.push(audio)

    calls: dict[str, tuple[Callable[[], object], int]] = {
        "recompute": (recompute, 1),
        "1 s": (lambda: stream.push(audio[:16_000]), 5),
        "100 ms": (lambda: stream.push(audio[:1_600]), 50),
        "extractor": (lambda: extractor(audio, sampling_rate=SAMPLE_RATE), 1),
    }
    if arguments.torchaudio:
        calls["torchaudio"] = (torchaudio_fbank(arguments.torchaudio, audio), 1)

    for call, _ in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, (call, repeat) in calls.items():
            times[name].append(timed(call, repeat))

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))

    best = {name: min(values) for name, values in times.items()}
    rows = [
        ("log-mel, a frame of a batch", best["recompute"] / frames * 1e6, "us", "<= 6"),
        ("log-mel, a frame at 100 ms hop", best["100 ms"] / 10 * 1e6, "us", ""),
        ("recompute / incremental, 1 s hop", ratio("recompute", "1 s"), "x", ">= 9.5"),
        ("recompute / incremental, 100 ms hop", ratio("recompute", "100 ms"), "x", ">= 80"),
        ("ASTFeatureExtractor / recompute", ratio("extractor", "recompute"), "x", "> 1"),
        ("CPU of a stream at 1 s hop", best["1 s"] * 100, "% of a core", "<= 0.3 with capture"),
    ]
    if "torchaudio" in times:
        rows.append(("torchaudio / recompute", ratio("torchaudio", "recompute"), "x", "> 1"))
    report("fbank", "python benchmarks/fbank.py", rows)


if __name__ == "__main__":
    main()
