"""From YAMNet's file to the bundle `audioset`."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from detector.events.scores.label_tree import LabelTree
from detector.features.fbank import LogMel
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import (
    BundleSpec,
    Input,
    Label,
    Origin,
)
from export.audioset.calibrate import Recording, calibrated, hear, recordings
from export.audioset.front_end import FRAMES, FRONT_END, HOP_FRAMES, WINDOW, check_front_end
from export.audioset.graph import write_graph
from export.audioset.labels import labels_of
from export.audioset.network import Network
from export.audioset.tflite import read_yamnet
from export.bundle import build_outputs, build_spec, describe_graph, write_bundle
from export.parity.parity import compare
from export.parity.scores import activate
from export.train.teacher import Yamnet as Tflite

VERSION: Final = "1"
BATCH: Final = 16

ATTRIBUTION: Final = (
    "YAMNet by Manoj Plakal and Dan Ellis (Google; github.com/tensorflow/models, "
    "research/audioset/yamnet), Apache-2.0, trained on AudioSet: its weights, changed in form "
    "alone. Names, ids and tree of the labels: AudioSet ontology (J. F. Gemmeke et al., ICASSP "
    "2017; github.com/audioset/ontology), CC BY-SA 4.0, reduced to YAMNet's classes, under the "
    "same licence."
)


def release(file: Path, data: Path, folder: Path) -> BundleSpec:
    """Convert YAMNet, hold it against its layers in PyTorch, calibrate it, write the bundle.

    Args:
        file: yamnet.tflite.
        data: folder of the recordings that choose the thresholds.
        folder: of the bundle; replaced if it is there.

    Raises:
        BundleError: the file is not YAMNet, or the graph does not answer as its layers do.
    """
    yamnet = read_yamnet(file)
    check_front_end(yamnet)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch, "model.onnx")
        write_graph(yamnet.layers, FRAMES, FRONT_END.mel_bins, graph)
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        sounds = [next(hear(recording)) for recording in [*recordings(data)][::40]]
        patches = np.concatenate([_patches(sound) for sound in sounds])
        parity = compare(Network(yamnet.layers), graph, _batches(patches), "sigmoid")
        spec = build_spec(
            name=folder.name,
            version=VERSION,
            licence="Apache-2.0 (weights) and CC-BY-SA-4.0 (names and tree of the labels)",
            attribution=ATTRIBUTION,
            source=Origin(
                checkpoint="yamnet.tflite", revision=_sha256(file), architecture="MobileNet v1"
            ),
            onnx=describe_graph(graph, "int8"),
            frontend=FRONT_END,
            window=WINDOW,
            graph_input=Input(name="input", shape=("batch", FRAMES, FRONT_END.mel_bins)),
            outputs=build_outputs("sigmoid", clip=True),
            decoding="multilabel",
            labels=_calibrated(labels_of(yamnet.names), session, recordings(data)),
            parity=parity.as_json() | {"tflite": _apart(Tflite(file), session, sounds)},
        )
        write_bundle(folder, graph, spec)
    return spec


def _patches(samples: FloatArray) -> FloatArray:
    """(n, FRAMES, mel_bins): what windows of the recording show, at least one."""
    silence = np.zeros(max(0, WINDOW.samples - len(samples)), np.float32)
    frames = LogMel(FRONT_END, SAMPLE_RATE).push(np.concatenate([samples, silence]))
    begins = range(0, len(frames) - FRAMES + 1, HOP_FRAMES)
    return np.stack([frames[begin : begin + FRAMES] for begin in begins])


def _batches(patches: FloatArray) -> Iterator[FloatArray]:
    yield patches[:1]
    for begin in range(0, len(patches), BATCH):
        yield patches[begin : begin + BATCH]


def _scores(session: onnxruntime.InferenceSession, samples: FloatArray) -> FloatArray:
    """(windows, labels): the graph's probabilities for all windows of a recording."""
    patches = _patches(samples)
    batches = (patches[begin : begin + BATCH] for begin in range(0, len(patches), BATCH))
    logits = [session.run(None, {"input": batch})[0] for batch in batches]
    return activate(np.concatenate(logits), "sigmoid")


def _apart(
    tflite: Tflite, session: onnxruntime.InferenceSession, sounds: Sequence[FloatArray]
) -> dict[str, float]:
    """How far the graph's probabilities lie from those of the file, which computes in 8 bits.

    The file's logits come in steps of 0.35, near a probability of 0.5 those are 0.09.
    """
    differences = []
    for sound in sounds:
        ours, theirs = _scores(session, sound), tflite.scores(sound, WINDOW.hop_samples)
        both = min(len(ours), len(theirs))
        differences.append(np.abs(ours[:both] - theirs[:both]))
    apart = np.concatenate(differences)
    return {
        "windows": len(apart),
        "max_probability_difference": round(float(apart.max()), 4),
        "mean_of_the_largest_of_a_window": round(float(apart.max(axis=1).mean()), 4),
        "mean_probability_difference": round(float(apart.mean()), 6),
    }


def _calibrated(
    labels: tuple[Label, ...],
    session: onnxruntime.InferenceSession,
    chosen_from: Iterable[Recording],
) -> tuple[Label, ...]:
    tree = LabelTree(labels)
    heard = (
        (recording, tree.raised(_scores(session, samples)))
        for recording in chosen_from
        for samples in hear(recording)
    )
    return calibrated(labels, heard, WINDOW.hop_samples / SAMPLE_RATE)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
