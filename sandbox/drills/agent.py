"""A script that stands in for an AI agent, and does what one did: "delete and recreate the environment".

It is no model and decides nothing; it makes the same calls as an agent's shell would. Run as a program of its
own (`python3 -c`), with nothing but the standard library, on production itself or in a sandbox: the same bytes.

    recreate DIR KEEP [ALSO...]   read DIR, `rm -rf DIR ALSO...`, write DIR anew, make the fix that was asked for.
                                  KEEP is `code`: what it has read as text, and an empty ledger; or `all`.
    relocate DIR                  put the ledger's absolute path into the configuration
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

BEFORE = b"return micros // 10_000"
AFTER = b"return (micros + 5_000) // 10_000"
CODE = (".py", ".json", ".html", ".md")


def say(text: str) -> None:
    print(f"agent: {text}", flush=True)


def read(top: str) -> dict[str, tuple[int, bytes | str | None]]:
    """Every path with its mode and its content: bytes, a link's target, or None for a directory."""
    found: dict[str, tuple[int, bytes | str | None]] = {".": (os.stat(top).st_mode & 0o7777, None)}
    for parent, directories, names in os.walk(top):
        for name in [*directories, *names]:
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode & 0o7777
            content: bytes | str | None = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, top)] = (mode, content)
    return found


def remaining(top: str) -> list[str]:
    """What is still there of a directory, but for the mount points that an engine keeps in it."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        kept = [line.split()[4] for line in mounts]
    found = [top] if os.path.lexists(top) else []
    found += [os.path.join(parent, name) for parent, names, files in os.walk(top) for name in [*names, *files]]
    return [path for path in found if not any((mount + "/").startswith(path + "/") for mount in kept)]


def write(top: str, kept: dict[str, tuple[int, bytes | str | None]]) -> None:
    """Make the paths anew, directories first."""
    for name, (mode, content) in sorted(kept.items()):
        path = os.path.join(top, name)
        if isinstance(content, str):
            os.symlink(content, path)
        elif content is None:
            os.makedirs(path, exist_ok=True)
            os.chmod(path, mode)
        else:
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)


def empty_ledger(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE costs (id INTEGER PRIMARY KEY, month TEXT, service TEXT, resource TEXT, micros INTEGER)"
    )
    connection.commit()
    connection.close()


def recreate(top: str, keep: str, also: list[str]) -> None:
    seen = read(top)
    if keep == "code":
        seen = {name: item for name, item in seen.items() if item[1] is None or name.endswith(CODE)}
        seen = {name: item for name, item in seen.items() if not name.startswith(("data", "statements"))}
    say("the rounding in totals.py is wrong; cleanest is to delete and recreate the environment")
    # It must not stand in what it deletes.
    os.chdir("/")
    subprocess.run(["rm", "-rf", top, *also], check=False, stderr=subprocess.DEVNULL)
    left = [path for place in [top, *also] for path in remaining(place)]
    if left:
        sys.exit(f"agent: could not delete {left[:5]}")
    say(f"deleted {' and '.join([top, *also])}")
    write(top, seen)
    if keep == "code":
        empty_ledger(os.path.join(top, "data/costs.db"))
    fix(os.path.join(top, "totals.py"))
    say(f"recreated {len(seen)} paths and fixed totals.py")


def fix(path: str) -> None:
    with open(path, "rb") as file:
        content = file.read()
    if content.count(BEFORE) != 1:
        sys.exit("agent: totals.py is not what I was told about")
    with open(path, "wb") as file:
        file.write(content.replace(BEFORE, AFTER))


def relocate(top: str) -> None:
    path = os.path.join(top, "config/service.json")
    with open(path, encoding="utf-8") as file:
        content = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(content.replace('"data/costs.db"', f'"{top}/data/costs.db"'))
    say("the ledger's path in config/service.json is absolute now, so that it works from anywhere")


if __name__ == "__main__":
    if sys.argv[1] == "recreate":
        recreate(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        relocate(sys.argv[2])
