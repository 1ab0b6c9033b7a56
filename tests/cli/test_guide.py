"""Every command and option that the guide shows is one that the command line has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.cli import app

GUIDE = (Path(__file__).resolve().parents[2] / "docs/guide.md").read_text()


def commands() -> Iterator[list[str]]:
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            text = " ".join(word if word != "|" else ";" for word in words)
            for part in re.split(r"\s*;\s+", text) if "'" not in line else [text]:
                if "sandbox " in part:
                    yield part[part.index("sandbox ") :].split()[1:]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_guide_shows_only_what_there_is(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    head = words[: words.index("--")] if "--" in words else words
    while head[0].startswith("--"):
        head = head[2:]
    verb = head[:2] if head[0] in ("target", "policy", "image", "audit") else head[:1]
    assert app.run([*verb, "--help"]) == 0
    shown = capsys.readouterr().out
    for option in (word for word in head if word.startswith("--")):
        assert f"{option} " in shown, f"`sandbox {' '.join(verb)}` has no {option}"


def test_the_guide_shows_every_verb() -> None:
    shown = {words[0] for words in commands()}
    assert shown >= {name for name, _, _ in app._VERBS} - {"recover", "prune", "bench"}
