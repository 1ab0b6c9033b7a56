"""What is suspicious in a file's new content: hidden text, secrets, blobs, what can't be read by a person.

Owns the patterns. Must not quote what it finds: a secret stays out of every record and log (G6). Looks only
at lines that the old content did not have, so that what was there before is not reported again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SCAN_BYTES = 4 << 20
LONG_LINE = 1000

_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2028\u2029\u2060-\u2064\u206a-\u206f\u2800\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# All of Cyrillic, but of Greek only what fonts draw like Latin: "µs" and "Δt" are honest words.
_LOOKALIKE = (
    "\u0391\u0392\u0395-\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bd\u03bf\u03c1\u0400-\u052f"
)
_MIXED_WORD = re.compile(f"[A-Za-z][0-9_]*[{_LOOKALIKE}]|[{_LOOKALIKE}][0-9_]*[A-Za-z]")
_BLOB = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/=_-]{400,}|(?:\\x[0-9a-fA-F]{2}){100,}")

_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY")),
    ("a cloud access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}\b")),
    (
        "an access token",
        re.compile(
            r"\bgh[pousr]_[0-9A-Za-z]{36}|\bgithub_pat_[0-9A-Za-z_]{50}|\bglpat-[0-9A-Za-z_-]{20}|\bxox[abprs]-[0-9A-Za-z-]{10}"
            r"|\bsk-(?:ant-|proj-)?[0-9A-Za-z_-]{32}|\bnpm_[0-9A-Za-z]{36}|\beyJ[0-9A-Za-z_-]{10,200}\.eyJ[0-9A-Za-z_-]{10}"
        ),
    ),
    (
        "a password",
        re.compile(
            r"(?i)(?:passw(?:or)?d|secret|api_?key|token)[\"']?\s*[:=]\s*[\"'][^\"'\s${}<>]{8,}[\"']"
            r"|[a-z][a-z0-9+.-]{1,20}://[^/\s:@\"']{1,64}:[^/\s:@\"'${}<>]{3,}@"
        ),
    ),
)

_OF_TESTS = re.compile(
    r"\b_?pytest\b|\bunittest\b|\bPYTEST_|junit|\bos\._exit\b|\bsys\.exit\b|\bSystemExit\b|\batexit\b|\bsys\.(?:modules|argv|settrace)\b"
    r"|process\.exit\b|\bjest\b|\bmocha\b|\bos\.Exit\b|\bstd::process::exit\b"
)

_TEXT_PATTERNS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("bidi", "changes the direction of text, so that it reads differently than it runs", _BIDI),
    ("invisible", "has characters that leave no mark", _INVISIBLE),
    ("control", "has control characters, which a terminal may obey", _CONTROL),
    ("confusable", "mixes Latin with look-alike letters within one word", _MIXED_WORD),
    ("encoded_blob", "has a long encoded blob", _BLOB),
    *(("secret", f"looks like it holds {what} (not shown)", pattern) for what, pattern in _SECRETS),
)


def is_text(data: bytes) -> bool:
    """A person can read it: UTF-8 without NUL. The cut end of a longer text does not count against it."""
    if b"\0" in data:
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(data) >= SCAN_BYTES and error.start >= len(data) - 3
    return True


def suspicions(old: bytes, new: bytes) -> Iterator[tuple[str, str]]:
    """`(kind, words)` for all that is suspicious in `new` and was not in `old`; heads of files will do."""
    if not is_text(new):
        yield "binary", f"not text ({len(new)} bytes looked at): it can't be inspected by reading"
        for what, pattern in _SECRETS[:1]:
            if pattern.search(new.decode("latin-1")):
                yield "secret", f"looks like it holds {what} (not shown)"
        return
    lines = list(_new_lines(old, new))
    for kind, says, pattern in _TEXT_PATTERNS:
        hits = [number for number, line in lines if pattern.search(line)]
        if hits:
            yield kind, f"{says}: {_lines_named(hits)}"
    long = [number for number, line in lines if len(line) > LONG_LINE]
    if long:
        yield "long_line", f"more than {LONG_LINE} characters in one line, hard to review: {_lines_named(long)}"


def aware_of_tests(old: bytes, new: bytes) -> str | None:
    """Words for a program that new lines make end, or look at, the run that it is in; for code that is no test."""
    hits = [number for number, line in _new_lines(old, new) if _OF_TESTS.search(line)]
    return f"it may notice or end the test run that it is judged by: {_lines_named(hits)}" if hits else None


def _new_lines(old: bytes, new: bytes) -> Iterator[tuple[int, str]]:
    known = set(old.split(b"\n"))
    for number, line in enumerate(new.split(b"\n"), 1):
        if line not in known:
            text = line.decode("utf-8", "replace")
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _lines_named(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"line {shown}{more}" if len(numbers) == 1 else f"lines {shown}{more}"
