"""Reading and writing single files from outside: exact, and never outside the sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.engines.base import Engine
from sandbox.errors import InputError, NotFound, SandboxError
from tests.engines import Box, Boxes

pytestmark = [pytest.mark.timeout(120), pytest.mark.every_image]

CANARY = b"of the host; no sandbox may read or change this"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host in a directory that no sandbox has."""
    folder = tmp_path / "host"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    (folder / "canary").write_bytes(CANARY)
    (folder / "canary").chmod(0o666)
    return folder


def test_written_files_have_content_mode_and_owner(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    engine.write(box.id, "/workspace/plain", b"plain\n")
    engine.write(box.id, "/workspace/script", b"#!/bin/sh\necho ran\n", mode=0o755)
    assert box.out("stat -c '%a %u:%g %s' plain script; ./script") == b"644 0:0 6\n755 0:0 19\nran\n"


@pytest.mark.parametrize("path", ["/workspace/new\nline", "/workspace/žluť ふ", "/workspace/-rf", "/tmp/x y"])
def test_odd_paths_are_written_and_read(boxes: Boxes, engine: Engine, path: str) -> None:
    box = boxes.create()
    engine.write(box.id, path, b"\0\xff")
    assert engine.read(box.id, path) == b"\0\xff"
    assert box.run("cat", path).stdout == b"\0\xff"


def test_missing_parents_are_made(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    engine.write(box.id, "/workspace/a/b/c", b"deep")
    engine.write(box.id, "/srv/new/file", b"elsewhere")
    assert box.out("cat a/b/c /srv/new/file; stat -c %a a a/b") == b"deepelsewhere755\n755\n"


def test_a_file_is_replaced_whole(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    engine.write(box.id, "/workspace/README", b"x", mode=0o600)
    assert box.out("cat README; stat -c ' %a' README") == b"x 600\n"
    engine.write(box.id, "/workspace/README", b"")
    assert engine.read(box.id, "/workspace/README") == b""


def test_what_commands_wrote_is_read(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    box.out("printf 'by the agent' > made; chmod 000 made; chown 7:7 made; ln -s made link")
    assert engine.read(box.id, "/workspace/made") == b"by the agent"
    assert engine.read(box.id, "/workspace/link") == b"by the agent"
    assert engine.read(box.id, "/workspace/app/../README") == b"one\ntwo\n"


def test_reading_what_is_not_there(box: Box, engine: Engine) -> None:
    for path in ("/workspace/nothing", "/no/such/folder/file", "/workspace/README/below"):
        with pytest.raises(NotFound):
            engine.read(box.id, path)
    with pytest.raises(InputError):
        engine.read(box.id, "/workspace/app")


def test_reading_a_pipe_does_not_wait_for_a_writer(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    box.out("mkfifo pipe; ln -s /dev/zero zero")
    with pytest.raises(InputError):
        engine.read(box.id, "/workspace/pipe")
    with pytest.raises(InputError):  # NotFound is one: the device may be seen from inside alone
        engine.read(box.id, "/workspace/zero")


def test_writing_where_a_file_can_not_be(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    for path in ("/workspace/app", "/workspace/README/below", "/"):
        with pytest.raises(InputError):
            engine.write(box.id, path, b"x")
    assert box.out("cat README; ls app") == b"one\ntwo\nmain.py\nrun.sh\ntemplates\n"


@pytest.mark.parametrize("way", ["absolute", "upwards", "of a process", "of the first process"])
@pytest.mark.parametrize("what", ["file", "directory"])
def test_no_link_leads_to_the_hosts_files(boxes: Boxes, engine: Engine, canary: Path, way: str, what: str) -> None:
    box = boxes.create()
    target = {
        "absolute": f"{canary}",
        "upwards": "../" * 40 + f".{canary}",
        "of a process": f"/proc/self/root{canary}",
        "of the first process": f"/proc/1/root{canary}",
    }[way]
    box.run("ln", "-s", target + ("/canary" if what == "file" else ""), "/workspace/way")
    path = "/workspace/way" + ("" if what == "file" else "/canary")
    with pytest.raises(SandboxError):
        engine.read(box.id, path)
    for written in (path, path + "-new"):
        try:
            engine.write(box.id, written, b"overwritten")
        except SandboxError:
            continue
        assert engine.read(box.id, written) == b"overwritten"
    assert (canary / "canary").read_bytes() == CANARY
    assert os.listdir(canary) == ["canary"]


def test_a_link_to_etc_passwd_is_the_sandboxes_own(boxes: Boxes, engine: Engine) -> None:
    before = Path("/etc/passwd").read_bytes()
    box = boxes.create()
    box.out("ln -s /etc/passwd passwd; ln -s / top; echo agent:x:0:0::/:/bin/sh > /etc/passwd")
    assert engine.read(box.id, "/workspace/passwd") == b"agent:x:0:0::/:/bin/sh\n"
    assert engine.read(box.id, "/workspace/top/etc/passwd") == b"agent:x:0:0::/:/bin/sh\n"
    engine.write(box.id, "/workspace/passwd", b"written")
    engine.write(box.id, "/workspace/top/etc/sandbox-test", b"below a link")
    assert box.out("cat passwd /etc/sandbox-test") == b"writtenbelow a link"
    assert Path("/etc/passwd").read_bytes() == before
    assert not Path("/etc/sandbox-test").exists()


def test_a_parent_that_turns_into_a_link_while_writing_leads_nowhere(
    boxes: Boxes, engine: Engine, canary: Path
) -> None:
    """The agent swaps a directory and a link to the host's path as fast as it can."""
    box = boxes.create()
    box.out(
        f"mkdir real; ln -s {canary} link; "
        "(while :; do mv -T real d; mv -T d real; mv -T link d; mv -T d link; done) >/dev/null 2>&1 </dev/null &"
    )
    for _ in range(40):
        try:
            engine.write(box.id, "/workspace/d/canary", b"overwritten")
        except SandboxError:
            continue
    assert (canary / "canary").read_bytes() == CANARY
    assert os.listdir(canary) == ["canary"]
