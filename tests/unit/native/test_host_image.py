"""The image `host` lends tools, never people, keys or anything but what every user may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.engines.native import NativeEngine, host_image
from tests.engines import Boxes


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "skeleton"
    host_image.build(path)
    return path


def test_nothing_in_it_is_closed_to_other_users_of_the_host(skeleton: Path) -> None:
    for directory, _, names in os.walk(skeleton / "etc"):
        for name in names:
            path = Path(directory, name)
            assert path.is_symlink() or path.stat().st_mode & 0o004, path


def test_no_person_and_no_secret_of_the_host_is_in_it(skeleton: Path) -> None:
    users = [line.split(":") for line in (skeleton / "etc/passwd").read_text().splitlines()]
    assert {user[0] for user in users} >= {"root", "daemon", "nobody"}
    assert all(int(user[2]) < 1000 or user[0] == "nobody" for user in users)
    assert {user[1] for user in users} == {"*"}
    for name in ("shadow", "gshadow", "ssh", "ssl/private", "sudoers", "machine-id", "fstab", "gitconfig", "pip.conf"):
        assert not os.path.lexists(skeleton / "etc" / name), name
    assert os.listdir(skeleton / "root") == os.listdir(skeleton / "home") == []


def test_the_tools_start(boxes: Boxes) -> None:
    box = boxes.create()
    for tool in ("sh", "python3", "git", "curl"):
        assert box.run(tool, "--version" if tool != "sh" else "-c", "true").exit_code == 0, tool
    assert box.python("import ssl, sqlite3, json; print(ssl.create_default_context().cert_store_stats()['x509'] > 9)")


def test_what_the_agent_does_to_it_stays_in_the_sandbox(boxes: Boxes) -> None:
    box = boxes.create()
    before = os.stat("/usr/bin/env")
    box.out("rm -rf /usr/share/zoneinfo; echo broken > /usr/bin/env; rm /etc/passwd")
    assert os.stat("/usr/bin/env") == before
    assert os.path.isdir("/usr/share/zoneinfo")
    assert boxes.create().out("test -d /usr/share/zoneinfo && env true && id -un") == b"root\n"


def test_it_is_always_ready_and_has_a_digest(engine: NativeEngine) -> None:
    infos = {info.name: info for info in engine.images()}
    assert infos["host"].ready
    assert engine.image_digest("host") == engine.image_digest("host")
    assert len(engine.image_digest("host")) == 64
