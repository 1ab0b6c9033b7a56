"""A house on the first engine that was asked for: what is killed here is the manager, not an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import engine_names
from tests.engines import Registry
from tests.flows.house import House
from tests.soak.census import left_behind


@pytest.fixture
def house(pytestconfig: pytest.Config, registry: Registry, tmp_path: Path) -> Iterator[House]:
    engine = engine_names(pytestconfig)[0]
    image = {"native": "host"}.get(engine, "base")  # what is unpacked in no home, and so costs nothing to copy
    registry.engine(engine, image)
    house = House(tmp_path, engine, image)
    house.policy()
    for name in ("app", "web", "etc"):
        house.target(name)
    yield house
    for one in house("list", "--json").expect(0).json["sandboxes"]:
        house("destroy", one["sandbox"]).expect(0)
    house("recover").expect(0)
    assert left_behind(house.home, (house.home / "id").read_text().strip()) == []
