"""The audit log under attack: every edit, drop, insertion, reordering and truncation is found and named."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.errors import InputError, JournalError
from sandbox.journal.audit import NAMESPACE, Notary
from sandbox.journal.ledger import Ledger
from sandbox.journal.merkle import Edge, leaf_hash
from sandbox.journal.verify import Verification, verify
from sandbox.records import DestroyRecord

Attack = Callable[[sqlite3.Connection], object]


@pytest.fixture(scope="module")
def notary(tmp_path_factory: pytest.TempPathFactory) -> Notary:
    return Notary.open(tmp_path_factory.mktemp("home") / "keys")


@pytest.fixture
def log(path: Path, notary: Notary) -> Path:
    """A closed journal of twelve entries: five under one checkpoint, ten under the next."""
    with Ledger.open(path) as ledger:
        fill(ledger, 5)
        notary.checkpoint(ledger)
        fill(ledger, 5)
        notary.checkpoint(ledger)
        fill(ledger, 2)
    return path


def fill(ledger: Ledger, count: int) -> None:
    start = ledger.edge().size
    for number in range(start, start + count):
        record = DestroyRecord(sandbox=f"sbx_{number}", seconds=number)
        ledger.put("sandbox", f"sbx_{number}", record, event="sandbox.made", actor="alice")


def attacked(log: Path, attack: Attack) -> None:
    with closing(sqlite3.connect(log)) as database, database:
        attack(database)


def found(verification: Verification) -> set[tuple[str, int | None]]:
    return {(finding.kind, finding.seq) for finding in verification.findings}


def rewrite(database: sqlite3.Connection, seq: int, /, **changed: object) -> None:
    body = json.loads(database.execute("SELECT body FROM audit WHERE seq = ?", (seq,)).fetchone()[0])
    database.execute("UPDATE audit SET body = ? WHERE seq = ?", (rfc8785.dumps(body | changed), seq))


def test_g1_an_untouched_log_is_in_order(log: Path, notary: Notary) -> None:
    assert verify(log, notary.public_key, notary.newest) == Verification(entries=12, signed=10, findings=())


def test_an_open_journal_can_be_verified(ledger: Ledger, path: Path, notary: Notary) -> None:
    assert verify(path, notary.public_key).ok
    fill(ledger, 3)
    assert found(verify(path, notary.public_key)) == {("unsigned", None)}
    notary.checkpoint(ledger)
    assert verify(path, notary.public_key).ok


@pytest.mark.parametrize("seq", [1, 3, 5, 8, 10, 11, 12])
def test_g1_an_edited_entry_is_named(seq: int, log: Path, notary: Notary) -> None:
    attacked(log, lambda database: rewrite(database, seq, actor="mallory"))
    result = found(verify(log, notary.public_key))
    assert ("edited", seq) in result
    assert (("rewritten", 1) in result) == (seq <= 5)
    assert (("rewritten", 6) in result) == (5 < seq <= 10)


@pytest.mark.parametrize("body", [b"", b"not json", b'{"seq": 3}', "12"])
def test_g1_an_unreadable_entry_is_named(body: object, log: Path, notary: Notary) -> None:
    attacked(log, lambda database: database.execute("UPDATE audit SET body = ? WHERE seq = 3", (body,)))
    assert ("edited", 3) in found(verify(log, notary.public_key))


def test_g1_the_same_entry_in_other_words_is_named(log: Path, notary: Notary) -> None:
    def respace(database: sqlite3.Connection) -> None:
        body = database.execute("SELECT body FROM audit WHERE seq = 7").fetchone()[0]
        database.execute("UPDATE audit SET body = ? WHERE seq = 7", (body.replace(b'"actor":', b'"actor": '),))

    attacked(log, respace)
    assert ("edited", 7) in found(verify(log, notary.public_key))


def test_g1_dropped_entries_are_named(log: Path, notary: Notary) -> None:
    attacked(log, lambda database: database.execute("DELETE FROM audit WHERE seq IN (4, 5, 8)"))
    result = verify(log, notary.public_key)
    assert {("dropped", 4), ("dropped", 8)} <= found(result)
    assert "Entries 4 to 5 are missing." in [finding.says for finding in result.findings]


def test_g1_an_inserted_entry_is_named(log: Path, notary: Notary) -> None:
    def insert(database: sqlite3.Connection) -> None:
        body = database.execute("SELECT body FROM audit WHERE seq = 12").fetchone()[0]
        database.execute("INSERT INTO audit VALUES (13, ?)", (body,))
        rewrite(database, 13, seq=13, event="vote.approved", previous=leaf_hash(body).hex())

    attacked(log, insert)
    assert ("inserted", 13) in found(verify(log, notary.public_key))


def test_g1_reordered_entries_are_named(log: Path, notary: Notary) -> None:
    def reorder(database: sqlite3.Connection) -> None:
        for old, new in ((6, -6), (7, 6), (-6, 7)):
            database.execute("UPDATE audit SET seq = ? WHERE seq = ?", (new, old))

    attacked(log, reorder)
    assert {("reordered", 6), ("rewritten", 6)} <= found(verify(log, notary.public_key))


@pytest.mark.parametrize("kept", [11, 9, 3, 0])
def test_g1_a_truncated_log_is_named(kept: int, log: Path, notary: Notary) -> None:
    attacked(log, lambda database: database.execute("DELETE FROM audit WHERE seq > ?", (kept,)))
    assert ("truncated", kept + 1) in found(verify(log, notary.public_key))


def rebuilt(database: sqlite3.Connection, keep: int) -> None:
    """What a thorough attacker does: edit the third entry, cut, and make everything fit again but the signatures."""
    edge, last = Edge(), b""
    for seq, body in database.execute("SELECT seq, body FROM audit ORDER BY seq").fetchall():
        if seq > keep:
            database.execute("DELETE FROM audit WHERE seq = ?", (seq,))
            continue
        entry = json.loads(body) | {"previous": last.hex()} | ({"actor": "mallory"} if seq == 3 else {})
        database.execute("UPDATE audit SET body = ? WHERE seq = ?", (rfc8785.dumps(entry), seq))
        last = leaf_hash(rfc8785.dumps(entry))
        edge = edge.grown(last)
    database.execute("UPDATE tree SET size = ?, edge = ?, last = ?", (edge.size, edge.pack(), last))


def test_g1_a_rewritten_history_does_not_fit_its_checkpoints(log: Path, notary: Notary) -> None:
    attacked(log, lambda database: rebuilt(database, 12))
    assert found(verify(log, notary.public_key)) == {("rewritten", 1)}


def test_g2_without_its_checkpoints_a_rewritten_history_does_not_fit_the_witness(log: Path, notary: Notary) -> None:
    def thorough(database: sqlite3.Connection) -> None:
        rebuilt(database, 8)
        database.execute("DELETE FROM checkpoints")
        database.execute("DELETE FROM records WHERE age > 8")

    witness = log.with_name("witness")
    shutil.copy(notary.newest, witness)
    attacked(log, thorough)
    assert found(verify(log, notary.public_key)) == {("unsigned", None)}
    assert found(verify(log, notary.public_key, witness)) == {("truncated", 9)}


def test_g1_a_forged_checkpoint_is_named(log: Path, notary: Notary, tmp_path: Path) -> None:
    other = Notary.open(tmp_path / "mallory")
    with Ledger.open(log) as ledger:
        other.checkpoint(ledger)
    result = verify(log, notary.public_key)
    assert [finding.kind for finding in result.findings] == ["forged"]
    assert "over 12 entries is false: it was made with another key" in result.findings[0].says
    attacked(log, lambda database: database.execute("UPDATE checkpoints SET line = 'x' WHERE size = 12"))
    assert "can't be read" in verify(log, notary.public_key).findings[0].says


def test_g1_a_checkpoint_moved_to_another_size_is_named(log: Path, notary: Notary) -> None:
    def move(database: sqlite3.Connection) -> None:
        line = database.execute("SELECT line FROM checkpoints WHERE size = 10").fetchone()[0]
        signed = json.loads(line)
        signed["checkpoint"]["size"] = 8
        database.execute("UPDATE checkpoints SET line = ? WHERE size = 10", (rfc8785.dumps(signed),))

    attacked(log, move)
    assert {finding.kind for finding in verify(log, notary.public_key).findings} == {"forged"}


def test_t1_a_record_changed_behind_the_log_is_named(log: Path, notary: Notary) -> None:
    def attack(database: sqlite3.Connection) -> None:
        database.execute("UPDATE records SET body = replace(body, 'sbx_2', 'sbx_x') WHERE id = 'sbx_2'")
        database.execute("DELETE FROM records WHERE id = 'sbx_4'")
        database.execute("INSERT INTO records (kind, id, body) VALUES ('vote', 'vote_1', '{}')")

    attacked(log, attack)
    result = verify(log, notary.public_key)
    assert [finding.kind for finding in result.findings] == ["record"] * 3
    assert [finding.says for finding in result.findings] == [
        "The stored sandbox sbx_2 is not the one that the log tells of.",
        "The stored sandbox sbx_4 is missing.",
        "The stored vote vote_1 is not the one that the log tells of.",
    ]


def test_a_dropped_and_a_replaced_record_are_in_order(log: Path, notary: Notary) -> None:
    with Ledger.open(log) as ledger:
        ledger.drop("sandbox", "sbx_1", event="sandbox.pruned")
        ledger.put("sandbox", "sbx_2", DestroyRecord(sandbox="sbx_2", seconds=9), event="sandbox.changed")
    assert verify(log, notary.public_key).ok


def test_g1_a_tree_that_is_not_that_of_the_entries_is_named(log: Path, notary: Notary) -> None:
    attacked(log, lambda database: database.execute("UPDATE tree SET edge = zeroblob(length(edge))"))
    assert found(verify(log, notary.public_key)) == {("edited", None)}


# --- exports and copies ---------------------------------------------------------------------------------


def test_g4_an_export_verifies_offline_with_the_public_key_alone(log: Path, notary: Notary, tmp_path: Path) -> None:
    out = tmp_path / "log.jsonl"
    with Ledger.open(log) as ledger:
        signed = notary.export(ledger, out)
        leaves = [body for _, body in ledger.leaves()]
    lines = out.read_bytes().splitlines()
    assert out.stat().st_mode & 0o777 == 0o600
    assert lines[:-1] == leaves
    assert lines[-1] == signed.line().strip()
    assert verify(out, notary.public_key) == Verification(entries=12, signed=12, findings=())
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".new")] == []


@pytest.fixture(scope="module")
def exported(notary: Notary, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("exported")
    with Ledger.open(folder / "journal.db") as ledger:
        fill(ledger, 9)
        notary.export(ledger, folder / "log")
    return (folder / "log").read_bytes().splitlines()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_g1_no_edit_of_an_export_goes_unseen(
    data: st.DataObject, exported: list[bytes], notary: Notary, tmp_path: Path
) -> None:
    lines = list(exported)
    at = data.draw(st.integers(0, len(lines) - 1))
    how = data.draw(st.sampled_from(["flip", "drop", "double", "swap", "cut"]))
    if how == "flip":
        line = bytearray(lines[at])
        line[data.draw(st.integers(0, len(line) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        lines[at] = bytes(line)
    elif how == "drop":
        del lines[at]
    elif how == "double":
        lines.insert(at, lines[data.draw(st.integers(0, len(lines) - 2))])
    elif how == "swap":
        other = data.draw(st.integers(0, len(lines) - 2).filter(lambda other: other != at))
        lines[at], lines[other] = lines[other], lines[at]
        if len(lines) - 1 == at:
            return  # the checkpoint may stand anywhere
    else:
        lines = lines[:at]
    out = tmp_path / "log.jsonl"
    out.write_bytes(b"".join(line + b"\n" for line in lines))
    assert not verify(out, notary.public_key).ok


def test_a_copy_verifies_without_its_side_files_and_is_left_alone(log: Path, notary: Notary, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "journal.db"
    copy.parent.mkdir()
    shutil.copy(log, copy)
    before = hashlib.sha256(copy.read_bytes()).hexdigest()
    assert verify(copy, notary.public_key).ok
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == before


def test_the_wrong_key_or_file_is_bad_input(log: Path, notary: Notary, tmp_path: Path) -> None:
    other = Notary.open(tmp_path / "mallory")
    kinds = [finding.kind for finding in verify(log, other.public_key).findings]
    assert kinds == ["forged", "forged", "unsigned"]
    with pytest.raises(InputError, match="public key of the audit log is wrong"):
        verify(log, "nonsense")
    with pytest.raises(InputError, match="missing can't be read"):
        verify(tmp_path / "missing", notary.public_key)
    with pytest.raises(InputError, match="witness can't be read"):
        verify(log, notary.public_key, tmp_path / "witness")


# --- the key and the checkpoints ----------------------------------------------------------------------------


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    first = Notary.open(keys)
    assert Notary.open(keys).public_key == first.public_key
    assert (keys / "audit_ed25519").stat().st_mode & 0o777 == 0o600
    assert keys.stat().st_mode & 0o777 == 0o700
    assert first.public_key in (keys / "audit_ed25519.pub").read_text()


def test_a_key_that_is_damaged_or_open_is_refused(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    Notary.open(keys)
    (keys / "audit_ed25519").chmod(0o644)
    with pytest.raises(InputError, match=r"read by other users.*chmod 600"):
        Notary.open(keys)
    (keys / "audit_ed25519").chmod(0o600)
    (keys / "audit_ed25519").write_text("damaged")
    with pytest.raises(InputError, match="is damaged"):
        Notary.open(keys)


def swapped(text: str, old: bytes, new: bytes) -> str:
    """A key file with other bytes in it."""
    first, *middle, last = text.splitlines()
    raw = base64.b64decode("".join(middle))
    assert old in raw
    return "\n".join([first, base64.b64encode(raw.replace(old, new)).decode(), last, ""])


@pytest.mark.parametrize(
    ("kind", "passphrase", "old", "new", "says"),
    [
        ("ed25519", "", b"\0\0\0\x0bssh-ed25519", b"\0\0\0\x0bssh-ed25518", "not an ed25519 key"),
        ("ed25519", "", b"openssh-key-v1", b"openssh-key-v2", "not an OpenSSH private key"),
        ("ed25519", "", b"\0\0\0\x40", b"\0\0\0\x3f", "halves"),
        ("ed25519", "", b"\0\0\0\x01", b"\0\0\0\x02", "2 keys"),
        ("ed25519", "secret", b"", b"", "passphrase"),
        ("rsa", "", b"", b"", "not an ed25519 key"),
    ],
)
def test_an_audit_key_that_is_not_whole_or_of_another_kind_is_refused(
    kind: str, passphrase: str, old: bytes, new: bytes, says: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    path = keys / "audit_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)], check=True)
    if old:
        path.write_text(swapped(path.read_text(), old, new))
    with pytest.raises(InputError, match=f"is damaged: it.*{says}"):
        Notary.open(keys)


def test_g4_stock_openssh_verifies_a_checkpoint(ledger: Ledger, notary: Notary, tmp_path: Path) -> None:
    fill(ledger, 3)
    signed = notary.checkpoint(ledger)
    (tmp_path / "signers").write_text(f'manager namespaces="{NAMESPACE}" {notary.public_key}\n')
    (tmp_path / "signature").write_text(signed.signature)
    command = ["ssh-keygen", "-Y", "verify", "-I", "manager", "-n", NAMESPACE, "-f", str(tmp_path / "signers")]
    command += ["-s", str(tmp_path / "signature")]
    good = subprocess.run(command, input=signed.checkpoint.canonical(), capture_output=True, check=False)
    bad = subprocess.run(command, input=signed.checkpoint.canonical() + b" ", capture_output=True, check=False)
    assert (good.returncode, bad.returncode) == (0, 255)


def test_g1_every_start_holds_the_journal_against_the_newest_checkpoint(path: Path, tmp_path: Path) -> None:
    notary = Notary.open(tmp_path / "keys")
    old = tmp_path / "old.db"
    with Ledger.open(path) as ledger:
        notary.check_start(ledger)
        fill(ledger, 4)
        notary.checkpoint(ledger)
        notary.check_start(ledger)
        fill(ledger, 4)
    shutil.copy(path, old)
    with Ledger.open(path) as ledger:
        notary.check_start(ledger)
        fill(ledger, 3)
        notary.checkpoint(ledger)
    shutil.copy(old, path)
    with Ledger.open(path) as ledger:
        with pytest.raises(JournalError, match="8 entries, and 11 were signed already"):
            notary.check_start(ledger)
        fill(ledger, 5)
        with pytest.raises(JournalError, match="do not follow on those that were signed"):
            notary.check_start(ledger)
    notary.newest.write_text("nonsense")
    with Ledger.open(path) as ledger, pytest.raises(JournalError, match=r"newest checkpoint .* is false"):
        notary.check_start(ledger)
