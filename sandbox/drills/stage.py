"""The scratch folder of a drill: people with keys, configuration, home, and the removal of all of it.

Owns that nothing outside the folder is touched and that nothing of it stays. Must not know the story.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from sandbox.errors import EngineUnavailable, InputError, SandboxError
from sandbox.lifecycle.interrupts import deferred
from sandbox.manager import Manager
from sandbox.wiring import EngineChoice

KEYS = {
    "alice": ("alice", "alice"),
    "alice-laptop": ("alice", "alice@laptop"),
    "bob": ("bob", "bob"),
    "carol": ("carol", "carol"),
}
"""Key file → person and comment. Alice has two; carol launches."""
LAUNCHER = "carol"
IMAGES = {"native": "host", "docker": "base"}
"""What a task that names no image runs on."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A fresh private folder; removed at the end, however that comes about."""
    folder = Path(tempfile.mkdtemp(prefix="sandbox-drill-"))
    try:
        yield folder
    finally:
        with deferred():
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                raise SandboxError(f"The drill could not remove its folder {folder}.", f"Run: rm -rf {folder}")


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that it cleans up; a second one waits for that like the first.

    A handler that is there already stays.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def make_keys(folder: Path) -> None:
    """A fresh key pair for each of KEYS. Raises InputError where there is no ssh-keygen."""
    folder.mkdir(mode=0o700)
    for name, (_, comment) in KEYS.items():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(folder / name)]
        try:
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        except FileNotFoundError:
            raise InputError("There is no ssh-keygen.", "Install OpenSSH (Debian: openssh-client).") from None


def policy(keys: Path) -> dict[str, Any]:
    """Two people of three; all keys of one person count as that person."""
    people: dict[str, dict[str, list[str]]] = {}
    for name, (person, _) in KEYS.items():
        public = (keys / f"{name}.pub").read_text(encoding="ascii").strip()
        people.setdefault(person, {"keys": []})["keys"].append(public)
    return {"quorum": 2, "people": people, "approve_within_s": 3600}


def write_config(folder: Path, kind: str, name: str, content: Mapping[str, Any]) -> None:
    """One YAML file of the configuration."""
    path = folder / kind / f"{name}.yaml"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False, width=1000), encoding="utf-8")


@contextmanager
def managed(folder: Path, engine: EngineChoice, say: Callable[[str], None]) -> Iterator[Manager]:
    """A manager with a home of its own in `folder`; at the end its sandboxes are destroyed and its layers removed."""
    with Manager.open(home=folder / "home", config=folder / "config", engine=engine, identity=LAUNCHER) as manager:
        try:
            yield manager
        finally:
            with deferred():
                _clear(manager, say)


def make_ready(manager: Manager, say: Callable[[str], None]) -> None:
    """The engine answers and its usual image is built, so that the acts measure only themselves.

    Raises EngineUnavailable.
    """
    found = manager.doctor()
    if found.engine is None:
        missing = next((one for one in found.findings if not one.ok), None)
        raise EngineUnavailable(missing.says if missing else "No engine can be used.", missing.hint if missing else "")
    manager.build_image(IMAGES[found.engine], say)


def _clear(manager: Manager, say: Callable[[str], None]) -> None:
    for record in manager.sandboxes():
        try:
            manager.destroy(record.sandbox)
        except SandboxError as error:
            say(f"  left over: {record.sandbox}: {error}")
    try:
        manager.recover()
        manager.prune()
    except SandboxError as error:
        say(f"  not all could be removed: {error}")
