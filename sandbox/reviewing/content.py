"""What is suspicious in a file's new content: hidden text, secrets, blobs, what can't be read by a person.

Owns the patterns. Must not quote what it finds: a secret stays out of every record and log (G6). Looks only
at lines that the old content did not have, so that what was there before is not reported again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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


class _Sign(NamedTuple):
    """Something suspicious, and how it is found."""

    kind: str
    says: str
    pattern: re.Pattern[str]
    words: tuple[str, ...] = ()
    """In lower case, one of these is in whatever the pattern finds, and quicker to look for; none: not known."""
    beyond_ascii: bool = False
    """It finds nothing in a text of ASCII alone."""

    def may_be_in(self, text: str) -> bool:
        """Quickly, of many lines together: no pattern here looks beyond the line that it finds something in."""
        if text.isascii():
            if self.beyond_ascii:
                return False
            if self.words:
                lower = text.lower()
                if not any(word in lower for word in self.words):
                    return False
        return self.pattern.search(text) is not None


def _secret(what: str, pattern: str, *words: str) -> _Sign:
    return _Sign("secret", f"looks like it holds {what} (not shown)", re.compile(pattern), words)


_PRIVATE_KEY = _secret("a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY")
_SIGNS: tuple[_Sign, ...] = (
    _Sign("bidi", "changes the direction of text, so that it reads differently than it runs", _BIDI, (), True),
    _Sign("invisible", "has characters that leave no mark", _INVISIBLE, (), True),
    _Sign("control", "has control characters, which a terminal may obey", _CONTROL),
    _Sign("confusable", "mixes Latin with look-alike letters within one word", _MIXED_WORD, (), True),
    _Sign("encoded_blob", "has a long encoded blob", _BLOB),
    _PRIVATE_KEY,
    _secret(
        "a cloud access key",
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}\b",
        *("akia", "asia", "aiza"),
    ),
    _secret(
        "an access token",
        r"\bgh[pousr]_[0-9A-Za-z]{36}|\bgithub_pat_[0-9A-Za-z_]{50}|\bglpat-[0-9A-Za-z_-]{20}|\bxox[abprs]-[0-9A-Za-z-]{10}"
        r"|\bsk-(?:ant-|proj-)?[0-9A-Za-z_-]{32}|\bnpm_[0-9A-Za-z]{36}|\beyJ[0-9A-Za-z_-]{10,200}\.eyJ[0-9A-Za-z_-]{10}",
        *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "sk-", "npm_", "eyj"),
    ),
    _secret(
        "a password",
        r"(?i)(?:passw(?:or)?d|secret|api_?key|token)[\"']?\s*[:=]\s*[\"'][^\"'\s${}<>]{8,}[\"']"
        r"|[a-z][a-z0-9+.-]{1,20}://[^/\s:@\"']{1,64}:[^/\s:@\"'${}<>]{3,}@",
        *("passw", "secret", "apikey", "api_key", "token", "://"),
    ),
)

_OF_TESTS = re.compile(
    r"\b_?pytest\b|\bunittest\b|\bPYTEST_|junit|\bos\._exit\b|\bsys\.exit\b|\bSystemExit\b|\batexit\b|\bsys\.(?:modules|argv|settrace)\b"
    r"|process\.exit\b|\bjest\b|\bmocha\b|\bos\.Exit\b|\bstd::process::exit\b"
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
        if _PRIVATE_KEY.pattern.search(new.decode("latin-1")):
            yield _PRIVATE_KEY.kind, _PRIVATE_KEY.says
        return
    lines = list(_new_lines(old, new))
    text = "\n".join(line for _, line in lines)
    for sign in _SIGNS:
        hits = [number for number, line in lines if sign.pattern.search(line)] if sign.may_be_in(text) else ()
        if hits:
            yield sign.kind, f"{sign.says}: {_lines_named(hits)}"
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


def _lines_named(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"line {shown}{more}" if len(numbers) == 1 else f"lines {shown}{more}"
