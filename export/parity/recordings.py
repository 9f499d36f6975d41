"""Windows of real recordings, to compare models on."""

from pathlib import Path

import numpy as np

from detector.capture.recording import only_sound, open_audio
from detector.errors import AudioFileError, ConfigError
from detector.records import FloatArray

_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"}


def read_sounds(folder: Path, count: int, samples: int) -> tuple[list[str], FloatArray]:
    """The beginnings of some recordings, from all over a folder and its subfolders.

    Args:
        folder: where to look.
        count: how many recordings, if there are so many.
        samples: how long; a shorter recording is repeated.

    Returns:
        File names; (n, samples) float32 at 16 kHz.

    Raises:
        ConfigError: there is no recording.
        AudioFileError: one of them cannot be read.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise ConfigError(f"--audio {folder}: holds no recordings ({', '.join(sorted(_SUFFIXES))})")
    # Evenly spread over the list: neighbours often hold the same kind of sound.
    chosen = [found[i * len(found) // count] for i in range(count)] if len(found) > count else found
    return [path.name for path in chosen], np.stack([_beginning(p, samples) for p in chosen])


def _beginning(path: Path, samples: int) -> FloatArray:
    pieces: list[FloatArray] = []
    with open_audio(path) as blocks:
        for block in only_sound(path, blocks):
            pieces.append(block.samples)
            if sum(map(len, pieces)) >= samples:
                break
    sound = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
    if not len(sound):
        raise AudioFileError(f"{path}: holds no sound")
    return np.resize(sound, samples).astype(np.float32)
