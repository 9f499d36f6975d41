"""Data goes one way: a stage knows the leaf and itself, and only a few files compose."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "detector"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

STAGES = ("capture", "features", "inference", "events", "publish")
LEAF = ("records", "stats", "errors", "slugs", "validation_errors", "spec", "settings")
"""In the order in which they may import one another."""
COMPOSERS = (
    "pipeline",
    "compatibility",
    "loading",
    "control",
    "source",
    "daemon",
    "cli",
    "__main__",
    "commands",
    "evaluation",
)
PURE = ("features", "events", "pipeline", "records", "spec")
"""What knows no clock, does no I/O and waits for nothing."""

FOREIGN = {"torch", "transformers", "onnx", "export", "tests", "benchmarks"}
HEAVY = {"sed_scores_eval", "sed_eval", "pandas", "matplotlib", "scipy", "librosa"}
"""What the extra `evaluate` brings; loaded by name, in the functions that use it."""
IMPURE = {
    *("asyncio", "threading", "multiprocessing", "concurrent", "queue", "signal", "subprocess"),
    *("time", "datetime", "random", "socket", "os", "io", "sys", "tempfile", "shutil"),
    *("logging", "structlog", "soundfile", "sounddevice", "onnxruntime", "aiomqtt"),
}


def imports(module: str) -> Iterator[str]:
    """Full names of the modules that `module` imports, at its top or anywhere within."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join(
                [*(parents if node.level else []), *([node.module] if node.module else [])]
            )
            names = {f"{base}.{alias.name}" for alias in node.names}
            submodules = {
                name for name in names if name in MODULES or f"{name}.__init__" in MODULES
            }
            yield from submodules
            if len(submodules) < len(names):  # something that stands in `base` itself
                yield base


def part(module: str) -> str:
    """The stage, the leaf or the composer that a module of the detector belongs to."""
    return [*module.split("."), "__init__"][1]


def own(module: str) -> set[str]:
    """The other parts of the detector that a module imports."""
    found = {part(name) for name in imports(module) if name.split(".")[0] == "detector"}
    return found - {part(module)}


def test_there_is_something_to_read() -> None:
    assert {part(module) for module in MODULES} >= {*STAGES, *LEAF, "operate", "pipeline"}
    assert "detector.records" in set(imports("detector.features.fbank"))
    assert "numpy" in set(imports("detector.records"))


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
    assert own("detector.pipeline") <= {*LEAF, "features", "inference", "events"}


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
