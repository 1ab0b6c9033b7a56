"""The home and its owners."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.errors import InputError
from sandbox.lifecycle.home import Home, Owner


def test_i2_a_home_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)
    with pytest.raises(InputError, match="writable by you alone"):
        Home.open(tmp_path / "home")


def test_a_home_keeps_its_id(tmp_path: Path) -> None:
    first = Home.open(tmp_path / "home").id
    assert first == Home.open(tmp_path / "home").id
    assert first != Home.open(tmp_path / "other").id


def test_an_owner_is_alive_until_its_process_ends(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    script = (
        "import sys; from pathlib import Path; from sandbox.lifecycle.home import Home, Owner\n"
        "print(Owner(Home.open(Path(sys.argv[1]))).name, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "home")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        assert Owner(home).is_alive(name)
        other.kill()
        other.wait()
    assert not Owner(home).is_alive(name)


def test_an_owner_that_gave_up_is_not_alive(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    owner = Owner(home)
    name = owner.name
    assert owner.is_alive(name)
    owner.release()
    assert not Owner(home).is_alive(name)
