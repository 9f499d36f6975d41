"""A real model that answers no numbers: said, counted, and in the end a reason to start anew."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import soundfile as sf
from onnx import TensorProto, helper, numpy_helper

from tests.bundles import IR_VERSION, OPSET, loudness_bundle, replace_model

RATE = 16_000


def no_numbers() -> onnx.ModelProto:
    """0 / 0, as the score of every window."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Div", ["zero", "zero"], ["clip"]),
        ],
        "no numbers",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", RATE])],
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.zeros(1, np.float32), "nothing")],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def config(folder: Path) -> Path:
    replace_model(loudness_bundle(folder / "loudness"), no_numbers())
    noise = 0.1 * np.random.default_rng(0).standard_normal(60 * RATE)
    sf.write(folder / "noise.wav", noise, RATE)
    path = folder / "config.toml"
    path.write_text(
        "[mqtt]\nenabled = false\n[console]\nenabled = true\n"
        '[models.loudness]\nbundle = "./loudness"\nhop_s = 0.1\n'
        '[[sources]]\nname = "hall"\naudio_file = "noise.wav"\n'
    )
    return path


def detector(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detector", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_service_whose_model_fails_for_good_ends_for_a_restart(tmp_path: Path) -> None:
    done = detector("run", "--config", config(tmp_path))
    assert done.returncode == 5, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "model loudness@1 has failed 20 times in a row" in last
    assert "'clip' holds what is not a number" in last
    [gap] = map(json.loads, done.stdout.splitlines())
    assert (gap["model"], gap["reason"]) == ("loudness@1", "not_finite")
    assert gap["duration_s"] > 1


def test_the_unit_starts_it_again_and_not_what_can_never_start() -> None:
    unit = Path(__file__).parent.parent / "systemd" / "detector.service"
    lines = unit.read_text(encoding="utf-8").splitlines()
    assert "Restart=on-failure" in lines
    assert "RestartPreventExitStatus=2 3" in lines


def test_a_replay_says_what_fails_and_ends_with_5(tmp_path: Path) -> None:
    done = detector("replay", tmp_path / "noise.wav", "--json", "--config", config(tmp_path))
    assert (done.returncode, done.stdout) == (5, "")
    assert "'clip' holds what is not a number" in done.stderr
