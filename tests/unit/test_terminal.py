"""Nothing that a terminal obeys or hides survives `escape`, and plain text is never changed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.terminal import escape, is_plain

DANGEROUS_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

ATTACKS = {
    "cursor up and erase": ("\x1b[1A\x1b[2K", "\\x1b[1A\\x1b[2K"),
    "clipboard (OSC 52)": ("\x1b]52;c;YQ==\x07", "\\x1b]52;c;YQ==\\x07"),
    "carriage return overwrites": ("evil\rgood", "evil\\rgood"),
    "newline in a name": ("a\nb", "a\\nb"),
    "one-byte CSI (C1)": ("\x9b31m", "\\u{9b}31m"),
    "delete": ("\x7f", "\\x7f"),
    "bidi override": ("\u202egnp.exe", "\\u{202e}gnp.exe"),
    "bidi isolate": ("a\u2066b\u2069", "a\\u{2066}b\\u{2069}"),
    "zero width space": ("a\u200bb", "a\\u{200b}b"),
    "tag characters": ("\U000e0041", "\\u{e0041}"),
    "variation selector smuggling": ("a\U000e0101\ufe00", "a\\u{e0101}\\u{fe00}"),
    "hangul filler": ("\u3164", "\\u{3164}"),
    "no-break space": ("rm\u00a0x", "rm\\u{a0}x"),
    "line separator": ("\u2028", "\\u{2028}"),
    "lone surrogate": ("\ud800", "\\u{d800}"),
}


@pytest.mark.parametrize(("raw", "shown"), ATTACKS.values(), ids=ATTACKS.keys())
def test_t12_t13_known_attacks_are_written_out(raw: str, shown: str) -> None:
    assert escape(raw) == shown


@given(st.text(alphabet=st.characters()))
def test_t12_t13_nothing_dangerous_survives(text: str) -> None:
    shown = escape(text)
    assert not [c for c in shown if unicodedata.category(c) in DANGEROUS_CATEGORIES]
    assert all(is_plain(c) for c in shown)


def test_t13_no_character_of_a_dangerous_category_counts_as_plain() -> None:
    passed = [code for code in range(0x110000) if is_plain(chr(code))]
    assert not [code for code in passed if unicodedata.category(chr(code)) in DANGEROUS_CATEGORIES]
    assert [code for code in passed if unicodedata.category(chr(code)) == "Zs"] == [0x20]


@given(st.binary())
def test_t12_bytes_that_are_not_utf8_are_shown_and_nothing_raw_survives(data: bytes) -> None:
    shown = escape(data)
    shown.encode("utf-8")
    assert all(is_plain(c) for c in shown)


def test_invalid_bytes_show_as_hex() -> None:
    assert escape(b"caf\xe9/\xff") == "caf\\xe9/\\xff"
    assert escape("caf\udce9") == "caf\\xe9"


@pytest.mark.parametrize(
    "text",
    ["", "plain ASCII ~!@#$%^&*()\\x1b", "naïve café", "日本語のファイル名", "Привет, мир", "שלום", "🙂 emoji", "é"],
)
def test_plain_text_is_never_changed(text: str) -> None:
    assert escape(text) == text
    assert escape(text.encode()) == text


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_letters_digits_and_signs_are_never_changed_unless_invisible(text: str) -> None:
    assert "".join(c for c in text if is_plain(c)) == escape("".join(c for c in text if is_plain(c)))


def test_kept_characters_pass_and_others_do_not() -> None:
    assert escape("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"
