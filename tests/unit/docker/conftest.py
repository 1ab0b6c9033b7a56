"""The docker engine that all tests share, on an image that was built, and sandboxes that end with a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.engines.docker_engine import DockerEngine
from tests.engines import Boxes, Registry


@pytest.fixture
def engine(registry: Registry) -> DockerEngine:
    engine = registry.engine("docker", "base")
    assert isinstance(engine, DockerEngine)
    return engine


@pytest.fixture
def boxes(engine: DockerEngine, tmp_path: Path) -> Iterator[Boxes]:
    boxes = Boxes(engine, "base", tmp_path / "boxes")
    yield boxes
    boxes.close()
