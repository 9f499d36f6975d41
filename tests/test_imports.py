"""Data goes one way: a stage knows the leaf and itself, and only a few files compose."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import structure

PACKAGE = structure.ROOT / "detector"
MODULES = structure.read_modules("detector")

STAGES = ("capture", "features", "inference", "events", "publish")
LEAF = (
    "boottime",
    "notice",
    "records",
    "health_report",
    "stats",
    "errors",
    "passwords",
    "slugs",
    "decibels",
    "explanations",
    "validation_errors",
    "csv_table",
    "front_end_spec",
    "spec",
    "settings",
)
"""In the order in which they may import one another."""
COMPOSERS = (
    "configured_model",
    "lane",
    "overload",
    "pipeline",
    "compatibility",
    "loading",
    "control",
    "explain_source",
    "source_signal",
    "source",
    "daemon",
    "cli",
    "__main__",
    "commands",
    "evaluation",
)
PURE = (
    "features",
    "events",
    "lane",
    "overload",
    "pipeline",
    "configured_model",
    "records",
    "front_end_spec",
    "spec",
    "decibels",
    "explanations",
)
"""What knows no clock, does no I/O and waits for nothing."""

FOREIGN = {"torch", "transformers", "onnx", "export", "tests", "benchmarks"}
HEAVY = {"sed_scores_eval", "sed_eval", "pandas", "matplotlib", "scipy", "librosa"}
"""What the extra `evaluate` brings; loaded by name, in the functions that use it."""
IMPURE = {
    *("asyncio", "threading", "multiprocessing", "concurrent", "queue", "signal", "subprocess"),
    *("time", "datetime", "random", "socket", "os", "io", "sys", "tempfile", "shutil"),
    *("logging", "structlog", "av", "soundfile", "sounddevice", "onnxruntime", "aiomqtt"),
}


def imports(module: str) -> set[str]:
    """Full names of the modules that `module` imports, at its top or anywhere within."""
    return set(structure.imported_by(MODULES[module], MODULES))


def part(module: str) -> str:
    """The stage, the leaf or the composer that a module of the detector belongs to."""
    return [*module.split("."), "__init__"][1]


def own(module: str) -> set[str]:
    """The other parts of the detector that a module imports."""
    found = {part(name) for name in imports(module) if name.split(".")[0] == "detector"}
    return found - {part(module)}


def test_there_is_something_to_read() -> None:
    assert {part(module) for module in MODULES} >= {*STAGES, *LEAF, "operate", "pipeline"}
    assert "detector.records" in imports("detector.features.fbank")
    assert "numpy" in imports("detector.records")


@pytest.mark.parametrize("module", MODULES)
def test_a_stage_imports_the_leaf_and_itself_alone(module: str) -> None:
    if part(module) in (*STAGES, "operate"):
        assert own(module) <= set(LEAF)


@pytest.mark.parametrize("module", MODULES)
def test_the_leaf_imports_only_what_comes_before_it(module: str) -> None:
    if part(module) in LEAF:
        assert own(module) <= set(LEAF[: LEAF.index(part(module))])


@pytest.mark.parametrize("module", MODULES)
def test_only_composers_import_composers(module: str) -> None:
    if part(module) not in COMPOSERS:
        assert own(module).isdisjoint(COMPOSERS)


def test_the_pure_core_is_composed_without_the_service() -> None:
    pure = {*LEAF, "features", "events", "lane", "configured_model"}
    assert own("detector.pipeline") <= pure
    assert own("detector.lane") <= pure


@pytest.mark.parametrize("module", MODULES)
def test_only_the_commands_that_evaluate_import_evaluation(module: str) -> None:
    evaluating = ("detector.commands.evaluate", "detector.commands.tune")
    if part(module) != "evaluation" and module not in evaluating:
        assert "evaluation" not in own(module)


@pytest.mark.parametrize("module", MODULES)
def test_evaluation_composes_neither_the_service_nor_its_publishing(module: str) -> None:
    if part(module) == "evaluation":
        assert own(module).isdisjoint({"daemon", "cli", "commands", "publish", "operate"})


@pytest.mark.parametrize("module", MODULES)
def test_what_only_evaluation_needs_is_imported_when_it_is_asked_for(module: str) -> None:
    assert {name.split(".")[0] for name in imports(module)}.isdisjoint(HEAVY)


@pytest.mark.parametrize("module", MODULES)
def test_every_part_is_known_to_this_law(module: str) -> None:
    assert part(module) in {*STAGES, *LEAF, *COMPOSERS, "operate", "__init__"}


@pytest.mark.parametrize("module", MODULES)
def test_the_service_needs_nothing_of_training_and_export(module: str) -> None:
    assert {name.split(".")[0] for name in imports(module)}.isdisjoint(FOREIGN)


@pytest.mark.parametrize("module", MODULES)
def test_the_pure_core_knows_no_clock_and_does_no_io(module: str) -> None:
    if part(module) in PURE:
        assert {name.split(".")[0] for name in imports(module)}.isdisjoint(IMPURE)


def test_a_running_detector_has_loaded_nothing_of_training() -> None:
    """Not through a library either."""
    program = (
        "import sys, detector.commands.run, detector.commands.replay, detector.inference.session\n"
        f"print(sorted({FOREIGN | HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert structure.cycles(structure.import_graph()) == []


def write_package(folder: Path, **modules: str) -> Path:
    for package in structure.PACKAGES:
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text('"""Nothing. Really."""\n')
    for name, text in modules.items():
        (folder / "detector" / f"{name}.py").write_text(text)
    return folder


def test_a_cycle_is_found_and_named(tmp_path: Path) -> None:
    root = write_package(
        tmp_path,
        a="from detector import b\nimport detector.d\n",
        b="def later():\n    from .c import thing\n",
        c="import detector.a\n",
        d="import json\n",
    )
    circle = ["detector.a", "detector.b", "detector.c"]
    assert structure.cycles(structure.import_graph(root)) == [circle]
    assert "cycle of modules: detector.a <-> detector.b <-> detector.c" in structure.describe(root)


def test_the_structure_is_described(tmp_path: Path) -> None:
    long = "\n" * (structure.MOST_LINES + 1)
    lines = list(structure.describe(write_package(tmp_path, a=long, b="import detector.a\n")))
    assert any(
        line.split() == ["detector/", "3", "files", "403", "lines", "Nothing."] for line in lines
    )
    assert "no cycle" in lines
    assert "over 400 lines: detector/a.py (401)" in lines


LONG = {
    "tests/events/test_segmenter.py": "one state machine and its cases",
    "tests/export/test_checkpoint.py": "one reader of checkpoints and the mistakes in them",
    "tests/export/test_heads.py": "one command from end to end, on fixtures that take minutes",
}
"""Files that may be longer than others, and why."""


def test_no_file_is_longer_than_one_reads_at_a_time() -> None:
    long = {path for path, lines in structure.lengths().items() if lines > structure.MOST_LINES}
    assert long == LONG.keys()
