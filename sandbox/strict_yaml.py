"""Reads YAML that can mean one thing only, and remembers the line of every value.

Owns the subset: one document; mappings with distinct text keys, lists, text, numbers, true, false and null. Anchors,
aliases, tags, merge keys and the YAML 1.1 words and numbers that mean something else than they say are
refused. Must not know any configuration file's shape.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from sandbox.errors import ConfigError
from sandbox.terminal import escape

Location = tuple[str | int, ...]
MAX_BYTES = 1 << 20
MAX_DEPTH = 32

_PREFIX = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says. `lines` has the line (from 1) of every key and list item by its location; () is the top."""

    value: object
    lines: dict[Location, int] = field(default_factory=dict)

    def line_of(self, location: Location) -> int:
        """The line of the closest thing that is there, from `location` upwards."""
        for end in range(len(location), -1, -1):
            if location[:end] in self.lines:
                return self.lines[location[:end]]
        return 1


def load(data: bytes, name: str) -> Document:
    """Read one file's bytes; `name` is how errors call the file. Raises ConfigError `NAME:LINE: …`."""
    return _Reader(name).read(data)


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Location, int] = {}

    def read(self, data: bytes) -> Document:
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{self.name}:1: the file is larger than {MAX_BYTES} bytes.", "Make it smaller.")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{self.name}:{line}: the file is not UTF-8.", "Save it as UTF-8.") from None
        try:
            self._refuse_indirection(yaml.parse(text, Loader=yaml.SafeLoader))
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            said = f"the character \\u{{{ord(text[error.position]):x}}} is not allowed"
            raise ConfigError(f"{self.name}:{line}: {said}.", "Remove it; it is not visible.") from None
        except yaml.MarkedYAMLError as error:
            raise self._unreadable(error) from None
        if node is None:
            raise ConfigError(f"{self.name}:1: the file is empty.", "Write at least the keys that it must have.")
        return Document(self._value(node, ()), self.lines)

    def _wrong(self, place: yaml.Event | yaml.Node, says: str, hint: str) -> ConfigError:
        return ConfigError(f"{self.name}:{place.start_mark.line + 1 if place.start_mark else 1}: {says}", hint)

    def _unreadable(self, error: yaml.MarkedYAMLError) -> ConfigError:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = escape(error.problem or "it can't be read")
        hint = "Check the indentation, and quote text that has : # { [ or * in it."
        if "\\t" in problem:
            hint = "Indent with spaces: YAML does not allow tabs there."
        return ConfigError(f"{self.name}:{line}: this is not valid YAML: {problem}.", hint)

    def _refuse_indirection(self, events: Iterator[yaml.Event]) -> None:
        """What could make a file mean something else than it shows (T25)."""
        documents = depth = 0
        for event in events:
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self._wrong(
                    event, "anchors (&) and aliases (*) are refused.", "Write the value out, or quote it."
                )
            if getattr(event, "tag", None) is not None:
                raise self._wrong(event, "tags (!) are refused.", "Remove the tag, or quote the text.")
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._wrong(event, "a second document starts here.", "Keep one document a file.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise self._wrong(event, f"nested more than {MAX_DEPTH} deep.", "Make it flatter.")

    def _value(self, node: yaml.Node, location: Location) -> object:
        self.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            here = (*location, key)
            if key in found:
                raise self._wrong(
                    key_node,
                    f"the key {escape(key)!r} is there twice, first in line {self.lines[here]}.",
                    "Keep one of them.",
                )
            self.lines[here] = key_node.start_mark.line + 1
            found[key] = self._value(value_node, here)
        return found

    def _key(self, node: yaml.Node) -> str:
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if node.tag == f"{_PREFIX}merge":
            raise self._wrong(node, "merge keys (<<) are refused.", "Write the keys out.")
        if not isinstance(key, str):
            shown = escape(str(node.value)) if isinstance(node, yaml.ScalarNode) else "a collection"
            raise self._wrong(node, f"the key {shown} is not text.", "Put it in quotes.")
        return key

    def _scalar(self, node: yaml.Node) -> object:
        text: str = node.value
        kind = node.tag.removeprefix(_PREFIX)
        if kind == "bool":
            return self._truth(node, text)
        if kind == "int" and _INTEGER.fullmatch(text):
            return int(text)
        if kind in ("int", "float"):
            if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
                return float(text)
            raise self._ambiguous(node, text, "a number in a form of its own")
        if kind == "null" and text in _NULLS:
            return None
        return text

    def _truth(self, node: yaml.Node, text: str) -> bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise self._ambiguous(node, text, "true" if text.lower() in ("yes", "on") else "false")

    def _ambiguous(self, node: yaml.Node, text: str, meaning: str) -> ConfigError:
        return self._wrong(
            node,
            f"YAML reads the unquoted word {escape(text)} as {meaning}.",
            f"Write {json.dumps(text)} in quotes for the text, or say plainly what you mean.",
        )
