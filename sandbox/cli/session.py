"""One call of the command: its global options, the open manager, and where its answer goes.

Owns the rule that stdout carries the answer alone. Everything printed here is escaped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from sandbox.errors import InputError
from sandbox.terminal import escape

if TYPE_CHECKING:
    from sandbox.manager import EngineChoice, Manager


@dataclass
class Session:
    home: str | None
    config: str | None
    engine: EngineChoice
    identity: str | None
    command: tuple[str, ...] | None
    """What followed `--`; None where there was no `--`."""
    json: bool = False

    @contextmanager
    def manager(self) -> Iterator[Manager]:
        """Open the manager, and tell of what it found half-done."""
        from sandbox.manager import Manager

        with Manager.open(self.home, self.config, self.engine, self.identity) as manager:
            for line in manager.recovered:
                tell(f"recovered: {line}")
            yield manager
        if manager.unexported:
            tell(f"not exported: {manager.unexported}")

    def answer(self, document: dict[str, Any], lines: Iterable[str]) -> None:
        """The command's answer: the document with --json, else the lines for a person."""
        if self.json:
            print_json(document)
        else:
            print_lines(lines)

    def needed_command(self, example: str) -> tuple[str, ...]:
        """What followed `--`. Raises InputError where nothing did."""
        if not self.command:
            raise InputError("There is no command to run.", f"Give one after `--`, as in `{example}`.")
        return self.command


def begin(ctx: typer.Context, as_json: bool, *, takes_command: bool = False) -> Session:
    """The session of a command that was called with `--json` or without."""
    session: Session = ctx.obj
    session.json = as_json
    if session.command is not None and not takes_command:
        raise InputError(f"`{ctx.command_path}` takes no command after `--`.", "Leave `--` and what follows it away.")
    return session


def print_json(document: dict[str, Any]) -> None:
    """One document, in ASCII, so that no terminal obeys what is in it."""
    sys.stdout.write(json.dumps(document, indent=2).replace("\x7f", "\\u007f") + "\n")
    sys.stdout.flush()


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(escape(line, keep="\t") + "\n")
    sys.stdout.flush()


def tell(line: str) -> None:
    """One line that is not the answer: progress, what was recovered."""
    sys.stderr.write(escape(line, keep="\t") + "\n")
    sys.stderr.flush()


def ask(prompt: str) -> str:
    """What a person types, asked on stderr. Raises InputError at the end of input."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise InputError("Nothing was typed, so nothing was signed.")
    return line.strip()


def quiet_stdout() -> None:
    """The reader of stdout is gone: what is left to write goes nowhere, and nothing complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
