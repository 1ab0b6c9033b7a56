"""Where the state machine plays: real homes with sealed changes, real targets, real keys, a clock that can be set.

Owns what lies outside the product and what is done to it behind its back. Must not judge (`model` does).
"""

from __future__ import annotations

import copy
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from unittest import mock

from sandbox import clock, records
from sandbox.errors import SandboxError
from sandbox.lifecycle.context import CHANGE, VOTE
from sandbox.lifecycle.signoff.signing import vote_message
from sandbox.manager import Manager
from sandbox.spec import TaskSpec
from tests.dates import SetClock
from tests.flows.house import House, listing
from tests.machine.alphabet import SCENES
from tests.machine.model import Change, Policy, Vote
from tests.machine.mortal import Mortals
from tests.machine.rules import PLACES, POLICIES, SETTINGS, TARGETS

SCRIPTS = {
    "plain": "echo 2 > app.py; rm -r data; mkdir made; echo x > made/x",
    "hers": "echo 3 > app.py",
    "both": "mkdir app/conf; echo y > app/conf/limits; echo 4 > web/app.py; rm web/data/rows.txt",
    "ours": "echo 5 > app.py",
    "theirs": "echo 6 > app.py",
}
LAUNCHERS = {"plain": "dave", "hers": "alice", "both": "dave", "ours": "dave", "theirs": "dave"}
LAUNCHED_WITH = {"ours": "dave-1", "theirs": "bob-1"}
"""`theirs` was launched by bob under another's name, so that he could sign it off."""
ROLES = {"both": {"app": ("security",)}}


class Stage:
    """A house with three sealed changes; `reset` makes it as it was when they had just been sealed."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._mortals = Mortals()
        self.policies = copy.deepcopy(POLICIES)
        self.named = {target: target for target in TARGETS}
        """By target: the policy that its configuration names."""
        self.settings = dict.fromkeys(TARGETS, "as before")
        self.dates = SetClock(datetime.now(UTC))
        with self.dates.installed():
            self._prepare()
        self.dates.start = datetime.now(UTC)

    # --- made once ---------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        (self.house.root / "aside").mkdir()
        for target in TARGETS:
            self.house.target(target, policy=target)
        self.since = self.dates.start
        self._write_config()
        self.base = self.production()
        self._changes = {name: self._seal(name) for name in SCRIPTS}
        self.predicted = {name: self._performed(name) for name in SCRIPTS}
        shutil.rmtree(self.house.home / "engines")  # nothing here runs a sandbox again, and it is large
        shutil.copytree(self.house.root / "production", self.house.root / "production.saved", symlinks=True)
        self._save("bare")
        for scene in SCENES:
            if scene != "taken back":
                self._sign("bare", scene)
                self._save(scene)
        self._sign("bare", "taken back")
        with self.manager() as manager:
            manager.restore(manager.promote(self._changes["plain"].id).promotion)
        assert self.production() == self.base
        self._save("taken back")

    def _sign(self, start: str, scene: str) -> None:
        """From a saved home: whoever signs there signs every change that they may."""
        self._furnish(start)
        for name, change in self._changes.items():
            for person in signers(name, scene):
                self.approve(change, person, f"{person}-1")

    def _seal(self, name: str) -> Change:
        """As a manager would that lets anybody launch under any name: it is `decide` alone that must know better."""
        targets, key = PLACES[name], LAUNCHED_WITH.get(name)
        task = TaskSpec(name="by-script", targets=targets, image=self.house.image, command=("sh", "-c", SCRIPTS[name]))
        early = ("sandbox.lifecycle.parts.check_known", "sandbox.lifecycle.parts.check_session")
        with mock.patch(early[0]), mock.patch(early[1]), self.manager(LAUNCHERS[name]) as manager:
            sealed = manager.run(task, key=self.key(key) if key else None).change
        assert sealed is not None
        policies = {target: copy.deepcopy(POLICIES[target]) for target in targets}
        window = timedelta(seconds=min(policy["approve_within_s"] for policy in policies.values()))
        return Change(
            sealed.id, sealed.digest, LAUNCHERS[name], targets, ROLES.get(name, {}), policies, expires=window,
            launched_with=key or "",
        )  # fmt: skip

    def _performed(self, name: str) -> dict[str, str]:
        """What the targets are when the script has been run on them: on a copy, without the product."""
        there = self.house.root / "performed"
        shutil.copytree(self.house.root / "production", there, symlinks=True)
        at = there if name == "both" else there / PLACES[name][0]
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
        self._furnish(scene)
        self.policies, self.named = copy.deepcopy(POLICIES), {target: target for target in TARGETS}
        self.settings = dict.fromkeys(TARGETS, "as before")
        self._write_config()
        self.stop(on=False)
        changes = copy.deepcopy(self._changes)
        for name, change in changes.items():
            change.votes = [Vote(one, f"{one}-1", "approve", timedelta()) for one in signers(name, scene)]
        if scene == "taken back":
            changes["plain"].closed = "it was promoted before"
        return changes

    def _furnish(self, scene: str) -> None:
        shutil.rmtree(self.house.home)
        shutil.copytree(self.house.root / f"home {scene}", self.house.home, symlinks=True)

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

    def propose_policy(self, name: str, change_of: dict[str, Policy], launcher: str, now: timedelta) -> Change:
        """What the files say of a policy as a change, as it should be: of the targets whose policy in force is another.

        `change_of`: the one in force, by target. Raises SandboxError.
        """
        with self.manager(launcher) as manager:
            view = manager.policy_propose(name)
        wanted = {target: policy for target, policy in self.policies_now().items() if self.named[target] == name}
        targets = tuple(sorted(target for target in wanted if wanted[target] != change_of[target]))
        assert tuple(one.name for one in view.targets) == targets
        policies = {target: copy.deepcopy(change_of[target]) for target in targets}
        window = timedelta(seconds=min(policy["approve_within_s"] for policy in policies.values()))
        new = {target: copy.deepcopy(policy) for target in targets if (policy := wanted[target])}
        return Change(view.id, view.digest, launcher, targets, {}, policies, expires=now + window, wanted=new)

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

    def rewrite_part(self, change: Change, edit: str) -> None:
        """Change the record of its launch by SQL; an empty edit: take it away."""
        session = f"(SELECT json_extract(body, '$.sandbox') FROM records WHERE id = '{change.id}')"
        where = f"WHERE kind = 'part' AND json_extract(body, '$.session') = {session}"
        with sqlite3.connect(self.house.home / "journal.db") as database:
            database.execute(f"UPDATE records SET body = {edit} {where}" if edit else f"DELETE FROM records {where}")
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

    def set_settings(self, target: str, how: str) -> None:
        """Write what else the target's file says about a promotion."""
        self.settings[target] = how
        self._write_config()

    def stop(self, *, on: bool) -> None:
        """Write, or take away, the file that stops every promotion."""
        file = self.house.config / "manager.yaml"
        file.write_text("stop: an incident\n") if on else file.unlink(missing_ok=True)

    def policies_now(self) -> dict[str, Policy | None]:
        """By target. A policy has a name: the same rules under another name are another policy."""
        return {
            target: policy if self.named[target] == target else (policy and {**policy, "name": self.named[target]})
            for target in TARGETS
            for policy in [self.policies[self.named[target]]]
        }

    def _write_config(self) -> None:
        for target, policy in self.named.items():
            more = SETTINGS[self.settings[target]]
            spec = {"kind": "directory", "path": str(self.path(target)), "policy": policy, **more}
            self.house.write("targets", target, spec)
        for name, rules in self.policies.items():
            if rules is None:
                (self.house.config / "policies" / f"{name}.yaml").write_text("quorum: [\n")
                continue
            known = {
                kind: {
                    person: {**one, "keys": [self.house.public(*_label(key)) for key in one["keys"]]}
                    for person, one in rules.get(kind, {}).items()
                }
                for kind in ("people", "launchers")
            }
            self.house.write("policies", name, {**rules, **known, "deny": [*map(self._window, rules.get("deny", ()))]})

    def _window(self, hours: tuple[int, int]) -> dict[str, str]:
        start, end = ((self.since + timedelta(hours=hour)).strftime("%Y-%m-%d %H:%M") for hour in hours)
        return {"start": start, "end": end, "reason": "a freeze"}


def _command(
    home: str, config: str, dates: tuple[datetime, timedelta], verb: Literal["promote", "restore"], name: str, step: int
) -> None:
    """A manager's whole life, in a process of its own."""
    with SetClock(*dates).installed(), Manager.open(home, config, "native", "dave") as manager:
        os.environ["SANDBOX_FAULT"] = f"*:kill:{step}"
        with suppress(SandboxError):
            manager.promote(name) if verb == "promote" else manager.restore(name)


def signers(name: str, scene: str) -> tuple[str, ...]:
    """Who has signed a change in a scene: those whom any of its policies names, but for its launcher."""
    named = {one for target in PLACES[name] for one in POLICIES[target]["people"]}
    return tuple(one for one in SCENES[scene] if one in named - {LAUNCHERS[name]})


def below(target: str, found: dict[str, str]) -> dict[str, str]:
    """The part of a listing of the production that is about one target."""
    return {path: what for path, what in found.items() if path.split("/")[0] == target}


def _label(key: str) -> tuple[str, int]:
    person, _, number = key.partition("-")
    return person, int(number)
