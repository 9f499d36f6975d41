"""From the trained network and YAMNet's file to the bundle `sounds`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from detector.records import FloatArray
from detector.spec import BundleSpec, Input, Label, Origin
from export.audioset.front_end import check_front_end
from export.audioset.network import Network
from export.audioset.tflite import Yamnet, read_yamnet
from export.bundle import build_spec, describe_graph, write_bundle
from export.parity.parity import compare
from export.train import negatives
from export.train.alarms import beeps, carbon_monoxide, smoke
from export.train.augment import FRAMES
from export.train.data import (
    BEEP,
    FBANK,
    HELD_OUT,
    MONOXIDE,
    MUSIC,
    SMOKE,
    Row,
    free_rooms,
    label_slugs,
    read,
    training_rows,
)
from export.train.evaluate import measure
from export.train.fused.bands import PATCHES, Bands, fit_bands
from export.train.fused.calibrate import OFFSET_PART, calibrate
from export.train.fused.classes import audioset_classes
from export.train.fused.fusion import Fusion
from export.train.fused.graph import (
    CLIP,
    FRAME_SCORES,
    INPUT,
    SIGHTS,
    fused_graph,
    network_graph,
    yamnet_graph,
)
from export.train.fused.states import bring_negatives
from export.train.fused.view import Piece, View, cut, fit_view, pieces
from export.train.release import NAMES, OUTPUTS, WINDOW, attribution

VERSION: Final = "4"
MERGE_GAP_S: Final = 1.0
COUNTED: Final[Mapping[str, Mapping[str, Any]]] = {
    BEEP: {"onset_threshold": 0.8, "offset_threshold": 0.65, "enabled": False}
}
"""Labels that are for patterns to count, and no events unless they are enabled; with thresholds
near one another, so that a room does not join one beep to the next."""
ALARMS: Final = {SMOKE: 0.77, MONOXIDE: 0.77}
"""Onset thresholds of alarms, which beep and pause or are not believed. A tone that is held makes a
score of 0.6 of a smoke alarm."""
SYNTHESISED: Final = 60
"""Of each kind of alarm and of steady noise."""
BANDS_EVERY: Final = 8
"""Of so many recordings one has a part in the bands."""

ATTRIBUTION: Final = (
    "Weights: Apache-2.0. Holds YAMNet (M. Plakal and D. Ellis, Google; Apache-2.0), its weights "
    "changed in form alone, and what was trained on clips of ESC-50 (K. J. Piczak, ESC: Dataset "
    "for Environmental Sound Classification, ACM Multimedia 2015, doi 10.1145/2733373.2806390), of "
    "which only those under CC0 or CC-BY on Freesound were used; on utterances of the Mycroft "
    "Precise community data (public domain) and of Picovoice's wake-word benchmark (Apache-2.0); "
    "on backgrounds of Google's Speech Commands (CC BY 4.0) and Freesound; on music, voices and "
    "rooms under CC0, CC BY, MIT or Apache-2.0; and on synthesised alarms. Each recording is "
    "listed in ATTRIBUTION.csv. YAMNet also taught: its scores of the training recordings were "
    "soft targets of a second head, which is not part of the bundle."
)


def release(file: Path, network: Path, data: Path, folder: Path, work: Path) -> BundleSpec:
    """Fit what is to be fitted, join the graphs, calibrate, and write the bundle `folder`.

    Args:
        file: yamnet.tflite.
        network: the trained network's graph, or a bundle's in which it was joined.
        data: the recordings.
        folder: of the bundle; replaced if it is there.
        work: for what is made on the way.

    Raises:
        BundleError: the file is not YAMNet, or the graph does not answer as its parts do.
    """
    yamnet = read_yamnet(file)
    check_front_end(yamnet)
    known, rows = label_slugs(data), [*training_rows(data), *free_rooms(data)]
    classes = audioset_classes()
    slugs = (*known, *(slug for slug in classes if slug not in known))
    bands = Bands(fit_bands(read(row.path) for row in rows[::BANDS_EVERY]))
    seeing = yamnet_graph(bands, yamnet, work)
    view = _view(work / "view.pt", rows, (*known, MUSIC), seeing)
    fusion = Fusion(slugs, known, view, (*known, MUSIC), classes).eval()
    graph = work / "model.onnx"
    trained = network_graph(network, len(known))
    onnx.save(fused_graph(trained, seeing, fusion, work), graph)
    windows = [piece.rows for piece in pieces(rows[::60], known)]
    parts = _Parts(bands, yamnet, trained, fusion)
    parity = compare(parts, graph, _batches(np.stack(windows)), "sigmoid")
    spec = build_spec(
        name=folder.name,
        version=VERSION,
        licence="Apache-2.0",
        attribution=ATTRIBUTION,
        source=Origin(
            checkpoint="python -m export.train, then python -m export.train.fused",
            architecture="audio spectrogram transformer beside YAMNet (MobileNet v1)",
        ),
        onnx=describe_graph(graph, "int8"),
        frontend=FBANK,
        window=WINDOW,
        graph_input=Input(name="input", shape=("batch", FRAMES, FBANK.mel_bins)),
        outputs=OUTPUTS,
        decoding="multilabel",
        labels=[_label(slug) for slug in slugs],
        parity=parity.as_json(),
    )
    write_bundle(work / "provisional" / spec.name, graph, spec)
    found = calibrate(work / "provisional" / spec.name, data)
    metrics = measure(graph, data, slugs) | {
        "measured": datetime.now(UTC).date().isoformat(),
        "held_out_fold": HELD_OUT,
    }
    labels = tuple(_calibrated(label, found[label.slug]) for label in spec.labels)
    spec = spec.model_copy(update={"labels": labels, "metrics": metrics})
    write_bundle(folder, graph, spec, {"ATTRIBUTION.csv": attribution(rows)})
    bring_negatives(folder, trained, rows)
    return spec


def examples(rows: Sequence[Row], slugs: Sequence[str], seed: int = 0) -> Iterator[Piece]:
    """What the layer on YAMNet's view is fitted to: recordings, alarms, and steady noise."""
    yield from pieces(rows, slugs)
    rng = np.random.default_rng(seed)
    alarms = ((smoke, (BEEP, SMOKE)), (carbon_monoxide, (BEEP, MONOXIDE)), (beeps, (BEEP,)))
    for make, labels in alarms:
        for _ in range(SYNTHESISED):
            samples = make(rng).samples * np.float32(rng.choice((1.0, 0.3, 0.1)))
            yield from cut(samples, labels, ("clock_alarm",), slugs)
    for make_noise in negatives.STEADY:
        for _ in range(SYNTHESISED):
            samples = make_noise(rng) * np.float32(rng.choice((1.0, 0.3, 0.1)))
            yield from cut(samples, (), (), slugs)


def _view(file: Path, rows: Sequence[Row], slugs: Sequence[str], seeing: onnx.ModelProto) -> View:
    """The layer, from the file if it was fitted before."""
    if file.exists():
        state = torch.load(file, weights_only=True)
        labels, dim = state["layer.weight"].shape
        view = View(dim // 2, labels).eval()
        view.load_state_dict(state)
        return view
    view = fit_view(examples(rows, slugs), _sight(seeing))
    torch.save(view.state_dict(), file)
    return view


def _sight(seeing: onnx.ModelProto) -> Callable[[FloatArray], FloatArray]:
    session = _session(seeing)

    def see(windows: FloatArray) -> FloatArray:
        sights: FloatArray = session.run([SIGHTS], {INPUT: windows})[0]
        return sights

    return see


class _Parts(nn.Module):
    """What the joined graph is held against: its parts in PyTorch, the trained network alone."""

    def __init__(
        self, bands: Bands, yamnet: Yamnet, network: onnx.ModelProto, fusion: Fusion
    ) -> None:
        super().__init__()
        self._bands, self._network, self._fusion = bands, _session(network), fusion
        self._yamnet = Network(yamnet.layers)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        answers = self._network.run([CLIP, FRAME_SCORES], {INPUT: windows.numpy()})
        sights = self._yamnet.sights(self._bands(windows))
        scored = self._yamnet.answer(sights)
        by_patch = (x.reshape(-1, PATCHES, x.shape[1]) for x in (sights, scored))
        fused: tuple[Tensor, Tensor] = self._fusion(*map(torch.from_numpy, answers), *by_patch)
        return fused


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def _batches(windows: FloatArray) -> list[FloatArray]:
    """One and five at a time."""
    return [windows[:5], windows[5:10], *windows[10:40:3, None]]


def _calibrated(label: Label, found: Mapping[str, Any]) -> Label:
    if label.slug in ALARMS:
        onset = ALARMS[label.slug]
        found = {"onset_threshold": onset, "offset_threshold": round(onset * OFFSET_PART, 2)}
    return label.model_copy(update=COUNTED.get(label.slug, found))


def _label(slug: str) -> Label:
    return Label(
        slug=slug,
        name=NAMES.get(slug, slug.replace("_", " ").capitalize()),
        merge_gap_s=0.0 if slug in COUNTED else MERGE_GAP_S,
    )
