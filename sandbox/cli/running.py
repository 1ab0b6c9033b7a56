"""Verbs that run something: run, propose, exec, shell, logs."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sandbox.cli.failures import DONE, FAILED, INTERRUPTED
from sandbox.cli.options import Checks, Environment, Image, Json, Online, SandboxId, SignedBy, Targets
from sandbox.cli.session import begin
from sandbox.cli.tables import counts
from sandbox.errors import InputError

if TYPE_CHECKING:
    from sandbox.records import RunRecord
    from sandbox.spec import Check, TaskSpec

_STATUS_CODES = {"proposed": DONE, "empty": DONE, "rolled_back": FAILED, "interrupted": INTERRUPTED}


def run(
    ctx: typer.Context,
    task: Annotated[
        str | None, typer.Argument(metavar="TASK | --target T -- CMD...", help="A task of the configuration.")
    ] = None,
    target: Targets = [],  # noqa: B006 - typer makes a new list for each call
    image: Image = None,
    check: Checks = [],  # noqa: B006
    attempts: Annotated[int | None, typer.Option(metavar="N", help="How often it may be tried. Default: 1.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="S", help="Seconds before it is killed.")] = None,
    max_deleted: Annotated[
        int | None, typer.Option(metavar="N", help="Tripwire: more base entries deleted than this stops the agent.")
    ] = None,
    network: Online = "none",
    env: Environment = [],  # noqa: B006
    asked: Annotated[str, typer.Option(metavar="TEXT", help="What is asked, in words, for reviewers.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the sandbox there afterwards, to look at it.")] = False,
    key: SignedBy = None,
    json: Json = False,
) -> int:
    """Do a task in a sandbox, propose what it changed.

    If it fails, it is rolled back. Targets are captured, the command works on copies, and the net difference is
    verified in a clean room. Whatever happens, the real targets are untouched: only `promote` changes them.
    """
    session = begin(ctx, json, takes_command=True)
    if task is not None:
        given = [target, image, check, attempts, timeout, max_deleted, env, asked, session.command]
        if any(given) or network != "none":
            raise InputError(
                f"The task {task!r} already says what to do, so it takes no options of its own.",
                "Change its file, or leave the task away and give --target and a command after `--`.",
            )
        wanted: str | TaskSpec = task
    else:
        command = session.needed_command("sandbox run --target T -- CMD")
        if not target:
            raise InputError("There is no task and no target.", "Name a task, or a target with --target.")
        optional = {"attempts": attempts, "image": image, "max_deleted": max_deleted}
        given_here = {name: value for name, value in optional.items() if value is not None}
        wanted = _task(
            target, command, check, timeout, {"network": network, "env": variables(env), "asked": asked}, given_here
        )
    from sandbox.cli.live import live

    with session.manager() as manager, live() as view:
        record = manager.run(wanted, on_event=view, keep=keep, key=key)
    session.answer(record.document(), _told(record, kept=keep))
    return _STATUS_CODES.get(record.status, FAILED)


def _task(
    targets: list[str],
    command: tuple[str, ...],
    checks: list[str],
    timeout: float | None,
    always: dict[str, Any],
    given: dict[str, Any],
) -> TaskSpec:
    from sandbox.spec import Limits, TaskSpec

    limits = Limits() if timeout is None else Limits(timeout_s=timeout)
    return TaskSpec(
        name="by-hand",
        targets=tuple(targets),
        command=command,
        checks=shell_checks(checks),
        limits=limits,
        **always,
        **given,
    )


def shell_checks(lines: list[str]) -> tuple[Check, ...]:
    """Shell lines as checks."""
    from sandbox.spec import Check

    return tuple(Check(run=("sh", "-c", line)) for line in lines)


def variables(given: list[str]) -> dict[str, str]:
    """`K=V` words as an environment. Raises InputError."""
    found = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise InputError(f"--env takes NAME=VALUE, and {word!r} is not.", "As in `--env PORT=8080`.")
        found[name] = value
    return found


def propose(
    ctx: typer.Context,
    sandbox: SandboxId,
    check: Checks = [],  # noqa: B006
    key: SignedBy = None,
    json: Json = False,
) -> int:
    """Make a change of what differs in a sandbox.

    The difference is sealed and verified in a clean room; then people can sign it.
    """
    session = begin(ctx, json)
    from sandbox.cli.live import live

    with session.manager() as manager, live() as view:
        record = manager.propose(sandbox, shell_checks(check), on_event=view, key=key)
    session.answer(record.document(), _told(record, kept=True))
    return _STATUS_CODES.get(record.status, FAILED)


def _told(record: RunRecord, *, kept: bool) -> Iterator[str]:
    change = record.change
    if change is not None:
        yield f"Proposed {change.id} (digest {change.digest[:12]}): {counts(change.targets)}."
        yield f"Next: `sandbox review {change.id}`."
    elif record.status == "empty":
        yield "Nothing differs from the base, so nothing is proposed."
    elif record.failure is not None:
        yield f"Failed: {record.failure.step}: {record.failure.reason}."
        tries = f" after {record.attempts} attempts" if record.attempts > 1 else ""
        yield f"Rolled back{tries}; nothing is proposed, and the real targets are untouched."
        yield f"Next: `sandbox logs {record.run}`."
    else:
        yield f"The run {record.run} is {record.status}."
    if kept:
        yield f"The sandbox {record.sandbox} is still there: `sandbox destroy {record.sandbox}` ends it."


def execute(
    ctx: typer.Context,
    sandbox: SandboxId,
    cwd: Annotated[str | None, typer.Option(metavar="DIR", help="Default: where the targets are.")] = None,
    env: Environment = [],  # noqa: B006
    user: Annotated[str | None, typer.Option(metavar="NAME", help="A name or UID[:GID]. Default: root.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="S", help="Seconds before all of it is killed.")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Pass this command's input on, read to its end.")] = False,
    key: SignedBy = None,
    json: Json = False,
) -> int:
    """Run a command: `sandbox exec ID -- CMD...`.

    Its exit code becomes this command's. Its two streams come as they are into pipes and files; on a terminal,
    control characters are shown escaped.
    """
    session = begin(ctx, json, takes_command=True)
    command = session.needed_command(f"sandbox exec {sandbox} -- ls -la")
    content = sys.stdin.buffer.read() if stdin else None
    from sandbox.cli.streams import Both

    with session.manager() as manager:
        record = manager.exec(
            sandbox,
            command,
            cwd=cwd,
            env=variables(env),
            user=user,
            stdin=content,
            timeout_s=timeout,
            on_output=None if json else Both(),
            key=key,
        )
    if json:
        session.answer(record.document(), ())
    elif record.timed_out:
        sys.stderr.write(f"sandbox: killed after {record.seconds:.1f} s: the timeout passed\n")
    elif record.limit:
        sys.stderr.write(f"sandbox: it met its limit of {record.limit}\n")
    return record.exit_code


def shell(ctx: typer.Context, sandbox: SandboxId, key: SignedBy = None, json: Json = False) -> int:
    """Open a shell in a sandbox, on this terminal.

    `-- CMD...` runs another program instead. Its exit code becomes this command's.
    """
    session = begin(ctx, json, takes_command=True)
    if json:
        raise InputError("A shell has no answer to print as JSON.", "`sandbox exec ID --json -- CMD` has one.")
    with session.manager() as manager:
        return manager.shell(sandbox, session.command or ("sh",), key=key)


def logs(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="A sandbox or a run.")],
    json: Json = False,
) -> None:
    """Show what a sandbox or a run printed.

    Control characters are shown escaped.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        data = manager.logs(name)
    try:
        shown = {"output": data.decode("utf-8")}
    except UnicodeDecodeError:
        shown = {"output_base64": base64.b64encode(data).decode("ascii")}
    text = data.removesuffix(b"\n").replace(b"\r\n", b"\n").decode("utf-8", "surrogateescape")
    session.answer({"schema": 1, "id": name, **shown}, text.split("\n") if data else ())
