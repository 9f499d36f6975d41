"""Samples of recordings, read when they are needed, so that no collection is too large."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from detector.capture.recording import only_sound, open_audio
from detector.errors import AudioFileError
from detector.records import FloatArray
from export.heads.data.recordings import Recording

SampleReader = Callable[[Recording, int, int], FloatArray]
"""A recording and the samples `first..end` of it to (end - first,) float32."""


class DecodedRecordings:
    """Recordings decoded into files of a folder, 64 kB a second, each when it is first read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, recording: Recording, first: int, end: int) -> FloatArray:
        """The samples `first..end`.

        Raises:
            AudioFileError: the recording is no longer what it was.
            OSError: the folder cannot hold it.
        """
        file = self._folder / f"{recording.digest}.f32"
        if not file.exists():
            self._decode(recording, file)
        size = np.dtype(np.float32).itemsize
        return np.fromfile(file, np.float32, end - first, offset=first * size)

    def _decode(self, recording: Recording, file: Path) -> None:
        part, length = file.with_suffix(".part"), 0
        self._folder.mkdir(exist_ok=True)
        with open_audio(recording.path) as blocks, part.open("wb") as target:
            for block in only_sound(recording.path, blocks):
                target.write(np.ascontiguousarray(block.samples, np.float32).data)
                length += len(block.samples)
        if length != recording.length:
            raise AudioFileError(
                f"{recording.path}: held {recording.length} samples before and holds {length} now; "
                "do not change recordings while a head is fitted to them"
            )
        part.replace(file)
