"""A house on the first engine that was asked for: what is killed here is the manager, not an engine."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import engine_names
from tests.engines import Registry
from tests.faults.acts import furnished
from tests.flows.house import House
from tests.soak.census import left_behind

MEMORY = Path("/dev/shm")
ROOM = 256 << 20
SETTLE_S = 10


@pytest.fixture
def swift(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is room: a process that is killed loses nothing that it wrote, and hundreds of
    commands that wait for a disk would take minutes."""
    usable = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix="sandbox-test-", dir=MEMORY if usable else tmp_path))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def house(pytestconfig: pytest.Config, registry: Registry, swift: Path) -> Iterator[House]:
    engine = engine_names(pytestconfig)[0]
    image = {"native": "host"}.get(engine, "base")  # what is unpacked in no home, and so costs nothing to copy
    yield from _house(registry, swift, engine, image)


@pytest.fixture
def docker_house(registry: Registry, swift: Path) -> Iterator[House]:
    yield from _house(registry, swift, "docker", "base")


def _house(registry: Registry, root: Path, engine: str, image: str) -> Iterator[House]:
    registry.engine(engine, image)
    house = furnished(root, engine, image)
    yield house
    for one in house("list", "--json").expect(0).json["sandboxes"]:
        house("destroy", one["sandbox"]).expect(0)
    house("recover").expect(0)
    # What else starts on this machine may hold a copy of our mounts for a moment.
    home_id, until = (house.home / "id").read_text().strip(), time.monotonic() + SETTLE_S
    while (left := left_behind(house.home, home_id)) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == []
