"""What a model answers becomes scores: checked, and brought to probabilities."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from detector.errors import BundleError, InferenceError
from detector.records import FloatArray, Scores, Window
from detector.spec import Activation, BundleSpec, ClipOutput, FramesOutput

_ROUNDING: Final = 1e-3
"""By how much a probability may be outside 0..1: reduced precision does that."""


class Decoder:
    """Reads the answers of one model."""

    def __init__(self, spec: BundleSpec, name: str) -> None:
        """Set up.

        Args:
            spec: what the bundle promises.
            name: what errors call the model: its file, or where it is served.
        """
        self._name = name
        self._clip, self._frames = spec.outputs.clip, spec.outputs.frames
        self._labels = len(spec.labels)

    @property
    def outputs(self) -> list[ClipOutput | FramesOutput]:
        """Those that the model must have."""
        return [output for output in (self._clip, self._frames) if output is not None]

    def decode(self, windows: Sequence[Window], answer: Mapping[str, FloatArray]) -> list[Scores]:
        """The scores of a batch.

        Args:
            windows: what was asked; the answer may be longer, if the batch was padded.
            answer: by the name of the output.

        Raises:
            BundleError: the answer has not the shape that the bundle promises.
            InferenceError: it is not made of probabilities.
        """
        clip, frames = (
            None if output is None else self._probabilities(output, answer, len(windows))
            for output in (self._clip, self._frames)
        )
        return [
            Scores(
                first_sample=window.first_sample,
                end_sample=window.end_sample,
                new_samples=window.new_samples,
                power=window.power,
                clip=None if clip is None else clip[i],
                frames=None if frames is None else frames[i],
            )
            for i, window in enumerate(windows)
        ]

    def check_shape(
        self,
        output: ClipOutput | FramesOutput,
        shape: Sequence[int | str | None],
        windows: int | None = None,
    ) -> None:
        """Refuse what is not (windows, labels) or (windows, frames, labels), as far as is known.

        Raises:
            BundleError: naming the output, its shape and what is promised.
        """
        labels = self._labels
        wanted = [windows, None, labels] if isinstance(output, FramesOutput) else [windows, labels]
        if len(shape) != len(wanted) or any(
            isinstance(n, int) and w is not None and n != w
            for n, w in zip(shape, wanted, strict=True)
        ):
            raise BundleError(
                f"{self._name}: output {output.name!r} has the shape {list(shape)}; the bundle "
                f"promises {len(wanted)} axes, first the windows, last its {labels} labels"
            )

    def _probabilities(
        self, output: ClipOutput | FramesOutput, answer: Mapping[str, FloatArray], windows: int
    ) -> FloatArray:
        values = answer[output.name]
        self.check_shape(output, values.shape, windows)
        scores = activate(values, output.activation)
        if not np.isfinite(scores).all():
            raise InferenceError(
                f"{self._name}: output {output.name!r} holds what is not a number", "not_finite"
            )
        least, most = float(scores.min(initial=0)), float(scores.max(initial=0))
        if output.activation == "none" and not (least >= -_ROUNDING and most <= 1 + _ROUNDING):
            raise InferenceError(
                f"{self._name}: output {output.name!r} holds {least if least < 0 else most:.4g}, "
                "but with activation 'none' it must hold probabilities, 0 to 1; does the bundle "
                "need 'sigmoid' or 'softmax'?"
            )
        return np.clip(scores, 0, 1) if output.activation == "none" else scores


def activate(logits: FloatArray, activation: Activation) -> FloatArray:
    """Turn logits into probabilities over the last axis."""
    logits = np.asarray(logits, np.float32)  # a model may answer in half precision
    if activation == "sigmoid":
        # tanh does not overflow: sigmoid(x) = (1 + tanh(x / 2)) / 2
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)
    if activation == "softmax":
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
    return logits
