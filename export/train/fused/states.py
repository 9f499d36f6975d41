"""What the trained network makes of music, talk, rooms and steady noise, for heads to deny."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from detector.records import SAMPLE_RATE, FloatArray
from export.heads.data.negatives import write_negatives
from export.heads.graph.base import run_graph
from export.heads.graph.surgery import HIDDEN, cut
from export.train import negatives
from export.train.data import SPEECH, Row
from export.train.fused.view import Piece, pieces
from export.train.fused.view import cut as pieces_of

EACH: Final = 4
"""States of a window, drawn from those of all its moments."""
LEVELS: Final = (0.0, 1e-4, 1e-3, 1e-2, 0.1)
"""Of white noise; the first is digital silence."""
STEADY: Final = 12
"""Of each kind of hum, tone and buzz."""
SPEECH_EVERY: Final = 2


def bring_negatives(
    bundle: Path, network: onnx.ModelProto, rows: Sequence[Row], seed: int = 0
) -> None:
    """Put the states beside the bundle in the folder `bundle`."""
    hidden, _ = run_graph(cut(network, HIDDEN))
    rng = np.random.default_rng(seed)
    found = []
    for piece in _pieces(rows, rng):
        states = hidden(piece.rows[None])[0]
        found.append(states[rng.integers(len(states), size=EACH)])
    write_negatives(bundle, np.stack(found))


def _pieces(rows: Sequence[Row], rng: np.random.Generator) -> Iterator[Piece]:
    """Windows of what is no single sound: excerpts of rooms, backgrounds, speech, and noise."""
    talk = [row for row in rows if SPEECH in row.labels][::SPEECH_EVERY]
    yield from pieces([row for row in rows if not row.fold and SPEECH not in row.labels], ())
    yield from pieces(talk, ())
    for level in LEVELS:
        noise = level * rng.standard_normal(30 * SAMPLE_RATE)
        yield from _cut(noise.astype(np.float32))
    for make in negatives.STEADY:
        for _ in range(STEADY):
            yield from _cut(make(rng) * np.float32(rng.choice((1.0, 0.1))))


def _cut(samples: FloatArray) -> Iterator[Piece]:
    return pieces_of(samples, (), (), ())
