"""Reads targets, tasks and policies from the files of `--config`, strictly, with the line of every error.

Owns how a file becomes a spec: its place, its name, what is wrong in it and the cure. Must not look at the
systems that the files speak of; only `check_outside` looks at directories, to keep the manager's own out of
what it promotes.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sandbox.errors import ConfigError, InputError, NotFound
from sandbox.spec import ManagerSpec, PolicySpec, Spec, TargetSpec, TaskSpec
from sandbox.terminal import escape

if TYPE_CHECKING:
    from sandbox.strict_yaml import Document, Location

S = TypeVar("S", TargetSpec, TaskSpec, PolicySpec)
P = TypeVar("P", bound=Spec)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KINDS: dict[type[Spec], str] = {TargetSpec: "target", TaskSpec: "task", PolicySpec: "policy"}
_FOLDERS = {"target": "targets", "task": "tasks", "policy": "policies"}


class Config:
    """The files of one configuration directory; each is read anew whenever it is asked for, and parsed anew where it
    says something else than the last time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._last: dict[Path, tuple[bytes, Spec]] = {}

    def target(self, name: str) -> TargetSpec:
        """The target of `targets/NAME.yaml`. Raises NotFound, and ConfigError where the file is wrong."""
        return self._spec(TargetSpec, name)

    def task(self, name: str) -> TaskSpec:
        """The task of `tasks/NAME.yaml`; raises as `target` does."""
        return self._spec(TaskSpec, name)

    def policy(self, name: str) -> PolicySpec:
        """The policy of `policies/NAME.yaml`; raises as `target` does."""
        return self._spec(PolicySpec, name)

    @property
    def manager_file(self) -> Path:
        """Where the file about the manager itself is, or would be."""
        return self.directory / "manager.yaml"

    def manager(self) -> ManagerSpec:
        """What `manager.yaml` says of the manager itself; all defaults where there is none. Raises ConfigError."""
        path = self.manager_file
        if not path.exists():
            return ManagerSpec()
        return _parsed(ManagerSpec, "manager's configuration", path, self._read(path, "file", "manager"), {})

    def targets(self) -> list[str]:
        """Names of the targets that have a file, sorted; a file that is wrong counts."""
        return self._names("target")

    def tasks(self) -> list[str]:
        """Names of the tasks that have a file, sorted."""
        return self._names("task")

    def policies(self) -> list[str]:
        """Names of the policies that have a file, sorted."""
        return self._names("policy")

    def path(self, kind: str, name: str) -> Path:
        """Where the file of a `target`, `task` or `policy` is, or would be."""
        return self.directory / _FOLDERS[kind] / f"{name}.yaml"

    def _names(self, kind: str) -> list[str]:
        folder = self.directory / _FOLDERS[kind]
        if not folder.is_dir():
            return []
        return sorted(path.stem for path in folder.glob("*.yaml") if _NAME.fullmatch(path.stem))

    def _spec(self, cls: type[S], name: str) -> S:
        kind = _KINDS[cls]
        if not _NAME.fullmatch(name):
            raise NotFound(
                f"{escape(name)!r} can't be the name of a {kind}.",
                f"Use letters, digits, '.', '-' and '_', as in the file name. {self._what_exists(kind)}",
            )
        path = self.path(kind, name)
        data = self._read(path, kind, name)
        last, spec = self._last.get(path, (None, None))
        if last != data or not isinstance(spec, cls):
            spec = _parsed(cls, kind, path, data, {"name": name})
            self._last[path] = data, spec
        return spec

    def _read(self, path: Path, kind: str, name: str) -> bytes:
        try:
            with path.open("rb") as file:
                _refuse_world_writable(path, os.fstat(file.fileno()).st_mode)
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(path, kind, name) from None
        except OSError as error:
            raise ConfigError(f"{path} can't be read: {error.strerror}.", "Make it a readable file.") from None

    def must_exist(self) -> None:
        """Raise NotFound where there is no configuration directory."""
        if not self.directory.is_dir():
            raise self._nowhere()

    def _nowhere(self) -> NotFound:
        folders = " ".join(f"{self.directory}/{folder}" for folder in _FOLDERS.values())
        return NotFound(
            f"There is no configuration directory {self.directory}.",
            f"Make it with `mkdir -p {folders}`, or name another with --config or SANDBOX_CONFIG.",
        )

    def _missing(self, path: Path, kind: str, name: str) -> NotFound:
        if not self.directory.is_dir():
            return self._nowhere()
        other = path.with_suffix(".yml")
        if other.exists():
            return NotFound(f"There is no {kind} {name!r}.", f"Rename {other} to {path.name}.")
        return NotFound(f"There is no {kind} {name!r} in {self.directory}.", self._what_exists(kind, path))

    def _what_exists(self, kind: str, path: Path | None = None) -> str:
        names = self._names(kind)
        if names:
            return f"There is: {', '.join(names)}."
        return f"Write {path or self.directory / _FOLDERS[kind] / 'NAME.yaml'} first; there is none yet."


def _parsed(cls: type[P], kind: str, path: Path, data: bytes, given: dict[str, str]) -> P:
    """A file's bytes as a spec; `given` is what its place says of it. Raises ConfigError."""
    from sandbox.strict_yaml import load  # here, because most commands read no file of it

    document = load(data, str(path))
    if not isinstance(document.value, dict):
        raise ConfigError(f"{path}:1: a {kind} is a mapping of keys to values.", "Write lines such as `key: value`.")
    if given and "name" in document.value:
        line = document.line_of(("name",))
        raise ConfigError(f"{path}:{line}: 'name' is taken from the file's name.", f"Remove it: this is {path.stem!r}.")
    try:
        # JSON and strict: a list becomes a tuple, but no text becomes a number and no true a 1.
        return cls.model_validate_json(json.dumps({**given, **document.value}), strict=True)
    except ValidationError as error:
        raise _first_error(error, cls, document, path) from None


def check_outside(protected: Path, target: Path, what: str = "the manager's home") -> None:
    """Refuse a target that contains `protected`, or lies in it (I1). Raises InputError.

    Links and bind mounts are seen through: directories are compared, not only their names. Neither needs to exist.
    """
    for inner, outer in ((protected, target), (target, protected)):
        if holds(outer, inner):
            relation = "contains" if outer == target else "lies in"
            raise InputError(
                f"The target {escape(str(target))} {relation} {what} {escape(str(protected))}.",
                "A change could then rewrite what decides about it. Move one of them elsewhere.",
            )


def check_new_home(home: Path, config: Config) -> None:
    """Refuse a home that is not there yet and would be made within a target: a real system. Raises InputError."""
    if home.exists():
        return
    for name in config.targets():
        try:
            spec = config.target(name)
        except InputError:
            continue  # what is wrong in it is told to whoever asks for it
        check_outside(home, Path(spec.path))


def holds(outer: Path, inner: Path) -> bool:
    """Whether `outer` is `inner` or contains it, seen through links and bind mounts; neither needs to exist."""
    top, step = os.path.realpath(outer), os.path.realpath(inner)
    found = _identity(top)
    while step != top and (found is None or _identity(step) != found):
        above = os.path.dirname(step)
        if above == step:
            return False
        step = above
    return True


def _identity(path: str) -> tuple[int, int] | None:
    """What is there, by whatever name; None where nothing is, or nothing that can be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _refuse_world_writable(path: Path, mode: int) -> None:
    """Who may write a policy decides what it allows (I2)."""
    folder = path.parent.stat().st_mode
    open_folder = folder & stat.S_IWOTH and not folder & stat.S_ISVTX
    if mode & stat.S_IWOTH or open_folder:
        wrong = path if mode & stat.S_IWOTH else path.parent
        raise ConfigError(f"{wrong} can be written by everybody on this machine.", f"Run `chmod o-w {wrong}`.")


def _first_error(error: ValidationError, cls: type[Spec], document: Document, path: Path) -> ConfigError:
    """The error that comes first in the file; the others are only counted."""
    details = error.errors(include_url=False)
    placed = sorted(details, key=lambda one: document.line_of(_location(one)))
    first = placed[0]
    says, hint = _explain(first, cls, document)
    more = f" ({len(placed) - 1} more after this one.)" if len(placed) > 1 else ""
    return ConfigError(f"{path}:{document.line_of(_location(first))}: {says}", hint + more)


def _location(details: ErrorDetails) -> Location:
    return tuple(step for step in details["loc"] if step != "[key]")


def _explain(details: ErrorDetails, cls: type[Spec], document: Document) -> tuple[str, str]:
    where = _location(details)
    name = escape(".".join(str(step) for step in where))
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(str(where[-1]), sorted(_fields_at(cls, where[:-1]) - {"name"}), where[:-1])
    if kind == "missing":
        return f"{name!r} is missing.", f"Add `{where[-1]}: …`."
    value = _value_at(document.value, where)
    if kind == "string_type" and isinstance(value, bool | int | float):
        shown = json.dumps(value)
        return f"{name!r} must be text, and {shown} without quotes is not.", f'Write "{shown}" in quotes.'
    if kind == "tuple_type":
        return f"{name!r} must be a list.", f"Write it as {_as_list(value)}."
    if kind == "value_error":
        return _rule_broken(details, name)
    message = details["msg"][0].lower() + details["msg"][1:]
    return f"{name!r}: {escape(message)}.", f"It is {escape(json.dumps(value))} now."


def _rule_broken(details: ErrorDetails, name: str) -> tuple[str, str]:
    message = escape(str(details.get("ctx", {}).get("error", details["msg"])))
    says = f"{name!r}: {message}." if name else f"{message}."
    if message == "must be an absolute path":
        return says, "Start it with '/': a target is the same directory wherever the command is run."
    return says, "See the guide for what this key means."


def _unknown_key(key: str, known: list[str], parent: Location) -> tuple[str, str]:
    where = f" in {escape('.'.join(map(str, parent)))!r}" if parent else ""
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"It knows: {', '.join(known)}."
    return f"the key {escape(key)!r} is unknown{where}.", hint


def _value_at(value: Any, location: Location) -> Any:
    for step in location:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _as_list(value: object) -> str:
    if isinstance(value, str):
        return escape(json.dumps(value.split() or [value]))
    return "[…]"


def _fields_at(cls: type[BaseModel], location: Location) -> set[str]:
    """The keys that the mapping at `location` may have."""
    annotation: Any = cls
    for step in location:
        model = _model_in(annotation)
        if model is not None and step in model.model_fields:
            annotation = model.model_fields[str(step)].annotation
    model = _model_in(annotation)
    return set(model.model_fields) if model else set()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation speaks of, as in `tuple[Check, ...]` or `dict[Name, Person]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model), None)
