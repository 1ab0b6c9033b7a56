"""Which engines and kinds of target there are: the only place where the concrete ones meet the rest.

Owns the choice of an engine. Loads an engine's module when it is first asked for, and not before.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sandbox.config import check_outside
from sandbox.errors import EngineUnavailable, InputError
from sandbox.targets import open_target

if TYPE_CHECKING:
    from sandbox.config import Config
    from sandbox.engines.base import Engine
    from sandbox.lifecycle.home import Home
    from sandbox.targets.base import Target

EngineChoice = Literal["docker", "native", "auto"]
DOCKER_SOCKET = Path("/var/run/docker.sock")


class Wiring:
    """Opens engines and targets by name; an engine once."""

    def __init__(self, home: Home, config: Config, choice: EngineChoice, warm: int = 0) -> None:
        self._home = home
        self._config = config
        self._choice = choice
        self._warm = warm
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def default_engine(self) -> str:
        """The engine that new sandboxes use: `auto` takes docker where a daemon answers, else native."""
        if self._choice != "auto":
            return self._choice
        return "docker" if self._docker_answers() else "native"

    def _docker_answers(self) -> bool:
        # The socket first: the docker SDK takes longer to load than most commands take to run.
        if not (os.environ.get("DOCKER_HOST") or DOCKER_SOCKET.exists()):
            return False
        try:
            return all(one.ok for one in self.engine("docker").doctor())
        except EngineUnavailable:
            return False

    def engine(self, name: str) -> Engine:
        """An engine by its name. Raises InputError for an unknown one, EngineUnavailable."""
        with self._lock:
            if name not in self._engines:
                self._engines[name] = self._open(name)
            return self._engines[name]

    def _open(self, name: str) -> Engine:
        if name == "docker":
            from sandbox.engines.docker_engine import DockerEngine

            return DockerEngine(home_id=self._home.id, scratch=self._home.engine("docker"), warm=self._warm)
        if name == "native":
            from sandbox.engines.native import NativeEngine

            return NativeEngine(self._home.engine("native"), home_id=self._home.id, warm=self._warm)
        raise InputError(f"There is no engine {name!r}.", "Take docker, native or auto.")

    def close(self) -> None:
        """Let go of the engines' connections."""
        for engine in self._engines.values():
            engine.close()

    def target(self, name: str) -> Target:
        """A configured target. Raises InputError where home or configuration would be part of it (I1)."""
        spec = self._config.target(name)
        check_outside(self._home.root, Path(spec.path))
        check_outside(self._config.directory, Path(spec.path), "the configuration")
        return open_target(spec, self._home.cache, captured=self._home.root / "bases" / "caches")
