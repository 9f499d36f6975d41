"""What every front end of a checkpoint answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from detector.errors import BundleError
from detector.records import SAMPLE_RATE, FloatArray
from detector.spec import Frontend, Waveform


class Features(ABC):
    """A feature extractor, divided: the detector does what a bundle can say, the graph the rest."""

    extractors: ClassVar[tuple[str, ...]]
    """Names of the classes that it understands."""
    required: ClassVar[Mapping[str, object]] = {}
    """Settings that an extractor must have."""
    step: int
    """A window holds a multiple of this many samples."""
    frame: tuple[int, int, int]
    """Samples: where the first frame of the features begins and ends, and from one to the next."""
    frontend: Frontend = Waveform(normalise="none")
    """What the detector computes."""

    def __init__(self, extractor: Any) -> None:  # noqa: ANN401 (transformers is untyped)
        """Take what the extractor was saved with.

        Raises:
            BundleError: it does something that neither a bundle nor a graph can say.
        """
        required = {"sampling_rate": SAMPLE_RATE, "padding_side": "right", "padding_value": 0.0}
        kind = type(extractor).__name__
        for name, wanted in {**required, **self.required}.items():
            found = getattr(extractor, name, wanted)
            if found != wanted:
                hint = "; the detector hears at 16 kHz" if name == "sampling_rate" else ""
                raise BundleError(
                    f"the feature extractor's {name} = {found!r}: a {kind} can be exported only "
                    f"with {name} = {wanted!r}{hint}"
                )
        self._extractor = extractor

    def setting(self, name: str) -> object:
        """What the extractor says of `name`."""
        return getattr(self._extractor, name)

    def shape(self, samples: int) -> tuple[int, ...]:
        """One input of the graph, without the batch axis, for a window of `samples` samples."""
        return (samples,)

    def prelude(self) -> nn.Module:
        """What the graph computes before the network: from (batch, *shape) to its input."""
        return nn.Identity()

    @abstractmethod
    def reference(self, sounds: FloatArray) -> torch.Tensor:
        """The network's input as the extractor itself makes it.

        Args:
            sounds: (batch, samples) float32, whole windows.
        """

    def _extract(self, sounds: FloatArray, key: str, **options: object) -> torch.Tensor:
        found = self._extractor(
            list(sounds), sampling_rate=SAMPLE_RATE, return_tensors="pt", **options
        )
        values: torch.Tensor = found[key]
        return values.float()
