"""A short command starts quickly: what it doesn't use is not loaded, and what only reads writes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = {
    "docker", "pathspec", "platformdirs", "requests", "rich", "sqlite3", "tenacity", "typer", "watchdog", "yaml",
    "cryptography", "pydantic",
}  # fmt: skip

SOURCE = """
import sys
from sandbox.cli.app import run
code = run(sys.argv[1:])
print(code, *sorted(sys.modules), sep="\\n", file=sys.stderr)
"""


def loaded_by(*arguments: str) -> set[str]:
    """Names of the modules that a command has loaded at its end."""
    command = [sys.executable, "-c", SOURCE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, stdin=subprocess.DEVNULL)
    code, *modules = done.stderr.splitlines()
    assert code == "0", done.stdout
    return set(modules)


def test_help_loads_the_parser_and_nothing_else() -> None:
    loaded = loaded_by("--help")
    assert loaded & LIBRARIES == {"typer"}
    assert "sandbox.manager" not in loaded


@pytest.mark.parametrize("verb", ["list", "promotions"])
def test_what_only_lists_loads_what_the_journal_needs(verb: str, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    loaded_by("--home", home, verb)  # makes the home
    loaded = loaded_by("--home", home, verb)
    assert loaded & LIBRARIES == {"typer", "pydantic", "sqlite3", "cryptography"}
    assert "cryptography.hazmat.primitives.serialization" not in loaded, "every kind of key and cipher"
    lifecycle = {name.removeprefix("sandbox.lifecycle.") for name in loaded if name.startswith("sandbox.lifecycle.")}
    assert lifecycle - {"signoff"} == {"context", "home", "listing", "recovery", "walks"}, "signoff is an empty front"
    others = ("sandbox.trees", "sandbox.targets.", "sandbox.engines", "sandbox.reviewing", "sandbox.watching")
    assert [name for name in loaded if name.startswith(others)] == []


def test_what_only_lists_writes_nothing(tmp_path: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        paths = [Path(at, name) for at, _, names in os.walk(tmp_path) for name in names]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}

    loaded_by("--home", str(tmp_path / "home"), "list")
    before = state()
    assert len(before) > 3
    loaded_by("--home", str(tmp_path / "home"), "list")
    assert state() == before
