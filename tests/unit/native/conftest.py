"""A native engine in a home of its own, on the image `host`, which needs no building."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.clock import fresh_id
from sandbox.engines.native import NativeEngine
from tests.engines import Boxes, open_engine


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / fresh_id("native")
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def engine(home: Path) -> NativeEngine:
    engine = open_engine("native", home)
    assert isinstance(engine, NativeEngine)
    return engine


@pytest.fixture
def boxes(engine: NativeEngine, tmp_path: Path) -> Iterator[Boxes]:
    boxes = Boxes(engine, "host", tmp_path / "boxes")
    yield boxes
    boxes.close()
