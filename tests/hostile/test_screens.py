"""Every command that shows what an agent wrote, on a real terminal: no character of it is obeyed, none is hidden."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from typing import Any

import pytest

from sandbox.terminal import is_plain
from tests.flows.house import House

pytestmark = [pytest.mark.timeout(240), pytest.mark.one_engine]

NASTY = "\x1b[2J\x1b]52;c;aGk=\x07\x9b31m\x08\r\u202ereversed\u2066\u200bhidden\U000e0041\u2028end"
SCRIPT = f"""
import os, sys
nasty = {NASTY!r}
open("named-" + nasty, "w").write("content " + nasty + "\\n")
open("app.py", "a").write("# " + nasty + "\\n")
os.symlink("target-" + nasty, "link")
os.remove("data/rows.txt")
os.mkdir("directory-" + nasty)
sys.stdout.write("out " + nasty + "\\n")
sys.stderr.write("err " + nasty + "\\n")
"""
STYLES = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh])|\r?(?:\x1b\[1A\x1b\[2K)+|\r(?:\x1b\[2K|\n)")
"""What the product itself writes to a terminal: colours, the cursor hidden and shown, its own status line redrawn."""


def on_a_terminal(house: House, *arguments: str) -> str:
    """What a terminal receives of one command: standard output and error, through a pty."""
    ours, theirs = pty.openpty()
    received: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # how Linux says that the last one has closed the other end
                return
            received.append(data)

    reader = threading.Thread(target=read)
    options = ["--home", str(house.home), "--config", str(house.config), "--engine", house.engine]
    env = {**os.environ, "SANDBOX_IDENTITY": f"dave-{NASTY}", "TERM": "xterm-256color", "COLUMNS": "80"}
    command = [sys.executable, "-P", "-m", "sandbox", *options, *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True):
        os.close(theirs)
        reader.start()
    reader.join()
    os.close(ours)
    return b"".join(received).decode("utf-8", "surrogateescape")


def raw(shown: str) -> list[str]:
    """The characters of it that a terminal would obey or leave out."""
    return sorted({character for character in STYLES.sub("", shown) if character != "\n" and not is_plain(character)})


def command_lines(house: House, change: dict[str, Any], box: str) -> dict[str, list[str]]:
    signing = ["--as", "alice", "--key", str(house.key("alice"))]
    return {
        "run": ["run", "nasty"],
        "exec": ["exec", box, "--", "python3", "-c", SCRIPT],
        "a command named so": ["exec", box, "--", "sh", "-c", f": {NASTY}"],
        "snapshot": ["snapshot", box, "--label", NASTY],
        "snapshots": ["snapshots", box],
        "diff": ["diff", box],
        "list": ["list"],
        "show": ["show", box],
        "logs": ["logs", box],
        "changes": ["changes"],
        "review": ["review", change["id"]],
        "review in full": ["review", change["id"], "--full"],
        "reject": ["reject", change["id"], *signing, "--reason", f"no {NASTY}"],
        "review of a rejected change": ["review", change["id"]],
        "promote": ["promote", change["id"]],
        "promotions": ["promotions"],
        "audit log": ["audit", "log"],
        "audit verify": ["audit", "verify"],
        "nothing of that name": ["show", NASTY],
        "no such option": [f"--{NASTY}"],
        "no such target": ["run", "--target", NASTY, "--", "true"],
        "destroy": ["destroy", box],
    }


def test_t12_t13_nothing_raw_reaches_a_terminal_from_any_command(house: House) -> None:
    task = {"targets": ["app"], "image": house.image, "asked": f"asked {NASTY}", "command": ["python3", "-c", SCRIPT]}
    house.write("tasks", "nasty", task)
    change = house("run", "nasty", "--json").expect(0).json["change"]
    box = house("create", "--json", "--target", "app", "--image", house.image).expect(0).json["sandbox"]
    shown = {name: on_a_terminal(house, *line) for name, line in command_lines(house, change, box).items()}
    assert {name: raw(text) for name, text in shown.items() if raw(text)} == {}
    told = [name for name, text in shown.items() if "\\u{202e}" in text]
    assert {"run", "exec", "diff", "logs", "review", "review in full"} <= set(told), "escaped"
    assert [name for name, text in shown.items() if "Traceback" in text] == []
