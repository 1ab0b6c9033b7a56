"""Sandboxes that start from an earlier capture of their targets, without another look at them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.errors import Conflict, InputError, NotFound
from sandbox.manager import Manager
from tests.flows.house import House


@pytest.fixture
def manager(house: House) -> Iterator[Manager]:
    with Manager.open(house.home, house.config, house.engine, "carol") as opened:  # type: ignore[arg-type]
        yield opened


def seen(manager: Manager, house: House, **how: object) -> bytes:
    with manager.create(image=house.image, **how) as box:  # type: ignore[arg-type]
        return box.exec(["cat", "app.py"]).stdout


def test_each_sandbox_of_a_capture_has_what_was_there_then(house: House, manager: Manager) -> None:
    captured = manager.capture("app")
    before = (house.root / "production" / "app" / "app.py").read_bytes()
    (house.root / "production" / "app" / "app.py").write_text("later\n")
    assert seen(manager, house, base=captured) == seen(manager, house, base=captured) == before
    assert seen(manager, house, target="app") == b"later\n"


def test_a_change_of_a_capture_that_is_not_the_target_any_more_is_not_promoted(house: House, manager: Manager) -> None:
    captured = manager.capture("app")
    (house.root / "production" / "app" / "app.py").write_text("later\n")
    with manager.create(image=house.image, base=captured) as box:
        assert box.exec(["sh", "-c", "echo mine > app.py"]).exit_code == 0
        change = box.propose()
    document = {"id": change.id, "digest": change.digest}
    house.sign_off(document)
    house.promote(document).expect(6)
    assert (house.root / "production" / "app" / "app.py").read_text() == "later\n"


def test_a_target_that_was_replaced_is_captured_again_first(house: House, manager: Manager) -> None:
    captured = manager.capture("app")
    target = house.root / "production" / "app"
    shutil.copytree(target, kept := target.with_name("copy"))
    shutil.rmtree(target)
    Path(kept).rename(target)
    with pytest.raises(Conflict, match="another directory"):
        manager.create(image=house.image, base=captured)
    assert manager.sandboxes() == ()


def test_a_capture_outlives_no_prune_after_its_manager(house: House) -> None:
    with Manager.open(house.home, house.config, house.engine, "carol") as first:  # type: ignore[arg-type]
        captured = first.capture("app")
    with Manager.open(house.home, house.config, house.engine, "carol") as second:  # type: ignore[arg-type]
        second.prune()
        with pytest.raises(NotFound):
            second.create(image=house.image, base=captured)


def test_a_capture_names_targets_and_a_sandbox_one_source(manager: Manager) -> None:
    with pytest.raises(InputError, match="needs targets"):
        manager.capture()
    captured = manager.capture("app")
    with pytest.raises(InputError):
        manager.create(target="app", base=captured)
