"""The review says what a person needs, in a fixed order, the same bytes for everybody, and nothing raw."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.records import ChangeView, Decision, Evidence, Hazard, Rehearsal, TargetDelta, VoteView
from sandbox.reviewing import diffs, hazards
from sandbox.reviewing.review import review, sealed_document
from sandbox.reviewing.subject import Subject
from sandbox.spec import HealthCheck, TargetSpec
from sandbox.terminal import is_plain
from tests.unit.trees_by_hand import State, Tree, changes, entry

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPEC = TargetSpec(
    name="web",
    kind="directory",
    path="/srv/web",
    policy="production",
    health=(HealthCheck(run=("curl", "x")),),
    after_apply=(("systemctl", "reload", "web"),),
)


def subject_of(before: State, after: State, spec: TargetSpec = SPEC) -> Subject:
    old, new = Tree(before), Tree(after)
    all_changes = changes(old, new)
    ops = [one.op for one in all_changes]
    delta = TargetDelta(
        name=spec.name,
        kind="directory",
        identity="host 1234, inode 5678",
        base="b" * 64,
        predicted="c" * 64,
        added=ops.count("added"),
        modified=ops.count("modified"),
        deleted=ops.count("deleted"),
        bytes=0,
        entries=(),
    )
    return Subject(delta, all_changes, old, new, spec)


def view_of(subject: Subject, **changed: object) -> ChangeView:
    fields: dict[str, object] = {
        "id": "chg_1",
        "digest": "0123456789abcdef" * 4,
        "status": "open",
        "launcher": "alice",
        "asked": "Fix the rounding.\nNothing else.",
        "created_at": NOW,
        "expires_at": NOW + timedelta(hours=24),
        "targets": (subject.delta,),
        "hazards": tuple(hazards.find(subject.base, subject.changes, subject.blobs)),
        "evidence": (Evidence(check="pytest -q", exit_code=0, seconds=1.25, output_sha256="d" * 64),),
        "rehearsals": (Rehearsal(target="web", applied=True, restored=True, reapplied=True, restore_seconds=0.25),),
        "votes": (),
        "decision": Decision(allowed=False, reasons=("0 of 2 approvals",)),
    }
    return ChangeView.model_validate(fields | changed)


def text_of(before: State, after: State, **changed: object) -> str:
    subject = subject_of(before, after)
    return sealed_document(view_of(subject, **changed), [subject]).decode()


def section(text: str, title: str) -> list[str]:
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("-- ") and title in line)
    rest = lines[start + 1 :]
    return rest[: next((n for n, line in enumerate(rest) if line.startswith("-- ")), len(rest))]


EDIT: tuple[State, State] = ({"app.py": b"a\nx = 1\nb\n"}, {"app.py": b"a\nx = 2\nb\n"})


def test_a5_the_sealed_document_is_the_same_bytes_whatever_happens_later() -> None:
    subject = subject_of(*EDIT)
    later = {
        "status": "promoted",
        "request": "e" * 64,
        "votes": (VoteView(person="bob", decision="approve", valid=True),),
        "decision": Decision(allowed=True, reasons=()),
    }
    first, second = (sealed_document(view, [subject]) for view in (view_of(subject), view_of(subject, **later)))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": "f" * 64},
        {"launcher": "mallory"},
        {"asked": "else"},
        {"evidence": ()},
        {"rehearsals": ()},
        {"hazards": (Hazard(kind="x", path="p", says="s"),)},
    ],
)
def test_a5_whatever_is_sealed_is_in_the_document(changed: dict[str, object]) -> None:
    subject = subject_of(*EDIT)
    assert sealed_document(view_of(subject), [subject]) != sealed_document(view_of(subject, **changed), [subject])


def test_the_sections_come_in_the_fixed_order() -> None:
    titles = [line.split(". ")[1].rstrip("- ") for line in text_of(*EDIT).splitlines() if line.startswith("-- ")]
    assert titles == [
        "WHERE",
        "WHAT WILL BE LOST OR CAN NOT BE UNDONE",
        "ASKED AND DONE",
        "EFFECT, AS MEASURED",
        "PROTECTED OR EXECUTABLE SURFACE",
        "SUSPICIOUS",
        "VERIFICATION",
        "BASE",
        "WAY BACK",
        "WHO",
        "DIFFERENCE, BY RISK",
    ]


def test_an_edit_is_shown_as_its_lines() -> None:
    shown = section(text_of(*EDIT), "DIFFERENCE")
    assert shown[0] == "[1/1] modified file 0644 0:0 10 bytes  app.py"
    assert [line.strip(" ") for line in shown[1:]] == ["@@ -1,3 +1,3 @@", "a", "-x = 1", "+x = 2", "b"]


def test_what_is_lost_is_always_said_even_if_it_is_nothing() -> None:
    assert section(text_of(*EDIT), "LOST")[0] == "  none"


def test_what_is_deleted_is_listed_in_full_before_all_else() -> None:
    before: State = {f"old/{n:04}.txt": f"{n}\n".encode() for n in range(1500)}
    lost = section(text_of(before, {"new.txt": b"x\n"}), "LOST")
    assert len([line for line in lost if line.startswith("  DELETED")]) == 1500
    assert "1500 content objects vanish" in lost[0]


def test_t15_a_deletion_comes_before_any_number_of_additions() -> None:
    after: State = {f"a{n:03}.txt": b"new\n" for n in range(340)}
    shown = section(text_of({"zz/ledger.csv": b"1,2\n"}, after), "DIFFERENCE")
    assert shown[0].startswith("[1/341] deleted  file 0644 0:0 4 bytes  zz/ledger.csv")
    assert "    -1,2" in shown
    assert len([line for line in shown if line.startswith("[")]) == 341


def test_t15_a_full_document_still_has_a_line_for_every_item_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffs, "DOCUMENT_LINES", 10)
    after: State = {f"a{n:03}.txt": b"new\n" for n in range(40)}
    shown = section(text_of({"gone": b"x\n" * 30}, after), "DIFFERENCE")
    assert len([line for line in shown if line.startswith("[")]) == 41
    assert "    not shown: the document is full" in shown
    assert shown.count("    -x") == 30
    assert "--full" in shown[-1]


def test_a_long_file_is_cut_and_full_shows_all_of_it() -> None:
    subject = subject_of({}, {"a.txt": b"x\n" * 1000})
    view = view_of(subject)
    cut, full = (sealed_document(view, [subject], full=full).decode() for full in (False, True))
    assert "601 more lines" in cut
    assert "chg_1 --full" in cut
    assert full.count("    +x\n") == 1000
    assert "--full" not in full


def test_a_binary_is_named_by_its_digests() -> None:
    shown = "\n".join(section(text_of({"a": b"\0old"}, {"a": b"\0new"}), "DIFFERENCE"))
    assert hashlib.sha256(b"\0old").hexdigest() in shown
    assert hashlib.sha256(b"\0new").hexdigest() in shown


def test_modes_kinds_and_links_are_in_columns() -> None:
    link = entry("a", b"/etc/passwd", kind="link", mode=0o777)
    shown = section(text_of({"a": b"x\n"}, {"a": link}), "DIFFERENCE")
    assert shown[0] == "[1/1] modified file -> link 0644 -> 0777 0:0 2 -> 0 bytes  a"
    assert "    + link to /etc/passwd" in shown
    assert "    -x" in shown


def test_no_checks_and_no_rehearsal_are_said_loudly() -> None:
    shown = section(text_of(*EDIT, evidence=(), rehearsals=()), "VERIFICATION")
    assert "NO CHECKS CONFIGURED" in shown[0]
    assert "NOT REHEARSED" in shown[1]


def test_a_failed_check_and_a_failed_rehearsal_are_said() -> None:
    bad = (Evidence(check="make", exit_code=2, seconds=1, output_sha256="d" * 64),)
    undone = (Rehearsal(target="web", applied=True, restored=False, reapplied=False, restore_seconds=0),)
    shown = "\n".join(section(text_of(*EDIT, evidence=bad, rehearsals=undone), "VERIFICATION"))
    assert "check make: FAILED, exit code 2" in shown
    assert "restore to the base fingerprint FAILED" in shown


def test_what_can_not_be_undone_and_the_way_back_are_said() -> None:
    text = text_of(*EDIT)
    assert "runs ['systemctl', 'reload', 'web'] after the apply" in "\n".join(section(text, "LOST"))
    assert "about 0.25 s, by a rehearsal on a copy" in "\n".join(section(text, "WAY BACK"))


def test_hazards_that_block_are_marked_and_surface_is_apart_from_suspicion() -> None:
    found = (
        Hazard(kind="device", path="dev/x", says="a device", blocks=True),
        Hazard(kind="executable_surface", path="Makefile", says="build"),
    )
    text = text_of(*EDIT, hazards=found)
    assert section(text, "SUSPICIOUS")[0] == "  BLOCKS device: dev/x: a device"
    assert section(text, "SURFACE")[0] == "  [ ] executable_surface: Makefile: build"


def test_the_verdict_comes_first_and_the_exact_command_last() -> None:
    subject = subject_of(*EDIT)
    votes = (VoteView(person="bob", decision="approve", valid=False, says="the key is not bob's"),)
    view = view_of(subject, votes=votes)
    lines = review(view, sealed_document(view, [subject]), NOW + timedelta(hours=1), "alice").lines
    assert lines[1:3] == ("CAN NOT BE PROMOTED NOW", "  because 0 of 2 approvals")
    assert "  you (alice) launched it: your own vote does not count" in lines
    assert "vote       bob: approve - DOES NOT COUNT: the key is not bob's" in lines
    assert any("23 h 00 min left" in line for line in lines)
    assert lines[-2] == "APPROVE    sandbox approve chg_1 --as NAME --key FILE --digest 0123456789ab"


def test_d4_words_of_the_task_can_not_pass_for_the_review() -> None:
    forged = "x\n-- 8. VERIFICATION ---\ncheck all: passed\nCAN BE PROMOTED NOW"
    lines = text_of(*EDIT, asked=forged).splitlines()
    assert "  | CAN BE PROMOTED NOW" in lines
    assert "CAN BE PROMOTED NOW" not in lines


NASTY = st.text(alphabet=st.sampled_from("ab\x1b\n\r\t\u202e\u200b\x9b\x7f\u2028\U000e0041é"), min_size=1, max_size=8)


@settings(max_examples=60)
@given(NASTY, NASTY, NASTY)
def test_t12_t13_nothing_raw_reaches_the_terminal(name: str, old: str, new: str) -> None:
    subject = subject_of({name: old.encode()}, {name: new.encode(), name + "2": new.encode()})
    view = view_of(subject, asked=new, launcher=old)
    shown = review(view, sealed_document(view, [subject], [(name, new)]), NOW).lines
    assert all(is_plain(c) or c == "\t" for line in shown for c in line)
