"""Frames, names, locks and the waiter: the small parts on their own."""

from __future__ import annotations

import gc
import platform
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.engines.base import CreateRequest
from sandbox.engines.docker_engine import naming, waiter
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.naming import Blueprint, Names
from sandbox.engines.docker_engine.streams import Frames
from sandbox.errors import InputError
from sandbox.spec import Limits

PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=8)


@given(PIECES, st.integers(1, 20))
def test_the_two_streams_come_apart_however_the_bytes_are_cut(pieces: list[tuple[int, bytes]], cut: int) -> None:
    wire = b"".join(struct.pack(">BxxxL", number, len(data)) + data for number, data in pieces)
    frames, got = Frames(), {"stdout": b"", "stderr": b""}
    for at in range(0, len(wire), cut):
        for name, data in frames.feed(wire[at : at + cut]):
            got[name] += data
    assert got["stdout"] == b"".join(data for number, data in pieces if number == 1)
    assert got["stderr"] == b"".join(data for number, data in pieces if number == 2)


def test_a_blueprint_survives_its_label() -> None:
    request = CreateRequest("sbx_1", "base", (), Limits(cpus=0.5), "full", {"A": 'quo"te\n', "Ü": "é"})
    made = naming.blueprint(request, "sha256:1")
    assert Blueprint.parse(made.text()) == made
    assert made.allowance == request.limits


@pytest.mark.parametrize("sandbox", ["", "a/b", "../x", "a b", "x" * 200, "a\n"])
def test_what_can_not_be_an_id_is_bad_input(sandbox: str) -> None:
    with pytest.raises(InputError):
        Names("home").container(sandbox)


def test_homes_never_share_a_name() -> None:
    names = {Names(home).container("sbx_1") for home in ("a", "A", "a-b", "a_b", "ab")}
    assert len(names) == 5


def test_a_base_layer_is_named_by_all_that_is_in_it() -> None:
    digests = {
        naming.base_digest("i", [("/workspace", "t")]),
        naming.base_digest("j", [("/workspace", "t")]),
        naming.base_digest("i", [("/workspace", "u")]),
        naming.base_digest("i", [("/workspace/a", "t")]),
        naming.base_digest("i", []),
    }
    assert len(digests) == 5


def test_a_lock_keeps_others_out_until_it_is_free_even_when_its_file_goes(tmp_path: Path) -> None:
    locks, order = Locks(tmp_path), list[str]()

    def other() -> None:
        with Locks(tmp_path).hold("one"):
            order.append("other")

    with locks.hold("one"):
        thread = threading.Thread(target=other)
        thread.start()
        with Locks(tmp_path).hold_if_free("one") as free:
            assert not free
        locks.forget("one")  # as the destroyer of a sandbox does
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"]


def test_an_owner_is_alive_as_long_as_its_object(tmp_path: Path) -> None:
    locks, other = Locks(tmp_path), Locks(tmp_path)
    token = locks.token()
    assert token == locks.token() != other.token()
    with other.hold_if_free(token) as dead:
        assert not dead
    del locks
    with other.hold_if_free(token) as dead:
        assert dead
    other.clear()
    assert [file.stem for file in tmp_path.iterdir()] == [other.token()]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the program is one for x86-64")
def test_the_waiter_runs_and_waits(tmp_path: Path) -> None:
    program = waiter.program("amd64")
    assert program is not None
    file = tmp_path / "wait"
    file.write_bytes(program)
    file.chmod(0o755)
    with subprocess.Popen([file]) as running:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.3)
        assert Path(f"/proc/{running.pid}/stat").read_text().split(") ")[1][0] == "S", "it sleeps"
        running.kill()


def test_other_machines_wait_with_what_the_image_has() -> None:
    assert waiter.program("arm64") is None
    assert waiter.command("arm64", alone=True) == ["sleep", "infinity"]


def test_an_owner_that_ends_leaves_no_file(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    locks.token()
    del locks
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_freeze_waits_for_starts_and_starts_wait_for_a_freeze(tmp_path: Path) -> None:
    locks, other, order = Locks(tmp_path), Locks(tmp_path), list[str]()

    def freeze() -> None:
        with other.still("sbx_1"):
            order.append("frozen")
            time.sleep(0.1)
            order.append("goes on")

    def start() -> None:
        with other.starting("sbx_1"):
            order.append("second")

    with ThreadPoolExecutor(2) as pool, locks.starting("sbx_1") as started:
        frozen = pool.submit(freeze)
        time.sleep(0.1)
        second = pool.submit(start)
        with other.starting("sbx_2"):
            order.append("elsewhere")
        time.sleep(0.1)
        started()
        frozen.result(10)
        second.result(10)
    assert order == ["elsewhere", "frozen", "goes on", "second"]
    with locks.hold("sbx_1"):
        locks.forget_sandbox("sbx_1")
        locks.forget_sandbox("sbx_2")
    assert list(tmp_path.iterdir()) == []
