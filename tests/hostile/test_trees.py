"""Trees made to mislead or to escape: what can't be promoted is named, what can is promoted exactly, nothing leaks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import House
from tests.trees import entries_below

pytestmark = pytest.mark.timeout(180)

FORBIDDEN = r"""
import os, socket, struct
os.symlink("/etc/passwd", "absolute")
os.symlink("../../etc/passwd", "upwards")
os.symlink("data", "inner"); os.symlink("inner/../../outside", "through")
os.mkfifo("pipe")
for name, mode in (("setuid", 0o4755), ("setgid", 0o2755)):
    open(name, "w").close(); os.chmod(name, mode)
open("capable", "w").close()
os.setxattr("capable", "security.capability", struct.pack("<5I", 0x02000001, 1 << 7, 0, 0, 0))
open(".sandbox-mine", "w").close()
socket.socket(socket.AF_UNIX).bind("socket")
"""
NAMES = [
    b"new\nline", b"escape\x1b[2J\x1b]0;title\x07", b"back\x08\x08space\r", "bidi-\u202egnp.exe".encode(),
    "zero\u200bwidth".encode(), "tag\U000e0041".encode(), b"not-utf8-\xff\xfe", b"\x9b31m", b"n" * 255,
    b"README", b"readme", "caf\u00e9".encode(), "cafe\u0301".encode(), "\u0430pp.py".encode(), b"-rf", b"--help", b"~",
    b"dot.", b" space ", b"$(touch pwned)", b"`id`", b"%s%n", b"\\", b"'\"", b"*",
]  # fmt: skip
ODD = f"""
import os
for number, name in enumerate({NAMES!r}):
    with open(name, "wb") as file:
        file.write(b"content %d \\x1b[31m" % number)
os.link("app.py", "twin")
with open("twin", "a") as file:
    file.write("through a hard link\\n")
"""


def task(house: House, source: str, **more: Any) -> dict[str, Any]:
    spec = {"targets": ["app"], "image": house.image, "command": ["python3", "-c", source], **more}
    house.write("tasks", "odd", spec)
    answer: dict[str, Any] = house("run", "odd", "--json").json
    return answer


def test_t17_t18_all_that_may_never_be_promoted_is_named_at_once(house: House) -> None:
    answer = task(house, FORBIDDEN)
    reason = answer["failure"]["reason"]
    assert (answer["status"], answer["failure"]["step"]) == ("rolled_back", "seal")
    names = {"absolute", "upwards", "through", "pipe", "setuid", "setgid", "capable", ".sandbox-mine"}
    if house.engine == "native":
        names.add("socket")  # an archive, which is what docker gives, can't hold one: it is never seen, nor promoted
    assert {name for name in names if f"app: {name}: " not in reason} == set()
    assert "app: inner: " not in reason


def test_t12_t13_t17_odd_names_are_promoted_exactly_and_taken_back(house: House) -> None:
    """A hard link is a file of its own once it is promoted; names are bytes, whatever they would do to a terminal."""
    target = house.root / "production" / "app"
    before = entries_below(target)
    change = task(house, ODD)["change"]
    twins = {hazard["path"] for hazard in change["hazards"] if hazard["kind"] in ("name_twin", "twin", "hidden_name")}
    assert {"README", "caf\u00e9", "\u0430pp.py", "zero\u200bwidth", "dot.", "not-utf8-\\xff\\xfe"} <= twins | {
        "cafe\u0301"
    }
    house.sign_off(change)
    promotion = house.promote(change).expect(0).json["promotion"]
    for number, name in enumerate(NAMES):
        assert Path(os.fsdecode(os.fsencode(target) + b"/" + name)).read_bytes() == b"content %d \x1b[31m" % number
    assert (target / "twin").read_text() == (target / "app.py").read_text() == "print('one')\nthrough a hard link\n"
    assert (target / "twin").stat().st_nlink == 1
    assert {entry.path for entry in entries_below(target)} == {entry.path for entry in before} | {*NAMES, b"twin"}
    house("restore", promotion, "--json").expect(0)
    assert entries_below(target) == before


@pytest.mark.parametrize("levels", [200, 1500])
def test_t28_a_tree_of_any_depth_is_taken_or_refused_in_words(house: House, levels: int) -> None:
    """1500 levels of 50 letters are beyond the recursion limit and, as a path, beyond what any system call takes."""
    source = f"import os\nfor _ in range({levels}): os.mkdir('d' * 10); os.chdir('d' * 10)\nopen('leaf', 'w').close()"
    if levels == 1500:
        source = source.replace("* 10", "* 50")
    answer = task(house, source)
    assert (answer["status"], answer["failure"] and answer["failure"]["step"]) in [
        ("proposed", None),
        ("rolled_back", "limits"),
    ]
    assert answer["status"] == "proposed" or levels == 1500


def test_t28_a_target_deeper_than_any_path_is_captured_or_refused_in_words(house: House, tmp_path: Path) -> None:
    target = house.target("deep")
    here = os.open(target, os.O_RDONLY)
    for _ in range(400):
        os.mkdir(b"d" * 50, dir_fd=here)
        below = os.open(b"d" * 50, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    answer = house.run("--", "touch", "new", target="deep")
    assert answer.code in (0, 2), answer.stderr
    assert "Traceback" not in answer.stderr
    if answer.code == 2:
        assert "longer than the Docker Engine can name" in answer.json["error"]["says"]
        return
    change = answer.json["change"]
    assert [entry["path"] for entry in change["targets"][0]["entries"]] == ["new"]
    house.sign_off(change)
    promotion = house.promote(change).expect(0).json["promotion"]
    assert (target / "new").exists()
    house("restore", promotion).expect(0)
    assert not (target / "new").exists()
