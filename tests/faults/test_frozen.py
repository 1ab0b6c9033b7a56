"""A restore that fails ends frozen, and there are two ways out: the printed steps, or another try (F6, D15)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import House, listing

STUCK = {"SANDBOX_FAULT": "restore.put_back:error"}
ODD = "odd\n'name\\ \u202e"


@pytest.fixture
def target(house: House) -> Path:
    """A target whose promotions fail after the apply, with a name in it that no shell and no terminal likes."""
    path = house.root / "production" / "app"
    (path / ODD).write_text("odd\n")
    fails = {"after_apply": [["test", "!", "-e", str(path / "made")]]}
    house.write("targets", "app", {"kind": "directory", "path": str(path), "policy": "production", **fails})
    return path


def signed(house: House, script: str) -> dict[str, Any]:
    change = house.propose(script)
    house.sign_off(change)
    return change


def statuses(house: House) -> list[tuple[str, list[str]]]:
    found = house("promotions", "--json").expect(0).json["promotions"]
    return [(one["status"], [target["status"] for target in one["targets"]]) for one in found]


def test_f6_the_printed_steps_lead_out(house: House, target: Path) -> None:
    before = listing(target)
    change = signed(house, "rm -r data odd*; mkdir made; echo 2 > app.py")
    told = house("promote", change["id"], env=STUCK).expect(8).stdout.decode()
    assert listing(target) != before
    again = house("recover").expect(8).stdout.decode()
    steps = re.findall(r"^ +\d+\. (.*)$", told, re.MULTILINE)
    assert steps
    assert steps == re.findall(r"^ +\d+\. (.*)$", again, re.MULTILINE), "recover tells them again, and does nothing"
    assert listing(target) != before
    blocked = house.promote(signed(house, "touch other"))
    assert "sandbox recover" in blocked.expect(2).json["error"]["hint"]

    subprocess.run(["sh", "-e"], input="\n".join(steps).encode("ascii"), check=True)
    assert listing(target) == before
    (line,) = house("recover", "--json").expect(0).json["done"]
    assert line.endswith("put back by hand, restored")
    assert statuses(house)[0] == ("restored", ["restored"])
    assert house("review", change["id"], "--json").expect(0).json["status"] == "restored"
    house("recover").expect(0)
    house("audit", "verify").expect(0)
    house.promote(signed(house, "touch other")).expect(0)


def test_f6_another_try_leads_out(house: House, target: Path) -> None:
    before = listing(target)
    frozen = house.promote(signed(house, "rm -r data; mkdir made"), env=STUCK).expect(8).json
    assert house("restore", frozen["promotion"], "--json", env=STUCK).expect(8).json["status"] == "frozen"
    done = house("restore", frozen["promotion"], "--json").expect(0).json
    assert (done["promotion"], done["status"]) == (frozen["promotion"], "restored")
    assert done["manual_steps"] == []
    assert listing(target) == before
    house("recover").expect(0)


def test_f6_a_taking_back_that_froze_is_tried_again_by_either_name(house: House) -> None:
    before = listing(house.root / "production")
    words = ["--target", "app", "--target", "web", "--image", house.image]
    change = house("run", "--json", *words, "--", "sh", "-c", "touch app/new; rm web/app.py").expect(0).json["change"]
    house.sign_off(change)
    done = house.promote(change).expect(0).json
    house("restore", done["promotion"], "--json", env=STUCK).expect(8)
    assert statuses(house) == [("frozen", ["restored", "frozen"])] * 2, "the last one failed, the first one came back"
    (house.root / "production/app/later").write_text("others go on with what came back\n")
    house("restore", done["promotion"], "--json").expect(0)
    (house.root / "production/app/later").unlink()
    assert statuses(house) == [("restored", ["restored", "restored"])] * 2
    assert listing(house.root / "production") == before
