"""What every benchmark prints and writes: a small table, and the same as JSON."""

import json
import os
import platform
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def report(name: str, command: str, rows: list[tuple[str, float, str, str]]) -> None:
    """Print rows of (what, value, unit, target) and write them to results/NAME.json."""
    width = max(len(what) for what, *_ in rows)
    for what, value, unit, target in rows:
        print(f"{what:<{width}}  {value:10.3f} {unit:<12} {target}")
    RESULTS.mkdir(exist_ok=True)
    result: dict[str, Any] = {
        "command": command,
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "figures": {
            what: {"value": round(value, 4), "unit": unit, "target": target}
            for what, value, unit, target in rows
        },
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
