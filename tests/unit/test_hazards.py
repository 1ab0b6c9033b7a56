"""Reviewers are told of everything that a difference can hide in, and of all that vanishes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.records import Hazard
from sandbox.reviewing import hazards
from sandbox.reviewing.content import SCAN_BYTES, suspicions
from tests.unit.trees_by_hand import State, Tree, changes, entry


def found(before: State, after: State) -> list[Hazard]:
    old, new = Tree(before), Tree(after)
    return hazards.find(old, changes(old, new), new)


def kinds(before: State, after: State) -> set[tuple[str, str]]:
    return {(hazard.kind, hazard.path) for hazard in found(before, after)}


def test_a_plain_edit_has_no_hazard() -> None:
    assert found({"app.py": b"x = 1\n"}, {"app.py": b"x = 2\n"}) == []


SURFACE = [
    ".github/workflows/ci.yml",
    "sub/.GitHub/Workflows/x.yaml",
    ".git/hooks/post-checkout",
    ".gitattributes",
    ".gitmodules",
    "CLAUDE.md",
    "AGENTS.md",
    ".cursor/rules/a.mdc",
    ".vscode/tasks.json",
    "CODEOWNERS",
    "docs/CODEOWNERS",
    "Dockerfile",
    "svc/Dockerfile.prod",
    "compose.yaml",
    "main.tf",
    "Makefile",
    "package.json",
    "package-lock.json",
    "requirements-dev.txt",
    "go.sum",
    "deploy/app.service",
    "etc/cron.d/backup",
    "etc/sudoers.d/x",
    ".ssh/authorized_keys",
    ".bashrc",
    "db/migrations/0001.sql",
    "conftest.py",
]


@pytest.mark.parametrize("path", SURFACE)
def test_t20_paths_that_run_somewhere_are_named(path: str) -> None:
    assert ("executable_surface", path) in kinds({}, {path: b"x\n"})
    assert ("executable_surface", path) in kinds({path: b"x\n"}, {})


@pytest.mark.parametrize("path", ["app.py", "README.md", "src/service.py", "githubs/x.yml", "docs/makefiles.md"])
def test_t20_ordinary_paths_are_not(path: str) -> None:
    assert ("executable_surface", path) not in kinds({}, {path: b"x\n"})


def test_t10_changes_to_tests_are_named() -> None:
    assert ("test_changed", "tests/test_a.py") in kinds({"tests/test_a.py": b"assert f() == 1\n"}, {})
    assert ("test_changed", "web/a.spec.ts") in kinds({}, {"web/a.spec.ts": b"\n"})


HIDDEN_TEXT = {
    "bidi": "if admin:\u202e pass\n",
    "invisible": "pass\u200bword\n",
    "control": "ok\x1b[1A\x1b[2K\n",
    "confusable": "\u0430dmin = 1\n",
    "encoded_blob": "x = '" + "QUJD" * 200 + "'\n",
    "long_line": "x " * 600 + "\n",
}


@pytest.mark.parametrize(("kind", "text"), HIDDEN_TEXT.items())
def test_t13_hidden_text_in_a_content_is_named_with_its_line(kind: str, text: str) -> None:
    hits = [h for h in found({"a": b"plain\n"}, {"a": b"plain\n" + text.encode()}) if h.kind == kind]
    assert len(hits) == 1
    assert "line 2" in hits[0].says


@pytest.mark.parametrize("text", HIDDEN_TEXT.values())
def test_what_was_there_before_is_not_reported_again(text: str) -> None:
    assert found({"a": text.encode() + b"x = 1\n"}, {"a": text.encode() + b"x = 2\n"}) == []


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x1b[2K", "\u202egnp.py", "a\u200b.py", "caf\udce9", "\U000e0041", "a ", "b."]
)
def test_t12_t13_hidden_characters_in_a_name_are_named(name: str) -> None:
    assert any(h.kind == "hidden_name" for h in found({}, {name: b"x\n"}))


@pytest.mark.parametrize("twin", ["\u0440\u0430y.py", "pay\u200b.py", "\uff50ay.py", "pay.py "])
def test_t13_a_name_that_looks_like_another_is_named(twin: str) -> None:
    hits = [h for h in found({"src/pay.py": b"1\n"}, {"src/pay.py": b"1\n", f"src/{twin}": b"2\n"}) if h.kind == "twin"]
    assert [h.says for h in hits] == ["its name looks like the one of src/pay.py"]


def test_t13_the_same_name_composed_and_decomposed_is_a_twin() -> None:
    assert ("twin", "cafe\u0301") in kinds({"caf\u00e9": b"1\n"}, {"caf\u00e9": b"1\n", "cafe\u0301": b"2\n"})


def test_a_name_like_one_in_another_directory_or_a_deleted_one_is_no_twin() -> None:
    assert not {k for k, _ in kinds({"a/pay.py": b"1\n"}, {"a/pay.py": b"1\n", "b/p\u0430y.py": b"2\n"})} & {"twin"}
    assert not {k for k, _ in kinds({"pay.py": b"1\n"}, {"p\u0430y.py": b"1\n"})} & {"twin"}


@pytest.mark.parametrize("data", [b"\x7fELF\x00\x01", b"\xff\xfe\x00", b"caf\xe9"])
def test_d7_what_can_not_be_read_is_named(data: bytes) -> None:
    assert ("binary", "a") in kinds({}, {"a": data})


def test_a_text_cut_within_a_character_is_still_text() -> None:
    assert list(suspicions(b"", ("x\n" * (SCAN_BYTES // 2 - 1) + "x").encode() + "é".encode()[:1])) == []


SECRETS = [
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "AKIA" + "ABCDEFGH12345678",
    *("ASIA" + "ABCDEFGH12345678", "AIza" + "b" * 35),
    *(f"gh{letter}_" + "a" * 36 for letter in "pousr"),
    *("github_pat_" + "a" * 50, "glpat-" + "b" * 20, "xoxb-" + "1" * 10, "sk-" + "c" * 32, "npm_" + "d" * 36),
    "eyJ" + "a" * 10 + ".eyJ" + "b" * 10,
    "password = 'correct-horse-battery'",
    "PASSWD: 'correct-horse-battery'",
    *("Secret='correct-horse'", "api_key='correct-horse'", "ApiKey='correct-horse'", "TOKEN='correct-horse'"),
    "µs password = 'correct-horse-battery'",
    "postgres://app:hunter2@db/prod",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_t29_g6_secrets_are_named_and_never_quoted(secret: str) -> None:
    hits = found({}, {"a.txt": f"x\n{secret}\n".encode()})
    assert [h.kind for h in hits] == ["secret"]
    assert "line 2" in hits[0].says
    assert not any(word in hits[0].says for word in secret.split("'") if len(word) > 8)


def test_d5_t16_contents_that_vanish_are_counted_whatever_the_names_say() -> None:
    before: State = {f"logs/{n}.txt": f"entry {n}\n".encode() for n in range(40)}
    hits = found(before, {"logs/all.txt": b"entry 7\n"})
    assert hits[0].kind == "lost_content"
    assert hits[0].says.startswith("39 content objects vanish")


def test_d5_a_pure_rename_or_a_copy_left_elsewhere_loses_nothing() -> None:
    assert "lost_content" not in {k for k, _ in kinds({"a": b"1\n"}, {"b": b"1\n"})}
    assert "lost_content" not in {k for k, _ in kinds({"a": b"1\n", "keep": b"1\n"}, {"keep": b"1\n"})}


def test_d5_a_copy_that_is_overwritten_in_the_same_change_does_not_count() -> None:
    assert ("lost_content", ".") in kinds({"a": b"1\n", "b": b"1\n"}, {"b": b"2\n"})


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([b"1", b"2", b"3"])),
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([b"1", b"2", b"3"])),
)
def test_d5_every_base_content_is_kept_rewritten_in_place_or_listed_as_lost(before: State, after: State) -> None:
    old, new = Tree(before), Tree(after)
    lost = {c.path.decode() for c in hazards.lost_contents(old.entries(), changes(old, new))}
    assert lost == {path for path in before.keys() - after.keys() if before[path] not in after.values()}


def test_t17_t18_kinds_links_modes_and_owners_are_named() -> None:
    link = entry("a", b"b", kind="link", mode=0o777)
    assert {("kind_changed", "a"), ("symlink", "a")} <= kinds({"a": b"x"}, {"a": link})
    assert ("executable_bit", "a") in kinds({"a": b"x"}, {"a": entry("a", b"x", mode=0o755)})
    assert ("mode_widened", "a") in kinds({"a": entry("a", b"x", mode=0o600)}, {"a": entry("a", b"x", mode=0o640)})
    assert ("mode_widened", "d") in kinds({}, {"d": entry("d", kind="dir", mode=0o777)})
    assert ("mode_widened", "d") not in kinds({}, {"d": entry("d", kind="dir", mode=0o1777)})
    assert ("mode_widened", "a") not in kinds({"a": entry("a", b"x", mode=0o644)}, {"a": entry("a", b"x", mode=0o600)})
    assert ("owner_changed", "a") in kinds({"a": b"x"}, {"a": entry("a", b"x", owner=1000)})


def test_a_file_that_is_emptied_is_named() -> None:
    assert ("emptied", "ledger.csv") in kinds({"ledger.csv": b"1,2\n"}, {"ledger.csv": b""})


@settings(max_examples=25)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_t12_any_content_can_be_judged(before: bytes, after: bytes) -> None:
    for kind, says in suspicions(before, after):
        assert kind.isidentifier()
        assert says.isascii()


@pytest.mark.parametrize("piece", ["a" * 399 + " ", "-eyJ" + "a" * 8, "\\xaa", "secret='", "a" * 21 + "://", "QUJD"])
def test_t28_no_content_makes_the_look_at_it_slow(piece: str) -> None:
    data = (piece * (SCAN_BYTES // len(piece))).encode()
    start = time.process_time()
    list(suspicions(b"", data))
    assert time.process_time() - start < 20
