"""Makes untrusted text safe to print: what a terminal would obey or hide is shown as text instead.

Owns the rule of which characters are plain. Must not style anything and knows no terminal: the result is
the same for a screen, a file and the sealed review document. Plain text is never changed, so a backslash
stays a backslash; `hazards` names the paths and files in which something had to be escaped.
"""

from __future__ import annotations

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

# Printable by their Unicode category, but they leave no mark: fillers, joiners, variation selectors, blanks.
_INVISIBLE_RANGES = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0000, 0xE0FFF),
)
_INVISIBLE = frozenset(chr(code) for first, last in _INVISIBLE_RANGES for code in range(first, last + 1))


def is_plain(character: str) -> bool:
    """Shows as itself everywhere: no control, format, bidi, zero-width, private or unassigned character, no
    surrogate, no line or paragraph separator, and no space but the usual one."""
    # `isprintable` is false for the categories Cc, Cf, Cs, Co, Cn, Zl, Zp and for Zs other than the space.
    return character.isprintable() and character not in _INVISIBLE


def escape(text: str | bytes, keep: str = "") -> str:
    """`text` with everything that is not plain written out, as `\\xNN`, `\\u{NNNN}`, `\\n`, `\\r` or `\\t`.

    Bytes are read as UTF-8; those that are not come out as `\\xNN`, as do the surrogates that stand for such
    bytes in a str. Characters in `keep` pass as they are: `"\\n"` for text of several lines, nothing for names.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character in keep or is_plain(character) else _written_out(character) for character in text
    )


def _written_out(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:x}}}"
