"""The rules under which the state machine plays: policies and settings as its model has them, and every edit of them.

Owns their first state. Keys are names here (`alice-2`), times are hours after the start.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.machine.model import Policy

TARGETS = ("app", "web", "ops")
PLACES = {"plain": ("app",), "hers": ("app",), "both": ("app", "web"), "ours": ("ops",), "theirs": ("ops",)}
"""The targets of each change."""
WINDOW = (5, 7)
"""From which hour to which nothing is promoted to `app`."""
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
        "deny": [WINDOW],
    },
    "web": {
        "quorum": 1,
        "people": {"bob": {"keys": ["bob-1"], "roles": []}, "carol": {"keys": ["carol-1"], "roles": []}},
        "approve_within_s": 10 * 3600,
    },
    "ops": {
        "quorum": 1,
        "people": {"bob": {"keys": ["bob-1"], "roles": []}, "carol": {"keys": ["carol-1"], "roles": []}},
        "approve_within_s": 24 * 3600,
        "launcher": "signed",
        "launchers": {"dave": {"keys": ["dave-1"]}},
    },
}
POLICY_EDITS = (
    "quorum", "mallory", "leaver", "key", "roles", "window", "unprotected", "unlauncher", "unreadable", "other",
    "as before",
)  # fmt: skip
SIGNED_EDITS = ("quorum", "mallory", "leaver", "key", "roles", "unprotected", "unlauncher")
"""Those that make another policy, which people may sign."""
SETTINGS: dict[str, dict[str, Any]] = {
    "as before": {},
    "commands": {"after_apply": [["true"]]},
    "health": {"health": [{"run": ["true"]}]},
    "ignore": {"ignore": ["*.nothing"]},
}


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
        "unprotected": lambda: [policy.pop(what, None) for what in ("protected", "deny")],
        "unlauncher": lambda: policy.pop("launcher", None),
    }
    edits.get(how, lambda: None)()
    return None if how == "unreadable" else policy
