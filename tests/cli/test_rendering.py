"""Text and JSON come from the same record, and nothing that an agent wrote reaches a terminal raw."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.cli import changes, promotions
from sandbox.cli.failures import MEANINGS, exits, report
from sandbox.cli.live import Live
from sandbox.cli.session import print_json, print_lines
from sandbox.cli.streams import Passage
from sandbox.cli.tables import deltas, size, table
from sandbox.errors import (
    ConfigError,
    Conflict,
    Drifted,
    EngineUnavailable,
    Frozen,
    Interrupted,
    Locked,
    NotFound,
    Refused,
    Restored,
    SandboxDied,
    SandboxError,
    TaskFailed,
)
from sandbox.lifecycle.events import CheckStarted, FilesTouched, Note, Output, StepFinished, StepStarted
from sandbox.records import (
    ChangeView,
    Decision,
    EntryChange,
    PromotedTarget,
    PromotionRecord,
    TargetDelta,
    VoteView,
)
from sandbox.terminal import is_plain

NASTY = "a\x1b[2K\n\u202eb"


class Screen(io.TextIOWrapper):
    """A stream that takes bytes and says whether it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def shown(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()  # type: ignore[attr-defined]


def promotion(**fields: object) -> PromotionRecord:
    whole: dict[str, object] = {"promotion": "prm_1", "change": "chg_1", "status": "committed"}
    return PromotionRecord.model_validate(whole | fields)


CODES = [
    ({"status": "committed"}, "committed", 0),
    ({"status": "restored"}, "committed", 7),
    ({"status": "restored", "restores": "prm_0"}, "restored", 0),
    ({"status": "frozen"}, "committed", 8),
    ({"status": "frozen"}, "restored", 8),
    ({"status": "refused"}, "committed", 3),
    ({"status": "refused", "stale": True}, "committed", 6),
    ({"status": "refused", "stale": True}, "restored", 6),
]


@pytest.mark.parametrize(("fields", "wanted", "code"), CODES)
def test_a_promotion_ends_with_the_code_of_its_outcome(fields: dict[str, object], wanted: str, code: int) -> None:
    assert promotions._code(promotion(**fields), wanted=wanted) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x", "y"), 2), (NotFound("x"), 2), (Refused("x"), 3), (TaskFailed("x"), 4),
        (EngineUnavailable("x"), 5), (SandboxDied("x"), 5), (Conflict("x"), 6), (Drifted("x"), 6), (Locked("x"), 6),
        (Restored("x"), 7), (Frozen("x", "1. do this"), 8), (Interrupted("x"), 130), (KeyboardInterrupt(), 130),
        (PermissionError(13, "Permission denied", "/x"), 2), (SandboxError("x"), 1), (ValueError("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_error_has_its_exit_code_and_document(
    error: BaseException,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert report(error, as_json=True) == code
    document = json.loads(capsys.readouterr().out)
    assert document["error"].keys() == {"kind", "says", "hint"}
    assert code in MEANINGS


@pytest.mark.parametrize(("status", "decision", "told"), [
    ("promoting", "reject", True), ("promoting", "approve", False), ("rejected", "reject", False),
])  # fmt: skip
def test_b7_a_reject_while_it_is_promoted_says_what_comes_of_it(status: str, decision: str, told: bool) -> None:
    vote = VoteView.model_validate({"person": "carol", "decision": decision, "valid": True})
    view = ChangeView(
        id="chg_1", digest="0" * 64, status=status, targets=(), hazards=(), evidence=(), votes=(vote,),
        decision=Decision(allowed=False, reasons=()),
    )  # fmt: skip
    assert any("put back instead of being committed" in line for line in changes._voted(view, "")) == told


def test_help_lists_exit_codes_in_order() -> None:
    assert exits(6, 2, _6="stale").startswith("Exit codes: 0 done, 1 a bug here, 2 bad input, 6 stale, 130 ")


def test_what_froze_is_said_with_its_steps_in_order() -> None:
    targets = (PromotedTarget(name="web", status="frozen", kept_aside=("/home/x",)),)
    record = promotion(status="frozen", targets=targets, manual_steps=("stop it", "copy it"))
    lines = list(promotions.told(record))
    assert lines[0].startswith("FROZEN")
    assert lines[-2:] == ["  1. stop it", "  2. copy it"]
    assert "    what others wrote there is kept in /home/x" in lines


def test_t12_nothing_raw_in_tables_lines_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    entry = EntryChange(path=NASTY, op="modified", kind="link", kind_before="link", link_after=NASTY)
    one = TargetDelta(
        name="web", kind="directory", identity=NASTY, base="b", predicted="c", added=0, modified=1, deleted=0, bytes=0,
        entries=(entry,),
    )  # fmt: skip
    print_lines([*table(("A", "B"), [(NASTY, 1)], "none"), *deltas([one]), NASTY])
    print_json({"schema": 1, "text": NASTY + "\x7f"})
    shown = capsys.readouterr().out
    assert all(is_plain(c) or c == "\n" for c in shown)
    assert json.loads(shown[shown.index("{\n") :])["text"] == NASTY + "\x7f"


def test_deleted_paths_come_first() -> None:
    entries = tuple(EntryChange(path=p, op=op, kind="file") for p, op in (("a", "added"), ("z", "deleted")))
    one = TargetDelta(
        name="web", kind="directory", identity="i", base="b", predicted="c", added=1, modified=0, deleted=1, bytes=0,
        entries=entries,
    )  # fmt: skip
    assert list(deltas([one])) == ["web: 1 added, 0 modified, 1 deleted", "  deleted   z", "  added     a"]


def test_a_pipe_gets_every_bit() -> None:
    screen = Screen(terminal=False)
    passage = Passage(screen)
    passage.write("stdout", bytes(range(256)))
    passage.write("stderr", b"\xff")
    assert screen.shown() == bytes(range(256)) + b"\xff"


def test_t12_a_terminal_gets_no_control_characters() -> None:
    screen = Screen(terminal=True)
    passage = Passage(screen)
    passage.write("stdout", b"one\ttwo\r\n\x1b]52;c;YQ==\x07 evil\rgood \xff\n")
    assert screen.shown() == b"one\ttwo\n\\x1b]52;c;YQ==\\x07 evil\\rgood \\xff\n"


def test_a_character_that_comes_in_pieces_is_put_together() -> None:
    screen = Screen(terminal=True)
    passage = Passage(screen)
    for byte in "é".encode():
        passage.write("stdout", bytes([byte]))
    assert screen.shown() == "é".encode()


def test_the_live_view_tells_steps_and_counts_and_keeps_lines_apart() -> None:
    screen = Screen(terminal=False)
    view = Live(screen)
    view(StepStarted(1, 2, ("sh", "-c", NASTY), "snap_1"))
    view(Output("stdout", b"no newline"))
    view(FilesTouched(3, 1))
    view(FilesTouched(4, 1))
    view(StepFinished(1, 137, 1.04, "timed out after 1 s"))
    view(Note("capturing web"))
    view(CheckStarted("pytest -q"))
    view(Output("stderr", b"tail"))
    view.finish()
    lines = screen.shown().decode().splitlines()
    assert lines[0].startswith("sandbox: step 1 of 2: sh -c ")
    assert "\x1b" not in lines[0]
    assert lines[1:] == [
        "no newline",
        "sandbox: 3 files changed, 1 deleted so far",
        "sandbox: step 1 ended with 137 after 1.0 s: timed out after 1 s",
        "sandbox: capturing web",
        "sandbox: check in the clean room: pytest -q",
        "tail",
    ]


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB")])
def test_sizes_are_for_people(count: int, words: str) -> None:
    assert size(count) == words


def test_times_are_the_readers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox.cli.tables import moment

    assert moment(None) == ""
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert moment(at) == at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
