"""The copy of the log away from the home: nothing counts before it has it, and a home that was put back is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import Answer, House, listing

pytestmark = pytest.mark.one_engine


@pytest.fixture
def copy(house: House) -> Path:
    """Where the log is exported to, in a folder of its own."""
    folder = house.root / "elsewhere"
    folder.mkdir()
    path = folder / "audit.jsonl"
    manager(house, audit_export=str(path))
    return path


def manager(house: House, **spec: Any) -> None:
    (house.config / "manager.yaml").write_text(json.dumps(spec))


def verified(house: House, log: Path, *more: str) -> Answer:
    """Offline: of the home, only its public key."""
    key = house.root / "audit.pub"
    if not key.exists():
        shutil.copy(house.home / "keys/audit_ed25519.pub", key)
    away = house.home.rename(house.root / "away")
    try:
        return house("audit", "verify", "--json", "--log", str(log), "--key", str(key), *more)
    finally:
        shutil.rmtree(house.home, ignore_errors=True)
        away.rename(house.home)


def test_g2_the_log_is_elsewhere_before_a_promotion_is_reported(house: House, copy: Path) -> None:
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    killed = house.promote(change, env={"SANDBOX_FAULT": "promotion.committed:kill"})
    assert killed.code == -9
    events = [json.loads(line).get("event") for line in copy.read_text().splitlines()]
    assert "promotion.baked" in events
    assert "promotion.committed" not in events
    assert house("promotions", "--json").expect(0).json["promotions"][0]["status"] == "committed"
    lines = [json.loads(line) for line in copy.read_text().splitlines()]
    assert [line["seq"] for line in lines if "seq" in line] == list(range(1, lines[-1]["checkpoint"]["size"] + 1))
    assert copy.stat().st_mode & 0o777 == 0o600
    verified(house, copy).expect(0)


def test_g2_what_can_not_be_exported_is_not_promoted(house: House, copy: Path) -> None:
    target = house.root / "production/app"
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    before = listing(target)
    folder = copy.parent.rename(house.root / "unmounted")
    answer = house.promote(change).expect(3)
    assert "can't be exported" in answer.json["reasons"][0]
    assert "not exported" in answer.stderr
    assert listing(target) == before
    folder.rename(copy.parent)
    house.promote(change).expect(0)


def test_a_directory_is_no_place_for_an_export_and_that_is_said(house: House, copy: Path) -> None:
    manager(house, audit_export=str(copy.parent))
    answer = house("list", "--json")
    assert answer.code != 1
    assert f"can't be exported to {copy.parent}: Is a directory" in answer.json["error"]["says"]
    manager(house, audit_export=str(copy))


def test_g2_an_export_that_fails_at_the_end_takes_the_promotion_back(house: House, copy: Path) -> None:
    spec = {"kind": "directory", "path": str(house.root / "production/app"), "policy": "production"}
    # What is run after the apply takes the folder away, as a lost mount would.
    gone = ["sh", "-c", f"mv {copy.parent} {copy.parent}.gone 2>/dev/null; true"]
    house.write("targets", "app", {**spec, "after_apply": [gone]})
    before = listing(house.root / "production/app")
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    answer = house.promote(change).expect(7).json
    assert answer["status"] == "restored"
    assert "can't be exported" in answer["reasons"][0]
    assert listing(house.root / "production/app") == before
    Path(f"{copy.parent}.gone").rename(copy.parent)


def test_g2_c9_a_policy_whose_promotion_can_not_be_exported_stays_as_it_was(house: House, copy: Path) -> None:
    house.propose("echo new > new.txt")
    house.policy(quorum=3)
    change = house("policy", "propose", "production", "--json").expect(0).json
    house.sign_off(change)
    folder = copy.parent.rename(house.root / "unmounted")
    house.promote(change).expect(3)
    folder.rename(copy.parent)
    (use,) = house("policy", "check", "production", "--json").expect(0).json["targets"]
    assert not use["in_force"]


def test_g1_g2_a_home_that_was_put_back_is_found_at_the_next_start(house: House, copy: Path) -> None:
    older = house.root / "older"
    house.propose("echo one > one.txt")
    shutil.copytree(house.home, older, symlinks=True)
    house.propose("echo two > two.txt")
    newer = house.home.rename(house.root / "newer")
    older.rename(house.home)
    answer = house("list", "--json").expect(2)
    assert f"signed already in {copy}" in answer.json["error"]["says"]
    shutil.rmtree(house.home)
    newer.rename(house.home)
    house("list", "--json").expect(0)


def test_g2_a_copy_that_was_cut_or_is_of_another_log_is_told(house: House, copy: Path) -> None:
    house.propose("echo one > one.txt")
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-20])  # as by a power cut
    house.propose("echo two > two.txt")
    verified(house, copy).expect(0)
    assert len(copy.read_bytes()) > len(whole)
    other = House(house.root / "other", house.engine, house.image)
    manager(other, audit_export=str(copy))
    assert "not one of its" in other("list", "--json").expect(2).json["error"]["says"]


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_g2_a_copy_that_somebody_did_away_with_is_missed_at_the_next_start(house: House, copy: Path, how: str) -> None:
    change = house.propose("echo one > one.txt")
    house.sign_off(change)
    whole = copy.read_bytes()
    copy.unlink() if how == "deleted" else copy.write_bytes(b"")
    for answer in (house("list", "--json"), house.promote(change)):
        assert f"{copy} is gone, and it was there before" in answer.expect(2).json["error"]["says"]
    copy.write_bytes(whole)
    house.promote(change).expect(0)
    # What the message offers: another place, for what is proposed from then on.
    copy.unlink()
    manager(house, audit_export=str(copy.with_name("next.jsonl")))
    house("list").expect(0)
    later = house.propose("echo two > two.txt")
    house.sign_off(later)
    house.promote(later).expect(0)
    verified(house, copy.with_name("next.jsonl")).expect(0)


@pytest.mark.parametrize("text", ["audit_export: audit.jsonl", "audit_exports: /a", "stop: ''", "stop: true", "[]"])
def test_a_wrong_manager_file_is_an_error_at_its_line(house: House, text: str) -> None:
    (house.config / "manager.yaml").write_text(text)
    assert "manager.yaml:1: " in house("list", "--json").expect(2).json["error"]["says"]
    (house.config / "manager.yaml").unlink()


def test_e8_a_stop_and_a_window_hold_a_promotion_up(house: House) -> None:
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    manager(house, stop="an incident is under way")
    assert house.promote(change).expect(3).json["reasons"] == ["All promotions are stopped: an incident is under way"]
    (house.config / "manager.yaml").unlink()
    house.promote(change).expect(0)


def test_e8_a_stop_between_two_targets_takes_the_first_one_back(house: House) -> None:
    stop = house.config / "manager.yaml"
    for name in ("one", "two"):
        house.target(name, after_apply=[["sh", "-c", f"echo 'stop: now' > {stop}"]] if name == "one" else [])
    before = listing(house.root / "production")
    answer = house.run("--target", "two", "--", "sh", "-c", "touch one/x two/x", target="one").expect(0).json
    house.sign_off(answer["change"])
    done = house.promote(answer["change"]).expect(7).json
    assert done["status"] == "restored"
    assert done["reasons"][0] == "All promotions are stopped: now"
    assert listing(house.root / "production") == before
    stop.unlink()
