"""A small house to run flows in: a home, a configuration, a real target, people with keys, the real command.

Everything goes through the `sandbox` command, each in a process of its own (see `tests/processes`).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests import processes

PEOPLE = ("alice", "bob", "carol")


@dataclass(frozen=True)
class Answer:
    """What one command gave."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        document = json.loads(self.stdout)
        assert document["schema"] == 1
        return document

    def expect(self, code: int) -> Answer:
        assert self.code == code, f"exit code {self.code}\n{self.stdout.decode(errors='replace')}\n{self.stderr}"
        return self


@dataclass
class House:
    root: Path
    engine: str
    image: str
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in ("targets", "tasks", "policies"):
            (self.config / kind).mkdir(parents=True)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def config(self) -> Path:
        return self.root / "configs"

    def key(self, person: str, number: int = 1) -> Path:
        """A private key of a person, made on the spot."""
        path = self.root / "keys" / f"{person}-{number}"
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", str(path)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def public(self, person: str, number: int = 1) -> str:
        return self.key(person, number).with_suffix(".pub").read_text().strip()

    def target(self, name: str = "app", files: dict[str, str] | None = None, **spec: Any) -> Path:
        """A directory target with some files; `spec` goes into its configuration."""
        path = self.root / "production" / name
        path.mkdir(parents=True)
        for relative, text in (files or {"app.py": "print('one')\n", "data/rows.txt": "1\n2\n3\n"}).items():
            (path / relative).parent.mkdir(parents=True, exist_ok=True)
            (path / relative).write_text(text)
        self.write("targets", name, {"kind": "directory", "path": str(path), "policy": "production", **spec})
        return path

    def policy(self, name: str = "production", **spec: Any) -> None:
        people = {person: {"keys": [self.public(person)], "roles": ["sre"]} for person in PEOPLE}
        self.write("policies", name, {"quorum": 2, "people": people, **spec})

    def write(self, kind: str, name: str, document: dict[str, Any]) -> Path:
        path = self.config / kind / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def __call__(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        stdin: bytes | None = None,
        interrupt_after_s: float | None = None,
    ) -> Answer:
        """Run the command; global options are added, `--json` is the caller's."""
        command = ["--home", str(self.home), "--config", str(self.config), "--engine", self.engine, *args]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SANDBOX_") or k == "SANDBOX_CACHE"}
        done = processes.command(
            command,
            {**clean, "SANDBOX_IDENTITY": "dave", **self.env, **(env or {})},
            stdin or b"",
            interrupt_after_s,
        )
        return Answer(done.code, done.stdout, done.stderr.decode("utf-8", "replace"))

    def run(self, *args: str, target: str = "app", **options: Any) -> Answer:
        """`sandbox run` on a target with this house's image; args from `--` on or options before it."""
        return self("run", "--json", "--target", target, "--image", self.image, *args, **options)

    def propose(self, script: str, *options: str) -> dict[str, Any]:
        """A change made by a shell script in a sandbox."""
        answer = self.run(*options, "--", "sh", "-c", script).expect(0).json
        assert answer["status"] == "proposed", answer
        return answer["change"]

    def approve(self, change: dict[str, Any], person: str, number: int = 1) -> Answer:
        return self(
            "approve", change["id"], "--json", "--as", person, "--key", str(self.key(person, number)),
            "--digest", change["digest"][:12],
        )  # fmt: skip

    def sign_off(self, change: dict[str, Any], *people: str) -> None:
        for person in people or ("alice", "bob"):
            self.approve(change, person).expect(0)

    def promote(self, change: dict[str, Any], **options: Any) -> Answer:
        return self("promote", change["id"], "--json", **options)


def listing(root: Path) -> dict[str, str]:
    """Every path with its kind, mode and content, to compare a tree before and after."""
    found = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        if path.is_symlink():
            found[str(path.relative_to(root))] = f"link {path.readlink()}"
        elif path.is_dir():
            found[str(path.relative_to(root))] = f"dir {state.st_mode:o}"
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(root))] = f"file {state.st_mode:o} {digest}"
    return found
