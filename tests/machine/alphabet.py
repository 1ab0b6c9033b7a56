"""What one step of a sequence can be, and how sequences are drawn: mostly honest, with one thing that is not.

What is attacked in ten ways is refused for nine reasons, and shows nothing. So each sequence has one crime, of a kind
that is drawn first (rare ones come as often as common ones), in a scene where it could matter; the other steps are
mostly what honest people do.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from tests.machine.rules import PLACES, POLICY_EDITS, SETTINGS, SIGNED_EDITS, TARGETS

STEPS = 4
"""Few, and many sequences."""
CHANGES = ("plain", "hers", "both", "ours", "theirs")
PEOPLE = ("alice", "bob", "carol")
KEYS = ("alice-1", "alice-2", "bob-1", "carol-1", "mallory-1")
VOTERS = (("bob", "carol"), ("carol", "alice"), ("bob", "mallory"), ("mallory",), ("alice",), ("bob", "dave"), ())
"""Who is asked to sign a change of a policy."""
DIES_AT = (None,) * 13 + tuple(range(1, 27))
"""At which durable step of a command its process is killed."""
BASE_EDITS = ("content", "mode", "new", "gone", "recreated", "as before", "as before")

Act = tuple[Any, ...]
Choices = tuple[Sequence[Any], ...]

HONEST: dict[str, Choices] = {
    "promote": (CHANGES, DIES_AT),
    "restore": (DIES_AT,),
    "recover": (),
    "approve": (CHANGES, PEOPLE),
    "tick": ((2, 2, 6),),
}
CRIMES: dict[str, Choices] = {
    "approve_with": (CHANGES, PEOPLE, KEYS),
    "sign_again": (("plain",),),
    "sign_ones_own": (("hers",),),
    "sign_without_role": (("both",),),
    "reject": (CHANGES, PEOPLE),
    "tick": ((-30, -11, -2, 6, 11, 13, 25),),
    "tick_there_and_back": ((2, 11, 30),),
    "edit_base": (TARGETS, BASE_EDITS),
    "edit_change": (CHANGES, ("blobs/*", "*.changes", "seal.json", "request.json", None)),
    "swap_policy": (TARGETS, POLICY_EDITS),
    "propose_policy": (TARGETS, SIGNED_EDITS, VOTERS),
    "edit_settings": (TARGETS, tuple(SETTINGS)),
    "stop": ((True, True, False),),
    "forge_vote": (CHANGES, PEOPLE, KEYS, ("approve", "approve", "reject")),
    "replay_vote": (CHANGES, PEOPLE, ("plain", "hers", "both", "git")),
    "reopen": (("plain", "plain", "hers", "both"),),
    "forge_record": (CHANGES, ("launcher", "rehearsals", "expires_at")),
    "forge_launch": (("ours",), ("unsigned", "renamed", "gone")),
}
"""What nobody should do, or what should make people think again."""
SCENES: dict[str, tuple[str, ...]] = {
    "alone": ("alice",),
    "half signed": ("bob",),
    "signed": ("bob", "carol"),
    "taken back": ("bob", "carol"),
}
"""Who has signed each of the changes, where they may; in the last one `plain` was promoted and restored, too."""
_WHERE = {
    "approve_with": ("alone", "half signed"),
    "sign_again": ("alone",),
    "sign_ones_own": ("half signed",),
    "sign_without_role": ("half signed",),
    "forge_vote": ("alone", "half signed"),
    "replay_vote": ("alone", "half signed"),
    "reopen": ("taken back",),
}
_ANYWHERE = 0.15
_CRIME_AGAIN = 0.25
_AIMED = 0.7
_TWICE = ("edit_change", "edit_settings", "propose_policy")
"""Those that find least by themselves."""


def _all(kinds: dict[str, Choices]) -> list[Act]:
    """Every step of these kinds; each kind as often as any other."""
    found: list[Act] = []
    for kind, choices in kinds.items():
        own = [(kind, *arguments) for arguments in itertools.product(*choices)]
        found += itertools.islice(itertools.cycle(own), 400)
    return found


_HONEST_ACTS, _ALL_ACTS = _all(HONEST), _all(HONEST | CRIMES)


class Plot:
    """One sequence before it is played: its scene, its crime, and what is tried at its end."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.seed = seed
        self.crime = dice.choice([*CRIMES, *_TWICE])
        self.at = dice.randrange(STEPS)
        scenes = _WHERE.get(self.crime, ("signed",))
        self.scene = dice.choice(list(SCENES) if dice.random() < _ANYWHERE else scenes)
        self.victim = dice.choice(_victims(self.crime))
        self.last = [dice.choice([name for name in CHANGES if name != self.victim])]
        self.last.insert(dice.randrange(2), self.victim)
        """What is tried at the end, in this order: every sequence comes to the moment of truth."""

    def act(self, step: int, pick: int) -> Act:
        """The step number `step`, from 0."""
        dice = random.Random(f"{self.seed} {step} {pick}")
        if step == self.at:
            return (self.crime, *self._aimed([dice.choice(choices) for choices in CRIMES[self.crime]], dice))
        return dice.choice(_ALL_ACTS if dice.random() < _CRIME_AGAIN else _HONEST_ACTS)

    def _aimed(self, arguments: list[Any], dice: random.Random) -> list[Any]:
        """Mostly against what is tried at the end, and mostly something that matters."""
        choices = CRIMES[self.crime]
        if choices and dice.random() < _AIMED:
            if self.victim in choices[0]:
                arguments[0] = self.victim
            elif choices[0] == TARGETS:
                arguments[0] = dice.choice(PLACES[self.victim])
            if len(choices) > 1 and arguments[1] == "as before":
                arguments[1] = dice.choice([one for one in choices[1] if one != "as before"])
        return arguments


def _victims(crime: str) -> Sequence[str]:
    choices = CRIMES[crime]
    named = choices[0] if choices and choices[0][0] in CHANGES else CHANGES
    return [name for name in named if name != "theirs"]  # which can't be promoted whatever else is right
