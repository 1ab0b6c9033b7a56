"""Any sequence of honest, careless and hostile steps: nothing is promoted that the invariants A to C forbid.

Real manager, journal, files, signatures and crashes; what is allowed is said by `model`, which knows nothing of the
product's own decision. Where the model forbids nothing, the promotion must succeed: a machine that refuses
everything would prove nothing.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from sandbox.errors import SandboxError
from sandbox.lifecycle.signoff.signing import NAMESPACE
from sandbox.records import PromotionRecord
from tests.conftest import engine_names
from tests.engines import Registry
from tests.flows.house import House
from tests.machine import model
from tests.machine.alphabet import STEPS, Plot
from tests.machine.model import Vote, World
from tests.machine.rules import POLICIES, TARGETS, edited_policy
from tests.machine.stage import Stage, below

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "160"))
"""How many sequences; where it is set, they are other ones each time."""
pytestmark = pytest.mark.timeout(max(300, EXAMPLES * 10))


class Machine(RuleBasedStateMachine):
    """One life of a house. `stage` is put in by the test."""

    stage: Stage

    @initialize(seed=st.integers(0, 2**32 - 1))
    def start(self, seed: int) -> None:
        self.plot, self.step = Plot(seed), 0
        note(f"    {self.plot.scene}; tried at the end: {', '.join(self.plot.last)}")
        self.changes = self.stage.reset(self.plot.scene)
        self.world = World(in_force=copy.deepcopy(POLICIES))
        self.committed: list[tuple[str, str]] = []
        self.flight: tuple[str, str, list[str], dict[str, str]] | None = None
        """A command that was killed: its verb, the change, what forbade it then, and production as it was."""
        self.unsure: set[str] = set()
        """Changes that may be closed without our having seen it."""
        self.kept: dict[Path, bytes] = {}

    @rule(pick=st.integers(0, 2**32 - 1))
    def act(self, pick: int) -> None:
        """One step of the plot: drawn as such, the simplest would come half of the time."""
        name, *arguments = self.plot.act(self.step, pick)
        self.step += 1
        note(f"    {name}{tuple(arguments)}")
        getattr(self, name)(*arguments)

    # --- what people do ----------------------------------------------------------------------------------

    def approve(self, name: str, person: str) -> None:
        self.approve_with(name, person, f"{person}-1")

    def approve_with(self, name: str, person: str, key: str) -> None:
        change = self.changes[name]
        self._look()
        vote = Vote(person, key, "approve", self.world.now)
        try:
            self.stage.approve(change, person, key)
        except SandboxError:
            return
        change.votes.append(vote)
        now = self.stage.policies_now()  # or as they were: an edit that nobody signed is not in force (C9)
        policies = [policy for target in change.targets for policy in (now[target], change.policies[target]) if policy]
        assert any(model.counts(vote, change, policy) for policy in policies), "a vote was taken that is nobody's"
        assert person != change.launcher, "C2: the launcher's vote was taken"

    def sign_again(self, name: str) -> None:
        """One person who has signed already, with another key (C1)."""
        self.approve_with(name, "alice", "alice-2")

    def sign_ones_own(self, name: str) -> None:
        """Who launched it (C2)."""
        self.approve_with(name, "alice", "alice-1")

    def sign_without_role(self, name: str) -> None:
        """Who makes the quorum, but does not hold the role that a protected path needs (C5)."""
        self.approve_with(name, "alice", "alice-1")

    def reject(self, name: str, person: str) -> None:
        change = self.changes[name]
        self._look()
        try:
            with self.stage.manager() as manager:
                manager.reject(change.id, person=person, key=self.stage.key(f"{person}-1"), reason="no")
        except SandboxError:
            return
        change.closed = f"{person} rejected it"

    def promote(self, name: str, dies_at: int | None) -> None:
        self._look()
        if dies_at is None:
            self._promote(name)
            return
        self.flight = ("promote", name, self._against(name), self.stage.production())
        self.stage.killed("promote", self.changes[name].id, dies_at)

    def _promote(self, name: str) -> None:
        before, reasons = self.stage.production(), self._against(name)
        try:
            with self.stage.manager() as manager:
                record = manager.promote(self.changes[name].id)
        except SandboxError as error:
            self._refused(name, before, reasons, str(error))
            return
        if record.status == "committed":
            self._promoted(name, before, reasons, record)
        else:
            assert record.status == "refused", record
            self._refused(name, before, reasons, "; ".join(record.reasons))

    def restore(self, dies_at: int | None) -> None:
        self._look()
        if not self.committed:
            return
        name, promotion = self.committed[-1]
        if dies_at is None:
            self._restore(name, promotion)
            return
        self.flight = ("restore", name, [], self.stage.production())
        self.stage.killed("restore", promotion, dies_at)

    def _restore(self, name: str, promotion: str) -> None:
        before = self.stage.production()
        as_promoted = self._as_promoted(name, before)
        try:
            with self.stage.manager() as manager:
                record = manager.restore(promotion)
        except SandboxError:
            in_order = as_promoted and not self._recreated(name) and not self.changes[name].edited
            assert not in_order, "nobody wrote, and it could not be taken back"
            assert self.stage.production() == before
            return
        assert record.status == "restored"
        self.committed.pop()
        if as_promoted:
            assert not self.stage.moved() & set(self.changes[name].targets)

    def propose_policy(self, policy: str, how: str, voters: tuple[str, ...]) -> None:
        """An edited policy becomes a change, and some are asked to sign it; it is promoted at the end, or not."""
        self.swap_policy(policy, how)
        self._look()
        try:
            change = self.stage.propose_policy(policy, self.world.in_force, "dave", self.world.now)
        except SandboxError:
            return
        self.changes["policy"] = change
        for person in voters:
            self.approve("policy", person)

    def recover(self) -> None:
        self._look()
        with self.stage.manager() as manager:
            manager.recover()

    # --- what happens to it ------------------------------------------------------------------------------

    def tick(self, hours: int) -> None:
        self.world.now += timedelta(hours=hours)
        self.stage.dates.ahead = self.world.now

    def tick_there_and_back(self, hours: int) -> None:
        """Somebody sets the clock, something is logged, and it is set back."""
        self.tick(hours)
        with self.stage.manager() as manager:
            manager.context.ledger.note("looked")
        self._look()
        self.tick(-hours)

    def edit_base(self, place: str, how: str) -> None:
        self._look()
        path, file = self.stage.path(place), self.stage.path(place) / "app.py"
        if how == "as before" and self.stage.moved() and not self.committed:
            self.stage.put_back(place)
        elif how == "content":
            file.write_text("somebody else\n")
        elif how == "mode" and file.exists():
            file.chmod(0o600)
        elif how == "new":
            (path / "theirs").write_text("new\n")
        elif how == "gone":
            file.unlink(missing_ok=True)
        elif how == "recreated":
            self.stage.recreate(place)

    # --- what nobody should do ---------------------------------------------------------------------------

    def forge_launch(self, name: str, how: str) -> None:
        """By SQL: nobody signed the launch, or somebody else did, or there was none."""
        edit = {"unsigned": "json_set(body, '$.signature', '')", "renamed": "json_set(body, '$.person', 'erin')"}
        self._look()
        self.stage.rewrite_part(self.changes[name], edit.get(how, ""))
        self.changes[name].forged.add("launch")

    def edit_settings(self, target: str, how: str) -> None:
        self.stage.set_settings(target, how)
        self.world.edited = {one for one, what in self.stage.settings.items() if what != "as before"}

    def stop(self, on: bool) -> None:
        self.stage.stop(on=on)
        self.world.stopped = on

    def edit_change(self, name: str, part: str | None) -> None:
        """One digit of one of its files; None: all of them as they were."""
        change = self.changes[name]
        if part is None:
            for path in [path for path in self.kept if change.id in path.parts]:
                path.write_bytes(self.kept.pop(path))
            change.edited.clear()
            return
        path = self.stage.sealed_file(change, part)
        self.kept.setdefault(path, path.read_bytes())
        path.chmod(0o600)
        path.write_bytes(_edited(path.read_bytes()))
        change.edited.add(path.name)

    def forge_vote(self, name: str, person: str, key: str, decision: str) -> None:
        """A row that the manager never took; where everything about it is right, it is a vote after all."""
        self._forge(name, name, Vote(person, key, decision, self.world.now), NAMESPACE)

    def replay_vote(self, name: str, person: str, source: str) -> None:
        """A row with what a person really signed, but for another change or another purpose."""
        vote = Vote(person, f"{person}-1", "approve", self.world.now, genuine=source == name)
        self._forge(name, name if source == "git" else source, vote, "git" if source == "git" else NAMESPACE)

    def _forge(self, name: str, signed: str, vote: Vote, namespace: str) -> None:
        self._look()
        change = self.changes[name]
        if "request.json" in self.changes[signed].edited | change.edited:
            return
        self.stage.forge_vote(change, vote, self.changes[signed], namespace)
        change.votes.append(vote)
        self.unsure.add(name)
        heard = any(model.counts(vote, change, policy) for policy in change.policies.values())
        if vote.decision == "reject" and heard and vote.person != change.launcher:
            change.closed = change.closed or f"{vote.person} rejected it"

    def reopen(self, name: str) -> None:
        """By SQL, with the spent nonces forgotten; the file that marks a nonce as spent stays, as does the log."""
        self._rewrite(name, "status", "'open'")

    def forge_record(self, name: str, what: str) -> None:
        value = {"launcher": "'erin'", "rehearsals": "json('[]')", "expires_at": "'2999-01-01T00:00:00Z'"}[what]
        self._rewrite(name, what, value)
        if what != "expires_at":  # the signed request has its own
            self.changes[name].forged.add(what)

    def _rewrite(self, name: str, what: str, value: str) -> None:
        self._look()
        self.stage.rewrite("change", self.changes[name].id, f"json_set(body, '$.{what}', {value})")
        self.unsure.add(name)

    def swap_policy(self, policy: str, how: str) -> None:
        edited = edited_policy(policy, how)
        if how == "other":
            self.stage.name_policy(policy, TARGETS[TARGETS.index(policy) - 1])
        elif how == "as before":
            self.stage.name_policy(policy, policy)
            self.stage.set_policy(policy, edited)
        else:
            self.stage.set_policy(policy, edited)

    # --- what must hold ----------------------------------------------------------------------------------

    @invariant()
    def nothing_is_promoted_twice(self) -> None:
        """B5, B6: what stands in production was promoted once, and one change on it alone."""
        names = [name for name, _ in self.committed]
        assert len(names) == len(set(names))

    def teardown(self) -> None:
        if not hasattr(self, "plot"):
            return
        for name in (*(["policy"] if "policy" in self.changes else []), *self.plot.last):
            self._look()
            self._promote(name)

    def _against(self, name: str) -> list[str]:
        self.world.policies = self.stage.policies_now()
        self.world.moved = self.stage.moved()
        return model.against(self.changes[name], self.world)

    def _promoted(self, name: str, before: dict[str, str], reasons: list[str], record: PromotionRecord) -> None:
        change = self.changes[name]
        assert reasons == [], f"{name} was promoted"
        change.closed = "it was promoted before"
        after = self.stage.production()
        if change.wanted is not None:
            assert after == before, "a policy was promoted, and files have changed"
            self.world.in_force |= change.wanted
            return
        for target in TARGETS:
            expected = self.stage.predicted[name] if target in change.targets else before
            assert below(target, after) == below(target, expected), f"{target} after {name}"
        self.committed.append((name, record.promotion))

    def _refused(self, name: str, before: dict[str, str], reasons: list[str], says: str) -> None:
        assert self.stage.production() == before, "it was refused, and something changed"
        assert reasons or name in self.unsure, f"{name} was refused though nothing forbids it: {says}"

    def _look(self) -> None:
        """The next command: it ends what a killed one left, and every entry of the log has its time."""
        if self.flight:
            flight, self.flight = self.flight, None
            self._settle(*flight)
        with self.stage.manager() as manager:
            self.world.latest = max(entry.at for entry in manager.audit_log().entries) - self.stage.dates.start

    def _settle(self, verb: str, name: str, reasons: list[str], before: dict[str, str]) -> None:
        """After a killed command: either it is done, and was allowed, or nothing has changed and all is as before."""
        change = self.changes[name]
        with self.stage.manager() as manager:
            status = self.stage.stored(manager, change).status
            records = [one for one in manager.promotions() if one.change == change.id]
        assert status != "promoting"
        assert all(one.status in ("committed", "restored", "refused") for one in records), records
        self.unsure.add(name)
        done = [one for one in records if one.status == "committed" and not one.restores]
        if verb == "restore":
            if not done:
                self.committed = [pair for pair in self.committed if pair[0] != name]
            return
        if done and name not in [one for one, _ in self.committed]:
            self._promoted(name, before, reasons, done[-1])
        else:
            assert self.stage.production() == before, "it was killed and not committed, and something changed"

    def _as_promoted(self, name: str, found: dict[str, str]) -> bool:
        return all(
            below(target, found) == below(target, self.stage.predicted[name]) for target in self.changes[name].targets
        )

    def _recreated(self, name: str) -> bool:
        return any(self.stage.is_recreated(target) for target in self.changes[name].targets)


def _edited(data: bytes) -> bytes:
    """The same bytes but one digit; a JSON document stays one."""
    at = max(data.rfind(digit) for digit in b"0123456789")
    return data[:at] + str((data[at] + 1 - ord("0")) % 10).encode() + data[at + 1 :]


@pytest.fixture(scope="module")
def stage(pytestconfig: pytest.Config, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    engine = engine_names(pytestconfig)[0]
    registry.engine(engine, "base")
    made = Stage(House(tmp_path_factory.mktemp("machine"), engine, "base"))
    with closing(made), made.dates.installed():
        yield made


def test_a1_a2_a4_a6_b2_b4_b5_b6_b7_c1_c2_c3_c5_c6_c8_c9_c11_e8_no_sequence_promotes_what_is_forbidden(
    stage: Stage,
) -> None:
    play(stage, EXAMPLES)


def play(stage: Stage, examples: int) -> None:
    """Try that many sequences."""
    same = "MACHINE_EXAMPLES" not in os.environ
    many = settings(
        max_examples=examples, stateful_step_count=STEPS, deadline=None, derandomize=same,
        suppress_health_check=list(HealthCheck), print_blob=True, database=None,
    )  # fmt: skip
    run_state_machine_as_test(type("Machine", (Machine,), {"stage": stage}), settings=many)
