"""A bundle, and a server that has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import loudness_bundle
from tests.inference_service import InferenceService, Model


@pytest.fixture
def served_folder(tmp_path: Path) -> Path:
    return loudness_bundle(tmp_path / "loudness", outputs=("clip", "frames"))


@pytest.fixture
def service(served_folder: Path) -> Iterator[InferenceService]:
    with InferenceService(served_folder) as running:
        yield running.start()


@pytest.fixture
def model(service: InferenceService) -> Model:
    """What the server has of it."""
    return service.models["loudness"]
