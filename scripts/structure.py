"""Prints how the project is built: its folders, what they are for and import, and what is too long.

    python scripts/structure.py

Ends with 1 if modules import one another in a circle or a file is too long.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("detector", "export")
FOLDERS = (*PACKAGES, "scripts", "benchmarks", "tests")
MOST_LINES = 400
"""Of a Python file."""


@dataclass(frozen=True)
class Module:
    """A Python file of a package."""

    name: str
    """As it is imported: `detector.settings.load`; that of a package's `__init__.py` is its own."""
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """What relative imports count from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def read_modules(package: str, root: Path = ROOT) -> dict[str, Module]:
    """All modules of a package in a folder, by their names."""
    modules = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
    return modules


def imported_by(module: Module, known: Mapping[str, Module]) -> Iterator[str]:
    """Full names of the modules that a module imports, at its top or anywhere within."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.package.split(".")[: len(module.package.split(".")) + 1 - node.level]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            submodules = names & known.keys()
            yield from sorted(submodules)
            if len(submodules) < len(names):  # something that stands in `base` itself
                yield base


def cycles(imports: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of modules each of which imports, by way of others, all of its group."""
    reached = {name: _reached(name, imports) for name in imports}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached.get(other, ())))
        for name in imports
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def _reached(name: str, imports: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(imports[name])
    while waiting:
        other = waiting.pop()
        if other not in found and other in imports:
            found.add(other)
            waiting += imports[other]
    return found


def import_graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Of each module of the packages, those of the packages that it imports."""
    known: dict[str, Module] = {}
    for package in PACKAGES:
        known |= read_modules(package, root)
    return {name: set(imported_by(module, known)) & known.keys() for name, module in known.items()}


def lengths(root: Path = ROOT) -> dict[str, int]:
    """Lines of each Python file of the project, by its path."""
    return {
        path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
    }


def purpose(folder: Path) -> str:
    """The first sentence of the docstring of a package."""
    init = folder / "__init__.py"
    if not init.is_file():
        return ""
    docstring = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
    sentence, stop, _ = " ".join(docstring.split()).partition(". ")
    return sentence + stop.strip()


def describe(root: Path = ROOT) -> Iterator[str]:
    """The structure, line by line."""
    sizes = lengths(root)
    graph = import_graph(root)
    files: defaultdict[str, list[int]] = defaultdict(list)
    for path, lines in sizes.items():
        files[path.rpartition("/")[0]].append(lines)
    for folder, counts in sorted(files.items()):
        yield f"{folder + '/':32} {len(counts):3} files {sum(counts):6} lines  " + purpose(
            root / folder
        )
    yield ""
    between: defaultdict[str, set[str]] = defaultdict(set)
    for module, others in graph.items():
        between[_folder(module, root)] |= {_folder(other, root) for other in others}
    for folder, others in sorted(between.items()):
        shown = ", ".join(sorted(others - {folder})) or "nothing"
        yield f"{folder}/ imports {shown}"
    yield ""
    found = cycles(graph)
    yield from (f"cycle of modules: {' <-> '.join(group)}" for group in found)
    if not found:
        yield "no cycle"
    long = {path: lines for path, lines in sizes.items() if lines > MOST_LINES}
    yield from (f"over {MOST_LINES} lines: {path} ({lines})" for path, lines in long.items())
    if not long:
        yield f"no file over {MOST_LINES} lines"


def _folder(module: str, root: Path) -> str:
    path = root.joinpath(*module.split("."))
    return (path if path.is_dir() else path.parent).relative_to(root).as_posix()


def main() -> None:
    print("\n".join(describe()))
    too_long = any(lines > MOST_LINES for lines in lengths().values())
    sys.exit(1 if too_long or cycles(import_graph()) else 0)


if __name__ == "__main__":
    main()
