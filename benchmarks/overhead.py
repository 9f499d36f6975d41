"""What the whole pipeline costs over the model itself, in CPU seconds of whole processes.

    python benchmarks/overhead.py [--bundle NAME|DIR] [--seconds S] [--hop S] [--rounds N]
    python benchmarks/overhead.py --ast-base

One process is `detector replay --speed max --json` on a recording; the other loads the same model
with the same options and runs it over the same windows, which lie ready in memory. Both are timed
by the operating system, in turns; what they take for a second of sound, which is their start, is
told beside. `--ast-base` makes an AST of the published size with random
weights first.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import soundfile as sf
from report import report

from detector.configured_model import ConfiguredModel
from detector.features.windows import windows_of
from detector.inference.bundle import load_bundle
from detector.records import SAMPLE_RATE, AudioBlock, FloatArray
from detector.settings.models import ModelSettings

BARE = """
    import sys
    import numpy as np
    import onnxruntime as ort

    model, windows, name = sys.argv[1:]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for window in np.load(windows, mmap_mode="r"):
        session.run(None, {name: window[None]})
"""


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process, from its start to its end."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return spent() - before


def scene(seconds: float) -> FloatArray:
    """Noise whose loudness changes, so that some events come and go."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(round(seconds * SAMPLE_RATE)) * 0.05
    samples *= 1 + np.sin(np.arange(len(samples)) / SAMPLE_RATE)
    return samples.astype(np.float32)


def ast_base(folder: Path) -> Path:
    """A bundle of an AST-base with random weights."""
    import models

    from export.checkpoints.checkpoint import load_checkpoint
    from export.convert import ExportOptions, export_checkpoint

    checkpoint = load_checkpoint(str(models.ast_base(folder / "checkpoint")), "clip")
    export_checkpoint(checkpoint, folder / "ast-base", ExportOptions())
    return folder / "ast-base"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="sounds", metavar="NAME|DIR")
    # Long, because the service runs for months: what counts is a window, not the start.
    parser.add_argument("--seconds", type=float, default=1800.0, help="length of the recording")
    parser.add_argument("--hop", type=float, default=1.0, help="seconds between windows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ast-base", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = str(ast_base(folder)) if arguments.ast_base else arguments.bundle
        measure(folder, bundle, arguments)


def measure(folder: Path, bundle: str, arguments: argparse.Namespace) -> None:
    audio = scene(arguments.seconds)
    sf.write(folder / "scene.wav", audio, SAMPLE_RATE, subtype="FLOAT")
    sf.write(folder / "second.wav", audio[:SAMPLE_RATE], SAMPLE_RATE, subtype="FLOAT")
    config = folder / "config.toml"
    config.write_text(
        textwrap.dedent(f"""
            [models.one]
            bundle = "{bundle}"
            provider = "cpu"
            hop_s = {arguments.hop}
        """)
    )
    loaded = load_bundle(bundle)
    configured = ConfiguredModel(
        "one", loaded.spec, ModelSettings(bundle=bundle, hop_s=arguments.hop)
    )
    windows = [w.data for w in windows_of(configured.window_request, [AudioBlock(0, audio)])]
    np.save(folder / "scene.npy", np.stack(windows))
    np.save(folder / "second.npy", np.stack(windows[:1]))

    def detector(name: str) -> float:
        command = [sys.executable, "-m", "detector", "replay", str(folder / f"{name}.wav")]
        return cpu_seconds([*command, "--json", "--config", str(config)])

    def bare(name: str) -> float:
        command = [sys.executable, "-c", textwrap.dedent(BARE), str(loaded.model_file)]
        return cpu_seconds([*command, str(folder / f"{name}.npy"), loaded.spec.input.name])

    bare("scene")
    rounds = np.array(
        [
            (detector("scene"), bare("scene"), detector("second"), bare("second"))
            for _ in range(arguments.rounds)
        ]
    )
    ours, theirs, our_start, their_start = np.median(rounds, axis=0)
    ratio = np.median(rounds[:, 0] / rounds[:, 1])
    lasting = np.median((rounds[:, 0] - rounds[:, 2]) / (rounds[:, 1] - rounds[:, 3]))
    big = arguments.ast_base
    report(
        "overhead-ast-base" if big else "overhead",
        " ".join(["python", "benchmarks/overhead.py", *sys.argv[1:]]),
        [
            ("windows", len(windows), "", ""),
            ("detector replay", ours, "CPU s", ""),
            ("bare ONNX Runtime", theirs, "CPU s", ""),
            ("detector / bare", ratio, "x", "<= 1.02" if big else "<= 1.25"),
            ("start of detector replay", our_start, "CPU s", ""),
            ("start of bare ONNX Runtime", their_start, "CPU s", ""),
            ("detector / bare without their starts", lasting, "x", ""),
            ("a window, bare", theirs / len(windows) * 1000, "CPU ms", ""),
        ],
    )


if __name__ == "__main__":
    main()
