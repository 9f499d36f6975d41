"""The page on the architecture speaks of what there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:detector|export|tests|scripts|docs|configs)/[\w./]*)`", PAGE)))


def test_the_files_and_folders_that_it_names_exist() -> None:
    assert len(NAMED) > 30
    assert [name for name in NAMED if not (ROOT / name).exists()] == []


def test_it_leads_to_every_folder_of_the_detector_that_is_a_stage() -> None:
    stages = ("capture", "features", "inference", "events", "publish", "settings", "commands")
    for stage in stages:
        assert any(name.startswith(f"detector/{stage}/") for name in NAMED), stage


def test_the_names_of_code_in_it_exist() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "detector").rglob("*.py"))
    words = set(re.findall(r"`([A-Z][A-Za-z]+)`", PAGE)) - {"LIVE", "Frontend"}
    assert len(words) > 8
    assert [word for word in sorted(words) if f"class {word}" not in code] == []
