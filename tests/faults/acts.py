"""Commands that change something durable, each with what it needs first and what must hold when it was cut short.

Owns the list that the matrix kills and interrupts at every step, and that the count of fault points is held against.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.flows.house import Answer, House, listing
from tests.host import traces, traces_here
from tests.soak.census import unfinished

ONE, THREE = ("app",), ("app", "web", "etc")
ENGINES = "engines"
"""What a home keeps of an engine is never put back: mounts stand on it."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Act:
    perform: Callable[[House, Facts, dict[str, str]], Answer]
    """The command, in an environment that may end it at any step."""
    arrange: Callable[[House], Facts]
    """What it needs; done once, then the home is put back to that before each time."""
    holds: Callable[[House, Facts], None]
    """What must be so after it was cut short at any step, and one `recover`."""
    code: int = 0
    """What it ends with when nothing stops it."""
    faults: str = ""
    """Armed beside whatever ends it."""


def furnished(root: Path, engine: str, image: str) -> House:
    """A house with three targets and a policy for them."""
    house = House(root, engine, image, env={"TMPDIR": str(root / "temporary")})
    (root / "temporary").mkdir()
    house.policy()
    for name in THREE:
        house.target(name)
    return house


class Stage:
    """One act in a house, over and over from the same start."""

    def __init__(self, house: House, act: Act) -> None:
        self.house, self.act = house, act
        self._saved = house.root / "saved"
        self.facts = act.arrange(house)
        self.facts["before"] = production(house)
        house("list").expect(0)
        shutil.copytree(house.home, self._saved, symlinks=True, ignore=lambda _, names: {ENGINES} & set(names))
        self.entries = logged(house)

    def play(self, fault: str = "", **env: str) -> Answer:
        """Perform it from the start with a fault armed."""
        for path in self.house.home.iterdir():
            if path.name != ENGINES:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._saved, self.house.home, symlinks=True, dirs_exist_ok=True)
        armed = ",".join(filter(None, (fault, self.act.faults)))
        return self.act.perform(self.house, self.facts, {"SANDBOX_FAULT": armed, **env} if armed else env)

    def steps(self) -> list[str]:
        """The durable steps of the whole command, in order."""
        log = self.house.root / "steps"
        log.unlink(missing_ok=True)
        self.play("none:kill", SANDBOX_FAULT_LOG=str(log)).expect(self.act.code)
        self.settle()
        return log.read_text().split()

    def settle(self) -> None:
        """One `recover` ends it all: nothing is left of the command but what its act says."""
        house = self.house
        house("recover").expect(0)
        assert list((house.home / "scratch").iterdir()) == []
        assert list((house.home / "owners").iterdir()) == []
        assert unfinished(house.home, Path(house.env["TMPDIR"])) == []
        assert {path.name for path in (house.home / "changes").iterdir()} <= {
            one["id"] for one in kept(house, "change")
        }
        assert list((house.root / "production").rglob(".sandbox-*")) == []
        assert {one["status"] for one in kept(house, "promotion")} <= {"committed", "restored", "refused"}
        self.act.holds(house, self.facts)
        assert {one["status"] for one in kept(house, "sandbox")} <= {"destroyed"}
        assert traces_here((house.home / "id").read_text(), str(house.home)) == []

    def vouch(self) -> None:
        """The log goes on from what it was, and there is nothing left to recover, whoever looks."""
        assert logged(self.house)[: len(self.entries)] == self.entries
        self.house("audit", "verify").expect(0)
        assert self.house("recover", "--json").expect(0).json["done"] == [], "one recover is enough"
        assert traces((self.house.home / "id").read_text()) == []


def kept(house: House, kind: str) -> list[dict[str, Any]]:
    """What the journal holds of a kind, oldest first; read without the product, which would take a process."""
    with closing(sqlite3.connect(house.home / "journal.db")) as journal:
        rows = journal.execute("SELECT body FROM records WHERE kind = ? ORDER BY age", (kind,)).fetchall()
    return [json.loads(body) for (body,) in rows]


def production(house: House) -> dict[str, str]:
    return listing(house.root / "production")


def logged(house: House) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house("audit", "log", "--json").expect(0).json["entries"]
    return found


def run(house: House, targets: tuple[str, ...], *words: str, env: dict[str, str] | None = None) -> Answer:
    named = [part for name in targets for part in ("--target", name)]
    wanted = words or ("--check", "true", "--", "sh", "-c", script(targets))
    return house("run", "--json", *named, "--image", house.image, *wanted, env=env)


def script(targets: tuple[str, ...]) -> str:
    places = ["."] if len(targets) == 1 else targets
    return "; ".join(f"cd /workspace/{at}; echo 2 > app.py; rm -r data; mkdir made; echo x > made/x" for at in places)


def nothing(house: House) -> Facts:
    return {}


def proposed(*targets: str) -> Callable[[House], Facts]:
    return lambda house: {"change": run(house, targets).expect(0).json["change"]}


def signed(*targets: str) -> Callable[[House], Facts]:
    def arrange(house: House) -> Facts:
        facts = proposed(*targets)(house)
        house.sign_off(facts["change"])
        return facts

    return arrange


def unwell(house: House) -> Facts:
    """Signed, and the last target will not be well."""
    path = house.root / "production" / THREE[-1]
    fails = {"after_apply": [["test", "!", "-e", str(path / "made")]]}
    house.write("targets", THREE[-1], {"kind": "directory", "path": str(path), "policy": "production", **fails})
    return signed(*THREE)(house)


def untouched(house: House, facts: Facts) -> None:
    assert production(house) == facts["before"]


def votes(house: House, facts: Facts) -> None:
    """Each vote that was given is there; one that was being given counts or is not."""
    untouched(house, facts)
    found = house("review", facts["change"]["id"], "--json").expect(0).json
    assert [vote["valid"] for vote in found["votes"]] in ([], [True])
    assert (found["status"] == "rejected") <= bool(found["votes"])


def committed_or_restored(house: House, facts: Facts) -> None:
    """All targets or none, as the record says; and what was signed still is."""
    assert [vote["person"] for vote in kept(house, "vote")] == ["alice", "bob"]
    committed = [one for one in kept(house, "promotion") if one["status"] == "committed"]
    assert (production(house) != facts["before"]) == bool(committed)
    facts.setdefault("ends", set()).add(bool(committed))
    for record in committed:
        assert [change["status"] for change in kept(house, "change")] == ["promoted"]
        house("restore", record["promotion"]).expect(0)
    untouched(house, facts)


def restored(house: House, facts: Facts) -> None:
    assert all(record["status"] in ("restored", "refused") for record in kept(house, "promotion"))
    untouched(house, facts)


def taken_back_or_not(house: House, facts: Facts) -> None:
    """Both records or neither, and the targets as they say."""
    records = kept(house, "promotion")
    if production(house) == facts["before"]:
        assert [record["status"] for record in records] == ["restored", "restored"]
        assert {target["status"] for record in records for target in record["targets"]} == {"restored"}
        return
    assert [record["status"] for record in records] == ["committed"], "not begun"
    house("restore", records[0]["promotion"]).expect(0)
    untouched(house, facts)


def usable(house: House, facts: Facts) -> None:
    """Sandboxes that are there work; then they go."""
    for one in kept(house, "sandbox"):
        if one["status"] == "destroyed":
            continue
        house("exec", one["sandbox"], "--", "sh", "-c", "test -e data || test -e gone").expect(0)
        house("destroy", one["sandbox"]).expect(0)
    untouched(house, facts)


def expiring(house: House) -> Facts:
    house.policy(approve_within_s=0.01)
    return proposed(*ONE)(house)


def wants_a_signature(house: House) -> Facts:
    house.policy(launcher="signed")
    return {}


def edited_policy(house: House) -> Facts:
    facts = proposed(*ONE)(house)
    house.policy(quorum=1)
    return facts


def signed_policy(house: House) -> Facts:
    """An edited policy, signed under the one in force; and the log is exported."""
    (house.config / "manager.yaml").write_text(f"audit_export: {_exported(house)}\n")
    edited_policy(house)
    change = house("policy", "propose", "production", "--json").expect(0).json
    house.sign_off(change)
    return {"change": change, "exported": _exported(house).read_bytes()}


def _exported(house: House) -> Path:
    return house.root / "audit.jsonl"


def in_force_or_not(house: House, facts: Facts) -> None:
    """For all of its targets or none, as the records say; and no export knows more than the journal."""
    untouched(house, facts)
    done = [one["status"] for one in kept(house, "promotion") if one["change"] == facts["change"]["id"]]
    (change,) = [one for one in kept(house, "change") if one["id"] == facts["change"]["id"]]
    (use,) = house("policy", "check", "production", "--json").expect(0).json["targets"][:1]
    assert use["in_force"] == (change["status"] == "promoted") == (done == ["committed"])


def moved_target(house: House) -> Facts:
    facts = proposed(*ONE)(house)
    path = house.root / "production" / "moved"
    (house.root / "production" / "app").rename(path)
    house.write("targets", "app", {"kind": "directory", "path": str(path), "policy": "production"})
    return facts


def _sign(verb: str, key: str = "alice", *words: str) -> Callable[[House, Facts, dict[str, str]], Answer]:
    def perform(house: House, facts: Facts, env: dict[str, str]) -> Answer:
        change = facts["change"]
        named = ["--as", "alice", "--key", str(house.key(key))]
        return house(verb, change["id"], "--json", *named, *(words or ["--digest", change["digest"]]), env=env)

    return perform


def _promote(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    return house.promote(facts["change"], env=env)


def _promote_policy(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    _exported(house).write_bytes(facts["exported"])  # the home was put back for this play, and so is the witness
    return house.promote(facts["change"], env=env)


def to_be_exported(house: House) -> Facts:
    """Somebody asks for an export when there is a log already."""
    facts = proposed(*ONE)(house)
    (house.config / "manager.yaml").write_text(f"audit_export: {_exported(house)}\n")
    return facts


def _first_export(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    _exported(house).unlink(missing_ok=True)
    return _sign("reject", "alice", "--reason", "no")(house, facts, env)


def _restore_policy(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    done = _promote_policy(house, facts, {}).expect(0).json
    return house("restore", done["promotion"], "--json", env=env)


def _take_back(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    done = house.promote(facts["change"]).expect(0).json
    return house("restore", done["promotion"], "--json", env=env)


def _recover(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    """After a promotion that died when its second target was applied."""
    house.promote(facts["change"], env={"SANDBOX_FAULT": "promotion.applied:kill:2"}).expect(-9)
    return house("recover", "--json", env=env)


def _recover_run(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    """After a run that died in its clean room."""
    run(house, ONE, env={"SANDBOX_FAULT": "check.kept:kill"}).expect(-9)
    return house("recover", "--json", env=env)


def _confirm(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    """After a frozen promotion that a person put back."""
    done = house.promote(facts["change"]).expect(0).json
    frozen = house("restore", done["promotion"], "--json", env={"SANDBOX_FAULT": "restore.put_back:error"}).expect(8)
    follow(frozen.json["manual_steps"])
    return house("recover", "--json", env=env)


def follow(steps: list[str]) -> None:
    """Do what a person is told to."""
    subprocess.run(["sh", "-e"], input="\n".join(steps).encode("ascii"), check=True)


def _box(house: House) -> str:
    made: str = house("create", "--json", "--target", "app", "--image", house.image).expect(0).json["sandbox"]
    return made


def _by_hand(verb: str) -> Callable[[House, Facts, dict[str, str]], Answer]:
    def perform(house: House, facts: Facts, env: dict[str, str]) -> Answer:
        if verb == "create":
            return house("create", "--json", "--target", "app", "--image", house.image, env=env)
        box = _box(house)
        taken = house("snapshot", box, "--json").expect(0).json["snapshot"]
        house("exec", box, "--", "sh", "-c", "rm -r data; touch gone").expect(0)
        words = {
            "snapshot": ["snapshot", box],
            "rollback": ["rollback", box, taken],
            "fork": ["fork", taken],
            "destroy": ["destroy", box],
            "propose": ["propose", box, "--check", "true"],
        }[verb]
        return house(*words, "--json", env=env)

    return perform


def _signed_run(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    identity = {"SANDBOX_IDENTITY": "carol", **env}
    return run(house, ONE, "--key", str(house.key("carol")), "--", "touch", "new", env=identity)


def _fails(house: House, facts: Facts, env: dict[str, str]) -> Answer:
    return run(house, ONE, "--check", "false", "--", "touch", "new", env=env)


ACTS: dict[str, Act] = {
    "run": Act(lambda house, _, env: run(house, ONE, env=env), nothing, untouched),
    "run that fails": Act(_fails, nothing, untouched, code=4),
    "run that changes nothing": Act(lambda house, _, env: run(house, ONE, "--", "true", env=env), nothing, untouched),
    "run --keep": Act(lambda house, _, env: run(house, ONE, "--keep", "--", "touch", "gone", env=env), nothing, usable),
    "run, unsigned": Act(lambda house, _, env: run(house, ONE, env=env), wants_a_signature, untouched, code=3),
    "run, signed": Act(_signed_run, wants_a_signature, untouched),
    "run, policy edited": Act(lambda house, _, env: run(house, ONE, env=env), edited_policy, untouched, code=3),
    "run, target moved": Act(
        lambda house, _, env: run(house, ONE, "--", "touch", "new", env=env), moved_target, untouched
    ),
    "propose": Act(_by_hand("propose"), nothing, usable),
    "approve": Act(_sign("approve"), proposed(*ONE), votes),
    "approve with a strange key": Act(_sign("approve", "mallory"), proposed(*ONE), votes, code=3),
    "reject": Act(_sign("reject", "alice", "--reason", "no"), proposed(*ONE), votes),
    "reject, exported for the first time": Act(_first_export, to_be_exported, votes),
    "promote": Act(_promote, signed(*ONE), committed_or_restored),
    "promote, three targets": Act(_promote, signed(*THREE), committed_or_restored),
    "promote, unsigned": Act(_promote, proposed(*ONE), restored, code=3),
    "promote, not well": Act(_promote, unwell, restored, code=7),
    "promote a policy": Act(_promote_policy, signed_policy, in_force_or_not),
    "promote a policy, not exported": Act(
        _promote_policy, signed_policy, in_force_or_not, code=7, faults="audit.exported:error"
    ),
    "restore a policy": Act(_restore_policy, signed_policy, in_force_or_not, code=3),
    "restore": Act(_take_back, signed(*ONE), taken_back_or_not),
    "restore, three targets": Act(_take_back, signed(*THREE), taken_back_or_not),
    "recover a promotion": Act(_recover, signed(*THREE), restored),
    "recover a run": Act(_recover_run, nothing, untouched),
    "recover what was put back by hand": Act(_confirm, signed(*ONE), restored),
    "image build": Act(
        lambda house, _, env: house("image", "build", house.image, "--json", env=env), nothing, untouched
    ),
    "create": Act(_by_hand("create"), nothing, usable),
    "create that fails": Act(_by_hand("create"), nothing, usable, code=1, faults="engine.created:error"),
    "snapshot": Act(_by_hand("snapshot"), nothing, usable),
    "rollback": Act(_by_hand("rollback"), nothing, usable),
    "fork": Act(_by_hand("fork"), nothing, usable),
    "destroy": Act(_by_hand("destroy"), nothing, usable),
    "prune": Act(lambda house, _, env: house("prune", "--json", env=env), expiring, untouched),
}
