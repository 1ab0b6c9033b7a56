"""What is asked for: targets, tasks, checks, limits, policies, as frozen values.

Owns the shape of the configuration files and its plain rules. Must not read files (`config` does) and
must not look at the machine: a spec that loads here loads anywhere.
"""

# No annotations from __future__: as texts, each would be compiled anew at every start.
import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""A name that is also a file name and a path component: letters, digits, dot, dash, underscore."""

Command = Annotated[tuple[str, ...], Field(min_length=1)]
"""A program and its arguments; no shell is involved."""

Network = Literal["none", "full"]
"""`none`: not even the host's loopback. `full`: whatever the engine's default network reaches."""

EngineName = Literal["docker", "native"]


class Spec(BaseModel):
    """Base of all specs: frozen, and a key that is not known is an error, not a surprise."""

    # Deferred: validators are built for what a command uses, when it does.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class HealthCheck(Spec):
    """A command on the manager's host that exits 0 while the target is healthy."""

    run: Command
    timeout_s: float = Field(default=10, gt=0)


class TargetSpec(Spec):
    """A real system that can be captured, changed and put back."""

    name: Name
    kind: Literal["directory"]
    path: str
    """Absolute path of the directory."""
    policy: Name | None = None
    """Who may sign; a target without one can be proposed to, never promoted."""
    ignore: tuple[str, ...] = ()
    """Patterns (as in .gitignore) of what is not captured, compared or touched."""
    health: tuple[HealthCheck, ...] = ()
    grace_s: float = Field(default=10, ge=0)
    """How long after an apply (or a restore) the first healthy answer may take, in seconds."""
    bake_s: float = Field(default=0, ge=0)
    """How long the target must stay healthy before a promotion counts as committed, in seconds."""
    after_apply: tuple[Command, ...] = ()
    """Commands on the manager's host, run after an apply and again after a restore (reload a service)."""

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not PurePosixPath(value).is_absolute():
            raise ValueError("must be an absolute path")
        return value


class Check(Spec):
    """A command that must exit 0 in the clean room."""

    run: Command
    pristine: tuple[str, ...] = ()
    """Patterns of paths that the clean room takes from the base, so that no agent rewrites its tests."""
    junit: str | None = Field(default=None, min_length=1)
    """Path of the JUnit XML file that the command writes, absolute or from the working directory. Then the same command
    is run on the bare base too, and every test that runs there must have run, none skipped."""
    timeout_s: float = Field(default=600, gt=0)


class Limits(Spec):
    """What one sandbox may use."""

    cpus: float = Field(default=1.0, gt=0)
    memory_mb: int = Field(default=1024, ge=16)
    pids: int = Field(default=512, ge=8)
    disk_mb: int = Field(default=10240, ge=1)
    """MiB that it may write, by the sizes of files, holes included: in all, in one file, and in one change set."""
    files: int = Field(default=500_000, ge=1)
    """Files, directories and links that it may make, and that one change set may touch."""
    output_mb: int = Field(default=256, ge=1)
    """MiB that one command may print."""
    timeout_s: float = Field(default=1800, gt=0)
    """For one step of a task."""


class TaskSpec(Spec):
    """What an agent is asked to do."""

    name: Name
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    asked: str = ""
    """The human's words, shown to reviewers beside what was done."""
    image: str | None = None
    """None: `host` on native, `base` on docker."""
    command: Command | None = None
    steps: tuple[Command, ...] = ()
    """Instead of `command`: several, with a snapshot before each."""
    env: dict[str, str] = {}
    checks: tuple[Check, ...] = ()
    limits: Limits = Limits()
    network: Network = "none"
    on_failure: Literal["rollback"] = "rollback"
    attempts: int = Field(default=1, ge=1, le=100)
    max_deleted: int | None = Field(default=None, ge=0)
    """Tripwire: more base entries deleted at any one time than this stops the agent and rolls back."""

    @model_validator(mode="after")
    def _one_kind_of_work(self) -> Self:
        if (self.command is None) == (not self.steps):
            raise ValueError("give either 'command' or 'steps'")
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("'targets' names one target twice")
        return self

    @property
    def work(self) -> tuple[Command, ...]:
        """The steps to run, in order."""
        return self.steps or (self.command,)  # type: ignore[return-value]


class Person(Spec):
    """Somebody who may sign: all keys of one person count as that one person."""

    keys: Annotated[tuple[str, ...], Field(min_length=1)]
    """OpenSSH public keys, as in an authorized_keys file without options."""
    roles: tuple[Name, ...] = ()


class ProtectedPaths(Spec):
    """Paths that need a vote of somebody who holds `role`."""

    paths: Annotated[tuple[str, ...], Field(min_length=1)]
    role: Name


class Budget(Spec):
    """Caps per promotion; above one of them it is refused, whoever signs."""

    max_deleted: int | None = Field(default=None, ge=0)
    max_changed: int | None = Field(default=None, ge=0)
    """Entries added, modified and deleted together."""


class Launcher(Spec):
    """Somebody, or a service, that may launch but never sign off."""

    keys: Annotated[tuple[str, ...], Field(min_length=1)]


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")


class DenyWindow(Spec):
    """A time, in UTC, in which nothing is promoted: on days of the week from clock to clock, or once."""

    start: str
    """`HH:MM`, or `YYYY-MM-DD HH:MM`."""
    end: str
    """Of the same kind; a clock that is not later than `start` is one of the next day."""
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    """Those on which it starts; none: every day."""
    reason: Annotated[str, StringConstraints(min_length=1)]

    @property
    def recurs(self) -> bool:
        """Every day or week, not once."""
        return len(self.start) == len("HH:MM")

    @model_validator(mode="after")
    def _is_a_time(self) -> Self:
        if _CLOCK.fullmatch(self.start) and _CLOCK.fullmatch(self.end):
            if self.start == self.end or self.start == "24:00":
                raise ValueError(f"from {self.start} to {self.end} is no stretch of a day")
            return self
        try:
            start, end = (datetime.strptime(text, "%Y-%m-%d %H:%M") for text in (self.start, self.end))
        except ValueError:
            raise ValueError('start and end are both "HH:MM" or both "YYYY-MM-DD HH:MM", in UTC') from None
        if end <= start or self.days:
            raise ValueError("days are for clock times alone" if self.days else f"{self.end} is not after {self.start}")
        return self


class PolicySpec(Spec):
    """Who may sign, how many people, what is protected, budgets, windows."""

    name: Name
    quorum: int = Field(ge=1)
    people: Annotated[dict[Name, Person], Field(min_length=1)]
    protected: tuple[ProtectedPaths, ...] = ()
    budget: Budget = Budget()
    approve_within_s: float = Field(default=86400, gt=0)
    """A request and its votes are void this long after the request was made."""
    evidence_within_s: float | None = Field(default=None, gt=0)
    """Checks and rehearsal must not be older than this when a change is promoted; None: as old as its request."""
    launcher: Literal["named", "signed"] = "named"
    """`signed`: whoever launches or takes part proves it with a signature."""
    launchers: dict[Name, Launcher] = {}
    """Who else may launch where `launcher` is `signed`: agents' services, say."""
    deny: tuple[DenyWindow, ...] = ()
    """When nothing is promoted."""
    max_open: int | None = Field(default=None, ge=1)
    """How many changes of one launcher may wait for people at a time; None: any number."""

    @model_validator(mode="after")
    def _people_are_distinct(self) -> Self:
        from sandbox.sshsig import key_blob  # here, because most commands read no policy

        owner_of: dict[bytes, str] = {}
        folded: dict[str, str] = {}
        named = [(f"people.{name}", name, person.keys) for name, person in self.people.items()]
        named += [(f"launchers.{name}", name, launcher.keys) for name, launcher in self.launchers.items()]
        for where, name, keys in named:
            if (twin := folded.setdefault(name.casefold(), where)) != where:
                raise ValueError(f"{where}: {twin} has the same name; one name, one person")
            for key in keys:
                try:
                    blob = key_blob(key)  # not its letters: base64 can spell one key in several ways
                except ValueError as error:
                    raise ValueError(f"{where}: {key!r} is not an OpenSSH public key: {error}") from None
                other = owner_of.setdefault(blob, name)
                if other != name:
                    raise ValueError(f"{where}: this key already belongs to {other}; one key, one person")
        if self.quorum > len(self.people):
            raise ValueError(f"quorum {self.quorum} can never be met by {len(self.people)} people")
        held = {role for person in self.people.values() for role in person.roles}
        for rule in self.protected:
            if rule.role not in held:
                raise ValueError(f"protected: nobody holds the role {rule.role!r}")
        return self


class ManagerSpec(Spec):
    """What holds for all targets of a configuration: the file `manager.yaml`."""

    audit_export: str | None = None
    """Absolute path of a copy of the audit log, away from the home: written before a promotion counts."""
    stop: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Why nothing may be promoted now; while this is there, nothing is."""

    @field_validator("audit_export")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not PurePosixPath(value).is_absolute():
            raise ValueError("must be an absolute path")
        return value
