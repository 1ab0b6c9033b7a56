"""Which runtime is taken, what is said where none can be, and the shell on the caller's own terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.engines.native import cgroups, runtime
from sandbox.errors import EngineUnavailable
from tests.engines import Boxes

SHELL = """
import sys
from pathlib import Path
from sandbox.engines.base import ShellRequest
from sandbox.engines.native import NativeEngine
root, home_id, sandbox = sys.argv[1:]
sys.exit(NativeEngine(Path(root), home_id=home_id).shell(ShellRequest(sandbox)))
"""


def test_cgroup_v1_is_driven_by_runc_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "unified", lambda: False)
    assert runtime.usable() == ("runc",)
    monkeypatch.setenv("SANDBOX_RUNTIME", "crun")
    with pytest.raises(EngineUnavailable, match="crun"):
        runtime.choose()


@pytest.mark.parametrize(("may", "names"), [(True, ("crun", "runc")), (False, ("runc", "crun"))])
def test_cgroup_v2_prefers_crun_where_it_works(
    monkeypatch: pytest.MonkeyPatch, may: bool, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(cgroups, "unified", lambda: True)
    monkeypatch.setattr(runtime, "_may_raise_limits", lambda: may)
    assert runtime.usable() == names


def test_a_machine_without_a_runtime_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANDBOX_RUNTIME", raising=False)
    monkeypatch.setattr(runtime, "_which", lambda name: None)
    with pytest.raises(EngineUnavailable) as missing:
        runtime.choose()
    assert "apt-get install" in missing.value.hint


def arguments(boxes: Boxes, home: Path) -> list[str]:
    return [sys.executable, "-c", SHELL, str(home / "engines" / "native"), home.name, boxes.create().id]


def test_a_shell_on_a_terminal_has_a_terminal_inside(boxes: Boxes, home: Path) -> None:
    ours, theirs = pty.openpty()
    command = arguments(boxes, home)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as shell:
        os.close(theirs)
        os.write(ours, b"tty; pwd; exit 5\n")
        seen = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # how a terminal says that nobody is at the other end
                break
            if not data:
                break
            seen += data
        os.close(ours)
    assert shell.returncode == 5
    assert b"/dev/pts/" in seen
    assert b"/workspace" in seen


def test_a_shell_without_a_terminal_takes_its_script_from_the_input(boxes: Boxes, home: Path) -> None:
    command = arguments(boxes, home)
    done = subprocess.run(command, input=b"echo out; echo err >&2; tty; exit 6\n", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (6, b"err\n")
    assert done.stdout == b"out\nnot a tty\n"


def test_cgroup_v2_controllers_are_enabled_where_they_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On files that stand for the kernel's, so that it is tried on machines with version 1 too."""
    monkeypatch.setattr(cgroups, "MOUNT", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids")
    (tmp_path / "cgroup.subtree_control").write_text("memory pids")
    cgroups.enable_controllers()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids io")
    cgroups.enable_controllers()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "cpu memory pids io"
    assert cgroups.missing_controllers() == []
