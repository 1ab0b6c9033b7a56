"""The tree that is measured, the two changes of it, and the proof that an operation left the right content.

Owns what is expected after each step. It is computed by the same shell lines on a plain directory of the host,
never by the product.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError

FILE_BYTES = 20_480
PER_DIRECTORY = 50
LEAST_FILES = 100
EVERY = 100
"""Change A writes each hundredth file anew, 10 KiB each: 100 files and 1 MB of 10,000."""
NEW_PER_OLD = 10
"""Change B leaves one small new file for ten that were there."""

DIGEST = """
export LC_ALL=C; cd "$1" || exit 1
{ find . -printf '%m %y %P\\n' | sort; find . -type f -print0 | sort -z | xargs -0 -r b2sum; } | b2sum -l 256
"""
"""Shell: one hash over names, kinds, modes and content of the tree $1 (BLAKE2: SHA-256 would take thrice as long)."""

_TEXT = 'umask 022; s=0123456789abcde; for _ in 1 2 3 4 5 6; do s="$s$s"; done\n'  # 960 bytes

CHANGE_A = (
    "set -e; " + _TEXT + 'cd "$1"; s="$s$s$s$s$s$s$s$s$s$s"; n=0; while [ "$n" -lt "$2" ]; do\n'
    'printf "A %s\\n%s\\n" "$n" "$s" > "$(printf "d%03d/f%05d" "$((n * $4 / $3))" "$((n * $4))")"; n=$((n + 1)); done\n'
)
"""Shell: write each $4th file of the tree $1 anew, $2 of them, 10 KiB each; $3 files lie in each directory."""

CHANGE_B = (
    "set -e; " + _TEXT + 'cd "$1"; rm -rf ./*; n=0; while [ "$n" -lt "$2" ]; do d="$(printf d%03d "$((n / $3))")"\n'
    '[ "$((n % $3))" -ne 0 ] || mkdir "$d"; printf "B %s\\n%s\\n" "$n" "$s" > "$d/g$n"; n=$((n + 1)); done\n'
)
"""Shell: remove all that is in the tree $1, and make $2 new files there, $3 in a directory.

The directories have names that were there before: what is deleted and recreated must not show what it was.
"""


class WrongContent(SandboxError):
    """An operation was done, and what is there now is not what should be: its time means nothing."""

    kind = "wrong_content"


@dataclass(frozen=True, slots=True)
class State:
    """What a tree should be after a change."""

    digest: str
    paths: frozenset[str]
    """Files that differ from the base and are there, relative to the tree."""


@dataclass(frozen=True, slots=True)
class Content:
    """A tree on the host, and what it becomes by each change."""

    root: Path
    files: int
    base: State
    a: State
    b: State

    @property
    def bytes(self) -> int:
        return self.files * FILE_BYTES

    def change(self, which: str, tree: str) -> list[str]:
        """The command that makes change `a` or `b` in the tree."""
        if which == "a":
            return ["sh", "-c", CHANGE_A, "sh", tree, str(self.files // EVERY), str(PER_DIRECTORY), str(EVERY)]
        return ["sh", "-c", CHANGE_B, "sh", tree, str(self.files // NEW_PER_OLD), str(PER_DIRECTORY)]


def make(root: Path, files: int) -> Content:
    """Write a tree of `files` files that no compression makes smaller, and find out what the changes make of it."""
    for number in range(files):
        path = root / f"d{number // PER_DIRECTORY:03}" / f"f{number:05}"
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(hashlib.shake_256(str(number).encode()).digest(FILE_BYTES))
        path.chmod(0o644)
    for directory in (root, *root.iterdir()):
        directory.chmod(0o755)
    nothing = State("", frozenset())
    content = Content(root, files, State(digest_of(root), frozenset()), nothing, nothing)
    changed = frozenset(f"d{n // PER_DIRECTORY:03}/f{n:05}" for n in range(0, files // EVERY * EVERY, EVERY))
    fresh = frozenset(f"d{n // PER_DIRECTORY:03}/g{n}" for n in range(files // NEW_PER_OLD))
    return Content(
        root,
        files,
        content.base,
        State(_twin(content, "a"), changed),
        State(_twin(content, "b"), fresh),
    )


def _twin(content: Content, which: str) -> str:
    twin = content.root.with_name("twin")
    try:
        subprocess.run(["cp", "-a", str(content.root), str(twin)], check=True)
        subprocess.run(content.change(which, str(twin)), check=True)
        return digest_of(twin)
    finally:
        subprocess.run(["rm", "-rf", str(twin)], check=True)


def digest_of(tree: Path) -> str:
    """The digest of a tree on the host."""
    return digest_with(lambda command: subprocess.run(command, check=True, capture_output=True).stdout, str(tree))


def digest_with(execute: Callable[[list[str]], bytes], tree: str) -> str:
    """The digest of a tree, where `execute` runs a command and gives its output."""
    return execute(["sh", "-c", DIGEST, "sh", tree]).decode().split()[0]


def same(found: str, expected: State, after: str) -> None:
    """Hold a digest against what it should be. Raises WrongContent."""
    if found != expected.digest:
        raise WrongContent(
            f"After {after} the content is not what it should be: {found[:12]}, not {expected.digest[:12]}.",
            "No figures are given. Run it again with SANDBOX_DEBUG=1; if it stays so, report it.",
        )


def named(found: frozenset[str], expected: State, by: str, *, exactly: bool) -> None:
    """Hold the files that a difference names against those that differ. Raises WrongContent."""
    missing, more = expected.paths - found, found - expected.paths
    if missing or (exactly and more):
        raise WrongContent(
            f"The {by} misses {len(missing)} files that differ, and names {len(more)} others.",
            "No figures are given. Run it again with SANDBOX_DEBUG=1; if it stays so, report it.",
        )
