"""A base that knows what is none of the labels: its heads are quiet where nothing is heard."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")

from detector.errors import BundleError
from detector.inference.bundle import load_bundle
from detector.inference.session import Session
from detector.records import SAMPLE_RATE
from export.features.window import window_of
from export.heads.data.negatives import FILE, negative_windows, read_negatives, write_negatives
from export.heads.graph.base import BaseOptions, open_base, run_graph
from export.heads.make import make_head
from export.heads.options import HeadOptions
from tests.export.tones import hiss, small_base, tone_folders

pytestmark = pytest.mark.export


class Silent:
    """Tells nothing."""

    def note(self, text: str) -> None: ...

    def windows_prepared(self, windows: int, total: int) -> None: ...

    def epoch_fitted(self, epoch: int, epochs: int, loss: float) -> None: ...


def test_states_come_back_as_they_were_written(tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(0, 3, (50, 4, 7)).astype(np.float32)
    write_negatives(tmp_path, states)
    found = read_negatives(tmp_path)
    assert found is not None
    np.testing.assert_allclose(found, states, atol=np.abs(states).max() / 127)
    windows = negative_windows(found, steps=5, seed=1)
    assert windows.shape == (50, 5, 7)
    assert negative_windows(found, steps=None, seed=1).shape == (50, 7)
    np.testing.assert_array_equal(windows, negative_windows(found, steps=5, seed=1))
    for window, few in zip(windows, found, strict=True):
        assert {*window[:, 0].tolist()} <= {*few[:, 0].tolist()}


def test_a_bundle_without_them_has_none_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    assert read_negatives(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"PK nothing")
    with pytest.raises(BundleError, match="is damaged"):
        read_negatives(tmp_path)


def test_a_head_denies_what_its_base_knows_to_be_none_of_its_labels(tmp_path: Path) -> None:
    where = small_base(tmp_path / "base" / "small")
    data = tone_folders(tmp_path / "data", labels=("low",), each=8)
    base = open_base(str(where), BaseOptions())
    hidden, _ = run_graph(base.graph(tmp_path))
    noises = [hiss(2, seed) for seed in range(40)]
    states = hidden(np.stack([base.spec.features(noise) for noise in noises]))
    write_negatives(where, states[:, ::8])
    out = tmp_path / "out" / "own"
    spec = make_head(str(where), data, out, HeadOptions(epochs=60, windows=6), Silent())
    assert spec.decoding == "multilabel"
    assert spec.metrics["held_out"]["labels"]["low"]["accuracy"] == 1
    session = Session(load_bundle(str(out)), "cpu")
    others = [hiss(2, 100 + seed) for seed in range(20)] + [np.zeros(SAMPLE_RATE, np.float32)]
    scores = session.score([window_of(noise, spec) for noise in others])
    highest = max(float(each.clip.max()) for each in scores if each.clip is not None)
    assert highest < spec.labels[0].onset_threshold
