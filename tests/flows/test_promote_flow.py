"""From a task to a promotion and back, on the real command line."""

from __future__ import annotations

import json
import re

from tests.flows.house import House, listing


def test_one_line_goes_from_a_sandbox_to_the_target_and_back(house: House) -> None:
    target = house.root / "production" / "app"
    before = listing(target)
    inode = (target / "data" / "rows.txt").stat().st_ino

    run = house.run("--check", "grep -q two app.py", "--", "sed", "-i", "s/one/two/", "app.py").expect(0).json
    assert run["status"] == "proposed"
    assert run["attempts"] == 1
    assert run["failure"] is None
    change = run["change"]
    assert listing(target) == before, "a run only reads the target"
    (delta,) = change["targets"]
    assert (delta["added"], delta["modified"], delta["deleted"]) == (0, 1, 0)
    (entry,) = delta["entries"]
    assert (entry["path"], entry["op"], entry["kind"]) == ("app.py", "modified", "file")
    assert entry["mode_before"] == entry["mode_after"] == "0644"
    assert re.fullmatch(r"[0-9a-f]{64}", change["digest"])
    (evidence,) = change["evidence"]
    assert evidence["exit_code"] == 0
    assert change["decision"]["allowed"] is False

    assert house.promote(change).expect(3).json["status"] == "refused"
    house.sign_off(change, "alice")
    assert house.promote(change).expect(3).json["reasons"]
    house.sign_off(change, "bob")
    shown = house("review", change["id"], "--json").expect(0).json
    assert [vote["person"] for vote in shown["votes"] if vote["valid"]] == ["alice", "bob"]
    assert shown["decision"] == {"allowed": True, "reasons": []}

    done = house.promote(change).expect(0).json
    assert done["status"] == "committed"
    assert done["targets"] == [
        {**done["targets"][0], "name": "app", "status": "committed", "fingerprint": delta["predicted"]}
    ]
    assert (target / "app.py").read_text() == "print('two')\n"
    assert (target / "data" / "rows.txt").stat().st_ino == inode, "unchanged files keep their inode"
    assert house.promote(change).expect(3).json["status"] == "refused", "a sign-off is used once"

    back = house("restore", done["promotion"], "--json").expect(0).json
    assert back["status"] == "restored"
    assert back["targets"][0]["fingerprint"] == delta["base"]
    assert listing(target) == before
    house.promote(change).expect(3)


def test_a_tree_deleted_and_recreated_with_equal_content_is_no_change(house: House) -> None:
    script = "cp -a /workspace /tmp/copy && rm -rf /workspace && mkdir /workspace && cp -a /tmp/copy/. /workspace"
    answer = house.run("--", "sh", "-c", script).expect(0).json
    assert (answer["status"], answer["change"]) == ("empty", None)


def test_the_environment_deleted_and_recreated_gives_only_the_net_difference(house: House) -> None:
    change = house.propose(
        "cp -a /workspace /tmp/copy; rm -rf /workspace; cp -a /tmp/copy /workspace; echo 4 >> /workspace/data/rows.txt"
    )
    (delta,) = change["targets"]
    assert [(entry["path"], entry["op"]) for entry in delta["entries"]] == [("data/rows.txt", "modified")]


def test_every_kind_of_change_is_applied_and_taken_back(house: House) -> None:
    target = house.root / "production" / "app"
    (target / "old").mkdir()
    (target / "old" / "gone.txt").write_text("gone")
    (target / "becomes-dir").write_text("file")
    (target / "becomes-file").mkdir()
    before = listing(target)
    change = house.propose(
        "rm -rf old; mkdir -p new/deep empty; echo hi > new/deep/file; chmod 700 data; ln -s app.py link;"
        "rm becomes-dir; mkdir becomes-dir; echo x > becomes-dir/x; rmdir becomes-file; echo y > becomes-file;"
        "printf bin > \"$(printf 'na\\nme')\""
    )
    house.sign_off(change)
    done = house.promote(change).expect(0).json
    assert (target / "new/deep/file").read_text() == "hi\n"
    assert (target / "link").is_symlink()
    assert (target / "becomes-dir/x").exists()
    assert (target / "na\nme").read_text() == "bin"
    assert not (target / "old").exists()
    assert [path.name for path in target.iterdir() if path.name.startswith(".sandbox")] == []
    house("restore", done["promotion"]).expect(0)
    assert listing(target) == before


def test_several_targets_are_promoted_together(house: House) -> None:
    other = house.target("web", {"index.html": "old\n"})
    answer = house(
        "run", "--json", "--target", "app", "--target", "web", "--image", house.image, "--check",
        "test -f app/app.py -a -f web/index.html", "--",
        "sh", "-c", "echo new > web/index.html; echo 9 > app/data/rows.txt",
    ).expect(0)  # fmt: skip
    change = answer.json["change"]
    assert [delta["name"] for delta in change["targets"]] == ["app", "web"]
    house.sign_off(change)
    done = house.promote(change).expect(0).json
    assert [part["status"] for part in done["targets"]] == ["committed", "committed"]
    assert (other / "index.html").read_text() == "new\n"


def test_review_says_loudly_that_nothing_was_checked(house: House) -> None:
    change = house.propose("echo new > new.txt")
    text = house("review", change["id"]).expect(0).stdout.decode()
    assert "NO CHECKS" in text.upper()
    assert change["digest"][:12] in text


def test_every_entry_of_the_story_is_in_the_audit_log_and_verifies(house: House) -> None:
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    house.promote(change).expect(0)
    events = [entry["event"] for entry in house("audit", "log", "--json").expect(0).json["entries"]]
    for event in ("run.started", "change.proposed", "vote.approve", "promotion.started", "promotion.committed"):
        assert event in events
    house("audit", "verify").expect(0)


def test_an_entry_edited_in_the_journal_is_found(house: House) -> None:
    import sqlite3

    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    house.promote(change).expect(0)
    with sqlite3.connect(house.home / "journal.db") as database:
        (seq, body) = database.execute(
            "SELECT seq, body FROM audit WHERE CAST(body AS TEXT) LIKE '%vote.approve%'"
        ).fetchone()
        forged = json.loads(body) | {"actor": "carol"}
        database.execute("UPDATE audit SET body = ? WHERE seq = ?", (json.dumps(forged).encode(), seq))
    database.close()
    answer = house("audit", "verify")
    assert answer.code == 6
