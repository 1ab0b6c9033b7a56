"""However little room there is: nothing is changed without a way back, and the error says what is missing (E3, F1)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.acts import ONE, kept, production, run, signed
from tests.flows.house import Answer, House, listing

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="makes small file systems, which needs root"),
]

KIB = 1 << 10
ROOMS = [0, 8 * KIB, 24 * KIB, 48 * KIB, 80 * KIB, 144 * KIB, 320 * KIB, 640 * KIB, 1200 * KIB, 2400 * KIB, 8000 * KIB]
SAID = re.compile(r"room|full|free")
BIG = "head -c 200000 /dev/urandom > app.py; echo x > made"
BALLAST = ".ballast"

Small = Callable[[Path, str], Path]


@pytest.fixture
def small(house: House) -> Iterator[Small]:
    """Makes a small file system of a directory, with what is in it."""
    with ExitStack() as undo:

        def make(place: Path, size: str) -> Path:
            place.mkdir(mode=0o700, exist_ok=True)
            saved = place.with_name(f"{place.name}-saved")
            subprocess.run(["cp", "-a", place, saved], check=True)
            options = f"size={size},mode={place.stat().st_mode & 0o777:o}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
            undo.callback(subprocess.run, ["umount", "--lazy", place], check=True)
            subprocess.run(["cp", "-aT", saved, place], check=True)
            return place

        yield make
        clear(house.home, *(house.root / "production").iterdir())
        for one in kept(house, "sandbox"):
            house("destroy", one["sandbox"]).expect(0)
        house("recover").expect(0)


def leave(place: Path, room: int) -> None:
    """Fill a file system so that so much room is left."""
    clear(place)
    found = os.statvfs(place)
    filling = found.f_bavail * found.f_frsize - room
    if filling > 0:
        with (place / BALLAST).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, filling)


def clear(*places: Path) -> None:
    for place in places:
        (place / BALLAST).unlink(missing_ok=True)


def sweep(house: House, full: Path, attempt: Callable[[], Answer]) -> list[dict[str, Any]]:
    """Attempt it with more and more room until it succeeds; what was said before that."""
    before, errors = listing(house.root / "production"), []
    for room in ROOMS:
        leave(full, room)
        answer = attempt()
        clear(full)
        if answer.code == 0:
            return errors
        error = refusal(answer)
        assert SAID.search(error["says"] + error["hint"]), error
        assert production(house) == before, room
        house("recover").expect(0)
        assert production(house) == before, room
        assert list((house.home / "scratch").iterdir()) == []
        errors.append(error)
    raise AssertionError(f"it never succeeded: {errors[-1]}")


def refusal(answer: Answer) -> dict[str, Any]:
    """What it says: as an error, or as the reason why a run was rolled back."""
    assert answer.code in (2, 4, 5), answer
    if answer.code == 4:
        return {"says": answer.json["failure"]["reason"], "hint": ""}
    error: dict[str, Any] = answer.json["error"]
    return error


def ignoring_ballast(house: House, **spec: Any) -> None:
    spec |= {"kind": "directory", "path": str(house.root / "production/app"), "policy": "production"}
    house.write("targets", "app", {**spec, "ignore": [BALLAST]})


def told_how_much(errors: list[dict[str, Any]], words: str) -> bool:
    return any(words in error["says"] and re.search(r"\d bytes", error["says"]) for error in errors)


def test_a_run_without_room_in_the_home_proposes_nothing(house: House, small: Small) -> None:
    (house.root / "production/app/data/big").write_bytes(os.urandom(300_000))
    small(house.home, "32m")
    errors = sweep(house, house.home, lambda: run(house, ONE, "--check", "true", "--", "sh", "-c", BIG))
    assert told_how_much(errors, "no room for the base")
    assert [change["status"] for change in kept(house, "change")] == ["open"]


def test_e3_a_promotion_without_room_in_the_home_changes_nothing(house: House, small: Small) -> None:
    (house.root / "production/app/app.py").write_bytes(os.urandom(300_000))
    small(house.home, "32m")
    change = signed(*ONE)(house)["change"]
    errors = sweep(house, house.home, lambda: house.promote(change))
    assert told_how_much(errors, "to be able to put everything back")
    assert told_how_much(errors, "no room for this")


def test_e3_a_promotion_without_room_in_the_target_changes_nothing(house: House, small: Small) -> None:
    target = small(house.root / "production/app", "8m")
    ignoring_ballast(house)
    change = run(house, ONE, "--", "sh", "-c", BIG).expect(0).json["change"]
    house.sign_off(change)
    errors = sweep(house, target, lambda: house.promote(change))
    assert told_how_much(errors, "no room for this")


def test_a_taking_back_without_room_in_the_home_is_not_begun(house: House, small: Small) -> None:
    small(house.home, "32m")
    before = production(house)
    done = house.promote(signed(*ONE)(house)["change"]).expect(0).json
    errors = sweep(house, house.home, lambda: house("restore", done["promotion"], "--json"))
    assert told_how_much(errors, "to be able to put everything back")
    assert production(house) == before


@pytest.mark.parametrize("where", ["home", "target"])
@pytest.mark.parametrize("well", [True, False], ids=["well", "not well"])
def test_f1_a_disk_that_fills_up_after_the_apply_keeps_nothing_from_coming_back(
    house: House, small: Small, where: str, well: bool
) -> None:
    """Somebody else takes all the room that there is, right when the target has been changed."""
    target = house.root / "production/app"
    full = small(house.home, "32m") if where == "home" else small(target, "8m")
    filled = full / BALLAST  # once: the same command reloads what uses the target when that is back
    filling = f"test -e {filled} || head -c 1G /dev/zero > {filled}; {'true' if well else 'false'}"
    ignoring_ballast(house, after_apply=[["sh", "-c", filling]])
    before = production(house)
    change = signed(*ONE)(house)["change"]
    committed = well and where == "target"  # what can't be recorded any more is not committed
    answer = house.promote(change).expect(0 if committed else 7).json
    clear(full)
    assert answer["status"] == ("committed" if committed else "restored")
    assert (production(house) == before) != committed
    assert house("recover", "--json").expect(0).json["done"] == []
    house("audit", "verify").expect(0)
    assert (production(house) == before) != committed


def test_g3_what_can_not_be_recorded_is_not_done_and_is_said_to_wait(house: House, small: Small) -> None:
    """Somebody takes even the room that was set aside: the restore waits until there is some again."""
    full, reserves = small(house.home, "32m"), house.home / "promotions/*/reserve"
    ignoring_ballast(house, after_apply=[["sh", "-c", f"rm {reserves}; head -c 1G /dev/zero > {full / BALLAST}"]])
    before = production(house)
    change = signed(*ONE)(house)["change"]
    error = house.promote(change).expect(8).json["error"]
    assert error["kind"] == "frozen"
    assert "not put back yet" in error["says"]
    assert "sandbox recover" in error["hint"]
    assert "bytes are free" in error["hint"]
    assert production(house) != before
    clear(full)
    ignoring_ballast(house)
    house("recover").expect(0)
    assert production(house) == before
