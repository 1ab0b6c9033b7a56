"""Every flow runs on each engine that was asked for, in a house of its own, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import Registry
from tests.flows.house import House


@pytest.fixture
def house(place: tuple[str, str], registry: Registry, tmp_path: Path) -> Iterator[House]:
    engine, image = place
    registry.engine(engine, image)  # the engine is there, its image built
    house = House(tmp_path, engine, image)
    house.policy()
    house.target()
    yield house
    for one in house("list", "--json").expect(0).json["sandboxes"]:
        house("destroy", one["sandbox"]).expect(0)
    left = house("recover", "--json").expect(0).json["done"]
    assert left == [], "a flow left this behind"
