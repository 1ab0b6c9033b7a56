"""What the command says when it can't do what was asked, and the exit code of that.

Owns the mapping from an exception to one sentence, a cure and a code. Must not hide a bug: what nobody
foresaw is said to be one, and its details are kept.
"""

from __future__ import annotations

import errno
import os
import sys

from sandbox.errors import SandboxError
from sandbox.terminal import escape

DONE, BUG, BAD_INPUT, REFUSED, FAILED, UNAVAILABLE, CONFLICT, RESTORED, FROZEN, INTERRUPTED = (*range(9), 130)

MEANINGS = {
    DONE: "done",
    BUG: "a bug here",
    BAD_INPUT: "bad input",
    REFUSED: "refused by policy",
    FAILED: "the command or a check failed; rolled back",
    UNAVAILABLE: "the engine is unavailable",
    CONFLICT: "conflict: stale, drifted or locked",
    RESTORED: "promoted, failed, restored",
    FROZEN: "frozen: a restore failed, a person is needed",
    INTERRUPTED: "interrupted",
}


def exits(*codes: int, **said: str) -> str:
    """The line of a command's help that lists its exit codes; `said` has other words, as `_6="…"`."""
    shown = (f"{code} {said.get(f'_{code}', MEANINGS[code])}" for code in sorted({*codes, DONE, BUG, INTERRUPTED}))
    return f"Exit codes: {', '.join(shown)}."


def report(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong, on stdout as JSON or on stderr as text; the exit code."""
    code, kind, says, hint = _explain(error)
    if os.environ.get("SANDBOX_DEBUG"):
        import traceback

        sys.stderr.write(escape("".join(traceback.format_exception(error)), keep="\n"))
    if as_json:
        from sandbox.cli.session import print_json

        print_json({"schema": 1, "error": {"kind": kind, "says": says, "hint": hint}})
    else:
        sys.stderr.write("\n".join(escape(line, keep="\n\t") for line in (f"sandbox: {says}", hint) if line) + "\n")
    return code


def _explain(error: BaseException) -> tuple[int, str, str, str]:
    """Exit code, kind, sentence and cure."""
    if isinstance(error, SandboxError) and type(error) is not SandboxError:
        return error.exit_code, error.kind, error.says, error.hint
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted", "Interrupted; what was under way has been undone.", ""
    if isinstance(error, OSError) and error.errno is not None:
        return BAD_INPUT, "system", *_system(error)
    if _is_validation(error):
        return BAD_INPUT, "bad_input", *_invalid(error)
    return BUG, "bug", f"This is a bug in sandbox ({type(error).__name__}: {error}).", _kept(error)


def _system(error: OSError) -> tuple[str, str]:
    where = f"{error.filename}: " if error.filename else ""
    says = f"{where}{error.strerror}."
    if error.errno in (errno.EACCES, errno.EPERM):
        return says, "Run it as a user who may do this, or choose another --home."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return says, "Make room there (`sandbox prune` may help), then run it again."
    return says, "Put that right, then run it again."


def _is_validation(error: BaseException) -> bool:
    # Without importing pydantic only to ask: if it was never imported, the error can't be its.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(error, pydantic.ValidationError)


def _invalid(error: BaseException) -> tuple[str, str]:
    details = error.errors(include_url=False)[0]  # type: ignore[attr-defined]
    where = ".".join(str(step) for step in details["loc"])
    message = details["msg"].removeprefix("Value error, ")
    return f"{where + ': ' if where else ''}{message}.", "`--help` says what each option takes."


def _kept(error: BaseException) -> str:
    """Where the details of a bug are, for the report about it."""
    import tempfile
    import traceback

    try:
        number, path = tempfile.mkstemp(prefix="sandbox-bug-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return "Set SANDBOX_DEBUG=1 to see the details."
    return f"Please report it with the details in {path}."
