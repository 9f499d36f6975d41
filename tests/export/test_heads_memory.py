"""What a head is fitted to lies in files: memory does not grow with the recordings."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("transformers", reason="export needs transformers")

from detector.errors import AudioFileError
from export.heads.data.example_file import ExampleFile
from export.heads.data.recordings import read_collection
from export.heads.data.samples import DecodedRecordings
from export.heads.data.scenes import Example
from tests.export.tones import HZ, small_base, tone, tone_folders, write

pytestmark = pytest.mark.export

ROOT = Path(__file__).parents[2]
MOST_MB = 50

GROWTH = """
import resource, sys
from pathlib import Path
from export.heads.make import make_head
from export.heads.options import HeadOptions
from tests.export.test_heads import Notes

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

base, few, many, out = sys.argv[1:]
options = HeadOptions(epochs=2, windows=1)
make_head(base, Path(few), Path(out, "few"), options, Notes())
before = peak()
make_head(base, Path(many), Path(out, "many"), options, Notes())
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_recordings(tmp_path: Path) -> None:
    """Forty minutes of sound are 154 MB."""
    few = tone_folders(tmp_path / "few", labels=("low", "high"), each=4)
    for label in ("low", "high"):
        for i in range(10):
            sound = tone(HZ[label], 120, i)
            write(tmp_path / "many" / label / f"{i}.wav", sound)
    base = small_base(tmp_path / "base" / "small")
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, base, few, tmp_path / "many", tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MOST_MB


def example(seed: int) -> Example:
    rng = np.random.default_rng(seed)
    heard, known = (rng.integers(2, size=(2, 3)).astype(np.float32) for _ in range(2))
    return Example(np.zeros(1, np.float32), heard[0], known[0], heard, known)


def test_examples_are_read_as_they_were_kept_also_after_an_interruption(tmp_path: Path) -> None:
    examples = [example(i) for i in range(5)]
    inputs = np.random.default_rng(0).standard_normal((5, 2, 4)).astype(np.float32)
    path = tmp_path / "x.examples"
    file = ExampleFile(path, (2, 4), labels=3, frames=2)
    file.append(inputs[:3], examples[:3])
    with path.open("ab") as torn:
        torn.write(b"half a record")
    file = ExampleFile(path, (2, 4), labels=3, frames=2)
    assert len(file) == 3
    file.append(inputs[3:], examples[3:])
    found = file.read(np.array([4, 0, 3]))
    np.testing.assert_array_equal(found.inputs, inputs[[4, 0, 3]])
    np.testing.assert_array_equal(found.target, [examples[i].target for i in (4, 0, 3)])
    np.testing.assert_array_equal(found.frame_known, [examples[i].frame_known for i in (4, 0, 3)])
    assert [len(batch.inputs) for batch in file.in_order(2)] == [2, 2, 1]


def test_any_part_of_a_recording_is_read_and_one_that_changed_is_named(tmp_path: Path) -> None:
    samples = tone(300, 1.0)
    path = write(tmp_path / "data" / "a" / "1.wav", samples)
    write(tmp_path / "data" / "b" / "2.wav", tone(900, 1.0))
    recording = read_collection(tmp_path / "data").recordings[0]
    found = DecodedRecordings(tmp_path / "decoded").read(recording, 700, 9000)
    np.testing.assert_array_equal(found, samples[700:9000])
    write(path, samples[:8000])
    with pytest.raises(AudioFileError, match=r"1\.wav: held 16000 samples before and holds 8000"):
        DecodedRecordings(tmp_path / "again").read(recording, 0, 10)
