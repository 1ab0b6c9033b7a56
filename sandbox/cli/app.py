"""Puts the verbs together, reads the global options, and turns every ending into an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from sandbox import __version__
from sandbox.cli import audit, benchmark, changes, drills, house, promotions, running, sandboxes, snapshots
from sandbox.cli.failures import DONE, exits, report
from sandbox.cli.session import Session, quiet_stdout
from sandbox.errors import InputError

# typer has its own click within, or stands on the real one, by its version: the error is what both have in common.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

_PASSED_ON = "Exit codes: the command's own; 2 bad input, 5 the engine is unavailable, 130 interrupted."

_VERBS: tuple[tuple[str, Callable[..., Any], str], ...] = (
    ("run", running.run, exits(2, 3, 4, 5, 6)),
    ("create", sandboxes.create, exits(2, 3, 5)),
    ("exec", running.execute, _PASSED_ON),
    ("shell", running.shell, _PASSED_ON),
    ("list", sandboxes.list_all, exits(2)),
    ("show", sandboxes.show, exits(2, 6)),
    ("logs", running.logs, exits(2)),
    ("destroy", sandboxes.destroy, exits(2, 5)),
    ("snapshot", snapshots.snapshot, exits(2, 5)),
    ("snapshots", snapshots.list_all, exits(2)),
    ("rollback", snapshots.rollback, exits(2, 5)),
    ("fork", snapshots.fork, exits(2, 3, 5)),
    ("diff", sandboxes.diff, exits(2, 5)),
    ("propose", running.propose, exits(2, 3, 4, 5, 6)),
    ("changes", changes.list_all, exits(2)),
    ("review", changes.review, exits(2, 6)),
    ("approve", changes.approve, exits(2, 3, 6)),
    ("reject", changes.reject, exits(2, 3, 6)),
    ("promote", promotions.promote, exits(2, 3, 6, 7, 8)),
    ("restore", promotions.restore, exits(2, 3, 6, 8)),
    ("promotions", promotions.list_all, exits(2)),
    ("recover", house.recover, exits(2, 5, 8)),
    ("prune", house.prune, exits(2, 5)),
    ("doctor", house.doctor, exits(2, 5)),
    ("drill", drills.drill, exits(2, 5)),
    ("bench", benchmark.bench, exits(2, 5)),
)
_GROUPS: tuple[tuple[str, str, tuple[tuple[str, Callable[..., Any], str], ...]], ...] = (
    (
        "target",
        "The real systems that can be worked on.",
        (("list", house.target_list, exits(2)), ("check", house.target_check, exits(2))),
    ),
    (
        "policy",
        "Who may sign what.",
        (("check", house.policy_check, exits(2)), ("propose", house.policy_propose, exits(2, 3))),
    ),
    (
        "audit",
        "The record of every step.",
        (
            ("log", audit.log, exits(2)),
            ("verify", audit.verify, exits(2, 6, _6="the log is not what was signed")),
        ),
    ),
    (
        "image",
        "What sandboxes are made from.",
        (("list", house.image_list, exits(2, 5)), ("build", house.image_build, exits(2, 5))),
    ),
)


class EngineOption(StrEnum):
    """The words of --engine."""

    DOCKER = "docker"
    NATIVE = "native"
    AUTO = "auto"


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; the exit code. Never raises."""
    head, command = _split(list(arguments))
    as_json = "--json" in head
    try:
        return _dispatch(head or ["--help"], command)
    except _UsageError as error:
        return report(_usage(error), as_json=as_json)
    except BrokenPipeError:
        quiet_stdout()
        return DONE
    except typer.Abort:
        return report(KeyboardInterrupt(), as_json=as_json)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where every error ends
        return report(error, as_json=as_json)


def _split(arguments: list[str]) -> tuple[list[str], tuple[str, ...] | None]:
    """Our own words, and the command after the first `--`, which is nobody's to parse."""
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], tuple(arguments[at + 1 :])


def _dispatch(head: list[str], command: tuple[str, ...] | None) -> int:
    verbs = typer.main.get_command(_app(command, _called(head)))
    # Not `verbs.main`, which has rules of its own for interrupts and closed pipes.
    try:
        with verbs.make_context("sandbox", head) as context:
            result = verbs.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    return result if isinstance(result, int) else DONE


def _called(head: list[str]) -> frozenset[str]:
    """The verbs and groups that may be meant: those that are named, or all of them.

    Making all of them ready takes longer than `list` itself. Which word is the verb is the parser's to say, and
    for help and for a word that is no verb it needs to know them all.
    """
    everything = frozenset({name for name, *_ in (*_VERBS, *_GROUPS)})
    named = everything.intersection(head)
    return everything if not named or {"--help", "-h"}.intersection(head) else named


def _app(command: tuple[str, ...] | None, called: frozenset[str]) -> typer.Typer:
    settings: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
    plain: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "context_settings": settings}
    app = typer.Typer(**plain)

    @app.callback(epilog="`sandbox COMMAND --help` has the options and exit codes of a command.")
    def _globals(
        ctx: typer.Context,
        home: Annotated[
            str | None, typer.Option(metavar="DIR", help="Where the manager keeps its things. Also SANDBOX_HOME.")
        ] = None,
        config: Annotated[
            str | None,
            typer.Option(metavar="DIR", help="Targets, tasks, policies. Also SANDBOX_CONFIG. Default: configs."),
        ] = None,
        engine: Annotated[EngineOption, typer.Option(help="Where sandboxes run.")] = EngineOption.AUTO,
        identity: Annotated[
            str | None, typer.Option("--as", metavar="NAME", help="Who launches. Also SANDBOX_IDENTITY.")
        ] = None,
        _version: Annotated[
            bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version.")
        ] = False,
    ) -> None:
        """Let AI agents work on copies of real systems; promote only what was verified and signed off.

        Global options come before the command, --json and its other options after it.
        """
        ctx.obj = Session(home, config, engine.value, identity, command)

    for name, verb, codes in _VERBS:
        if name in called:
            app.command(name, epilog=codes)(verb)
    for name, says, verbs in _GROUPS:
        if name not in called:
            continue
        group = typer.Typer(help=says, **plain)
        for verb_name, verb, codes in verbs:
            group.command(verb_name, epilog=codes)(verb)
        app.add_typer(group, name=name)
    return app


def _say_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"sandbox {__version__}\n")
        raise typer.Exit


def _usage(error: Exception) -> InputError:
    """What the parser did not understand, as one of ours."""
    message = str(getattr(error, "format_message", error.__str__)()).strip()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "sandbox"
    message = message.replace("Value error, ", "")
    says = message[:1].upper() + message[1:].rstrip(".") + "."
    if path == "sandbox" and getattr(error, "option_name", None) == "--json":
        return InputError(says, "--json comes after the command, as in `sandbox list --json`.")
    return InputError(says, f"`{path} --help` shows what it takes.")
