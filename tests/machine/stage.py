"""Where the state machine plays: real homes with sealed changes, real targets, real keys, a clock that can be set.

Owns what lies outside the product and what is done to it behind its back. Must not judge (`model` does).
"""

from __future__ import annotations

import copy
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from sandbox import clock, records
from sandbox.errors import SandboxError
from sandbox.lifecycle.context import CHANGE, VOTE
from sandbox.lifecycle.signoff.signing import vote_message
from sandbox.manager import Manager
from tests.dates import SetClock
from tests.flows.house import House, listing
from tests.machine.model import Change, Policy, Vote
from tests.machine.mortal import Mortals

TARGETS = ("app", "web")
SCRIPTS = {
    "plain": "echo 2 > app.py; rm -r data; mkdir made; echo x > made/x",
    "hers": "echo 3 > app.py",
    "both": "mkdir app/conf; echo y > app/conf/limits; echo 4 > web/app.py; rm web/data/rows.txt",
}
LAUNCHERS = {"plain": "dave", "hers": "alice", "both": "dave"}
SCENES = {"half signed": ("bob",), "signed": ("bob", "carol"), "taken back": ("bob", "carol")}
"""Who has signed each of the changes; in the last one `plain` was promoted and restored, too."""
ROLES = {"both": {"app": ("security",)}}
POLICIES: dict[str, Policy] = {
    "app": {
        "quorum": 2,
        "people": {
            "alice": {"keys": ["alice-1", "alice-2"], "roles": ["sre"]},
            "bob": {"keys": ["bob-1"], "roles": ["sre"]},
            "carol": {"keys": ["carol-1"], "roles": ["security"]},
        },
        "protected": [{"paths": ["conf/**"], "role": "security"}],
        "approve_within_s": 24 * 3600,
    },
    "web": {
        "quorum": 1,
        "people": {"bob": {"keys": ["bob-1"], "roles": []}, "carol": {"keys": ["carol-1"], "roles": []}},
        "approve_within_s": 10 * 3600,
    },
}


class Stage:
    """A house with three sealed changes; `reset` makes it as it was when they had just been sealed."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._mortals = Mortals()
        self.policies = copy.deepcopy(POLICIES)
        self.named = {target: target for target in TARGETS}
        """By target: the policy that its configuration names."""
        self.dates = SetClock(datetime.now(UTC))
        with self.dates.installed():
            self._prepare()
        self.dates.start = datetime.now(UTC)

    # --- made once ---------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        (self.house.root / "aside").mkdir()
        for target in TARGETS:
            self.house.target(target, policy=target)
        self._write_config()
        self.base = self.production()
        self._changes = {name: self._seal(name) for name in SCRIPTS}
        self.predicted = {name: self._performed(name) for name in SCRIPTS}
        shutil.rmtree(self.house.home / "engines")  # nothing here runs a sandbox again, and it is large
        shutil.copytree(self.house.root / "production", self.house.root / "production.saved", symlinks=True)
        for change in self._changes.values():
            self.approve(change, "bob", "bob-1")
        self._save("half signed")
        for change in self._changes.values():
            self.approve(change, "carol", "carol-1")
        self._save("signed")
        with self.manager() as manager:
            manager.restore(manager.promote(self._changes["plain"].id).promotion)
        assert self.production() == self.base
        self._save("taken back")

    def _seal(self, name: str) -> Change:
        targets = TARGETS if name == "both" else ("app",)
        options = [part for target in targets for part in ("--target", target)]
        ran = self.house(
            "run", "--json", *options, "--image", self.house.image, "--", "sh", "-c", SCRIPTS[name],
            env={"SANDBOX_IDENTITY": LAUNCHERS[name]},
        )  # fmt: skip
        sealed = ran.expect(0).json["change"]
        policies = {target: copy.deepcopy(POLICIES[target]) for target in targets}
        window = timedelta(seconds=min(policy["approve_within_s"] for policy in policies.values()))
        return Change(
            sealed["id"], sealed["digest"], LAUNCHERS[name], targets, ROLES.get(name, {}), policies, expires=window
        )

    def _performed(self, name: str) -> dict[str, str]:
        """What the targets are when the script has been run on them: on a copy, without the product."""
        there = self.house.root / "performed"
        shutil.copytree(self.house.root / "production", there, symlinks=True)
        at = there if name == "both" else there / "app"
        assert os.system(f"cd {at} && umask 022 && {SCRIPTS[name]}") == 0
        found = listing(there)
        shutil.rmtree(there)
        return found

    def _save(self, scene: str) -> None:
        shutil.copytree(self.house.home, self.house.root / f"home {scene}", symlinks=True)

    # --- each time ---------------------------------------------------------------------------------------

    def reset(self, scene: str) -> dict[str, Change]:
        """Everything as it was in one of the `SCENES`, and the changes as they were then."""
        self.dates.ahead = timedelta()
        for target in TARGETS:
            self.put_back(target)
        shutil.rmtree(self.house.home)
        shutil.copytree(self.house.root / f"home {scene}", self.house.home, symlinks=True)
        self.policies, self.named = copy.deepcopy(POLICIES), {target: target for target in TARGETS}
        self._write_config()
        changes = copy.deepcopy(self._changes)
        for change in changes.values():
            change.votes = [Vote(one, f"{one}-1", "approve", timedelta()) for one in SCENES[scene]]
        if scene == "taken back":
            changes["plain"].closed = "it was promoted before"
        return changes

    def put_back(self, target: str) -> None:
        """The target as it was captured: the same directory with the same content."""
        path, saved = self.path(target), self.house.root / "production.saved" / target
        if self.is_recreated(target):
            shutil.rmtree(path)
            self._aside(target).rename(path)
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        shutil.copytree(saved, path, symlinks=True, dirs_exist_ok=True)

    def path(self, target: str) -> Path:
        return self.house.root / "production" / target

    def production(self) -> dict[str, str]:
        return listing(self.house.root / "production")

    def moved(self) -> set[str]:
        """Targets that are not as they were when they were captured."""
        now = self.production()
        return {t for t in TARGETS if self.is_recreated(t) or below(t, now) != below(t, self.base)}

    def is_recreated(self, target: str) -> bool:
        return self._aside(target).exists()

    def recreate(self, target: str) -> None:
        """The same content in another directory of the same name."""
        if not self.is_recreated(target):
            self.path(target).rename(self._aside(target))
            shutil.copytree(self._aside(target), self.path(target), symlinks=True)

    def _aside(self, target: str) -> Path:
        return self.house.root / "aside" / target

    # --- as people do ------------------------------------------------------------------------------------

    @contextmanager
    def manager(self, launcher: str = "dave") -> Iterator[Manager]:
        """A manager as a new command would open it; it first recovers what another left."""
        with Manager.open(self.house.home, self.house.config, "native", launcher) as manager:
            yield manager

    def approve(self, change: Change, person: str, key: str) -> None:
        with self.manager() as manager:
            manager.approve(change.id, person=person, key=self.key(key), digest=change.digest[:12])

    def killed(self, verb: Literal["promote", "restore"], name: str, step: int) -> bool:
        """Begin a command in a process that dies at its Nth durable step; whether it did."""
        house, dates = self.house, (self.dates.start, self.dates.ahead)
        return self._mortals.run(_command, str(house.home), str(house.config), dates, verb, name, step)

    def close(self) -> None:
        self._mortals.close()

    # --- behind the manager's back -----------------------------------------------------------------------

    def key(self, name: str) -> Path:
        person, _, number = name.partition("-")
        return self.house.key(person, int(number))

    def forge_vote(self, change: Change, vote: Vote, request: Change, namespace: str) -> None:
        """Put a row with a real signature into the journal, past all that a vote is held against when it is given."""
        exact = (self.house.home / "changes" / request.id / "request.json").read_bytes()
        at = clock.now()
        message = vote_message(exact, person=vote.person, decision=vote.decision, reason="", signed_at=at)
        with self.manager() as manager:
            row = records.Vote(
                vote=clock.fresh_id("vote"), change=change.id, person=vote.person, decision=vote.decision,
                request=self.stored(manager, change).request, signed_at=at, message=message,
                signature=self._signed(message, vote.key, namespace),
            )  # fmt: skip
            manager.context.ledger.put(VOTE, row.vote, row, event="vote.approve", actor=vote.person)

    @staticmethod
    def stored(manager: Manager, change: Change) -> records.StoredChange:
        """Its record alone, which can be read where its files can't."""
        return manager.context.ledger.get(CHANGE, change.id, records.StoredChange)

    def _signed(self, message: bytes, key: str, namespace: str) -> str:
        path = self.house.root / "to-sign"
        path.write_bytes(message)
        signature = path.with_name("to-sign.sig")
        signature.unlink(missing_ok=True)
        done = os.system(f"ssh-keygen -q -Y sign -n {namespace} -f {self.key(key)} {path} 2>/dev/null")
        assert done == 0
        return signature.read_text()

    def rewrite(self, kind: str, record: str, edit: str) -> None:
        """Change a stored record by SQL, and forget the spent nonces: `edit` is an expression over its `body`."""
        with sqlite3.connect(self.house.home / "journal.db") as database:
            database.execute(f"UPDATE records SET body = {edit} WHERE kind = ? AND id = ?", (kind, record))
            database.execute("DELETE FROM nonces")
        database.close()

    def sealed_file(self, change: Change, pattern: str) -> Path:
        """A file of what was sealed, or of the request over it."""
        return min((self.house.home / "changes" / change.id).glob(pattern))

    def set_policy(self, name: str, policy: Policy | None) -> None:
        """Write a policy, or something that can't be read."""
        self.policies[name] = policy
        self._write_config()

    def name_policy(self, target: str, policy: str) -> None:
        """Let a target name another policy."""
        self.named[target] = policy
        self._write_config()

    def policies_now(self) -> dict[str, Policy | None]:
        """By target. A policy has a name: the same rules under another name are another policy."""
        return {
            target: policy if self.named[target] == target else (policy and {**policy, "name": self.named[target]})
            for target in TARGETS
            for policy in [self.policies[self.named[target]]]
        }

    def _write_config(self) -> None:
        for target, policy in self.named.items():
            self.house.write("targets", target, {"kind": "directory", "path": str(self.path(target)), "policy": policy})
        for name, rules in self.policies.items():
            if rules is None:
                (self.house.config / "policies" / f"{name}.yaml").write_text("quorum: [\n")
                continue
            people = {
                person: {**one, "keys": [self.house.public(*_label(key)) for key in one["keys"]]}
                for person, one in rules["people"].items()
            }
            self.house.write("policies", name, {**rules, "people": people})


def _command(
    home: str, config: str, dates: tuple[datetime, timedelta], verb: Literal["promote", "restore"], name: str, step: int
) -> None:
    """A manager's whole life, in a process of its own."""
    with SetClock(*dates).installed(), Manager.open(home, config, "native", "dave") as manager:
        os.environ["SANDBOX_FAULT"] = f"*:kill:{step}"
        with suppress(SandboxError):
            manager.promote(name) if verb == "promote" else manager.restore(name)


def edited_policy(name: str, how: str) -> Policy | None:
    """A policy as it is in the beginning, but for one edit; None: one that can't be read."""
    policy = copy.deepcopy(POLICIES[name])
    people = policy["people"]
    edits: dict[str, Callable[[], object]] = {
        "quorum": lambda: policy.update(quorum=3 - policy["quorum"]),
        "mallory": lambda: people.update(mallory={"keys": ["mallory-1"], "roles": ["security"]}),
        "leaver": lambda: people.pop("bob"),
        "key": lambda: people["carol"].update(keys=["mallory-1"]),
        "roles": lambda: people["bob"].update(roles=["security"]),
        "window": lambda: policy.update(approve_within_s=100 * 3600),
        "unprotected": lambda: policy.update(protected=[]),
    }
    edits.get(how, lambda: None)()
    return None if how == "unreadable" else policy


def below(target: str, found: dict[str, str]) -> dict[str, str]:
    """The part of a listing of the production that is about one target."""
    return {path: what for path, what in found.items() if path.split("/")[0] == target}


def _label(key: str) -> tuple[str, int]:
    person, _, number = key.partition("-")
    return person, int(number)
