"""How containers and images of one home are named and labelled, and the blueprint that they carry.

Owns names and labels. Must not talk to the engine. Another process finds a sandbox by these alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sandbox.engines.base import CreateRequest
from sandbox.engines.docker_engine import waiter
from sandbox.errors import InputError
from sandbox.spec import Limits, Network
from sandbox.trees.entry import digest

HOME = "sandbox.home"
KIND = "sandbox.kind"
"""`sandbox`, `snapshot`, `base`, `image`, or a temporary container: `builder`, `reader`, `killer`, `mender`,
`onlooker`."""
ID = "sandbox.id"
"""The snapshot that an image is; of a container, the sandbox that it was made for: its name tells which it is now."""
BLUEPRINT = "sandbox.blueprint"
BASE = "sandbox.base"
"""Digest of the base layer that a container or image stands on."""
OWNER = "sandbox.owner"
"""The engine object that a temporary container belongs to; dead ones' containers are swept."""
DEFINITION = "sandbox.definition"
"""Digest of the definition that an image was built from."""

_RETIRED = ".gone-"
_NEXT = ".next"

TEMPORARY = ("builder", "reader", "killer", "mender", "onlooker")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a container needs to be made again; rides as a label on it and on its snapshots."""

    image: str
    """As the caller named it."""
    image_id: str
    """The image proper, without any base: what a killer is made from."""
    base: str
    """Digest of the base layer."""
    cwd: str
    network: Network
    limits: dict[str, float]
    env: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """As a label."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Blueprint:
        """From a label."""
        return cls(**json.loads(text))

    @property
    def allowance(self) -> Limits:
        """The limits as the specification has them."""
        return Limits.model_validate(self.limits)


def is_retired(container: str) -> bool:
    """Whether a container of this name was replaced by a rollback and is about to be removed."""
    return _RETIRED in container


def blueprint(request: CreateRequest, image_id: str) -> Blueprint:
    """The blueprint of a sandbox to be created."""
    paths = [placement.path for placement in request.placements]
    return Blueprint(
        image=request.image,
        image_id=image_id,
        base=base_digest(image_id, [(item.path, item.tree.id) for item in request.placements]),
        cwd=paths[0] if len(paths) == 1 else "/workspace",
        network=request.network,
        limits=request.limits.model_dump(),
        env=dict(request.env),
    )


def base_digest(image_id: str, placements: Sequence[tuple[str, str]]) -> str:
    """Names a base layer: what it stands on and what is placed where."""
    parts = [image_id.encode(), waiter.program("amd64") or b""]
    for path, tree in placements:
        parts += [path.encode(), tree.encode()]
    return digest(parts)


class Names:
    """Names and labels of one home."""

    def __init__(self, home_id: str) -> None:
        """Any home id will do; what Docker can't have in a name is replaced by a digest of it."""
        plain = re.fullmatch(r"[a-z0-9]{1,40}", home_id)
        self.home = home_id if plain else hashlib.sha256(home_id.encode()).hexdigest()[:16]

    def container(self, sandbox: str) -> str:
        """The container of a sandbox. Raises InputError for what can't be an id."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}", sandbox):
            raise InputError(f"{sandbox!r} is not the id of a sandbox or snapshot.")
        return f"sandbox-{self.home}-{sandbox}"

    def successor(self, sandbox: str) -> str:
        """The container that takes a sandbox's place at the end of a rollback."""
        return f"{self.container(sandbox)}{_NEXT}"

    def retired(self, sandbox: str) -> str:
        """A name for a container that a rollback has replaced, until it is removed."""
        return f"{self.container(sandbox)}{_RETIRED}{secrets.token_hex(4)}"

    def sandbox(self, container: str) -> str:
        """The sandbox that a container of this home is, or was until a rollback, or is about to be."""
        bare = container.removeprefix("/").removeprefix(self.container("x")[:-1])
        return bare.partition(_RETIRED)[0].removesuffix(_NEXT)

    def snapshot(self, snapshot: str) -> str:
        """The image of a snapshot. Raises InputError for what can't be an id."""
        self.container(snapshot)
        return f"sandbox-{self.home}/snapshot:{snapshot}"

    def base(self, base: str) -> str:
        """The image of a base layer."""
        return f"sandbox-{self.home}/base:{base}"

    def labels(self, kind: str, **more: str) -> dict[str, str]:
        """All of our labels, so that none is inherited from an image; `more` by the last part of its name."""
        labels = dict.fromkeys((ID, BLUEPRINT, BASE, OWNER), "")
        labels |= {HOME: self.home, KIND: kind}
        return labels | {f"sandbox.{key}": value for key, value in more.items()}

    def of_home(self, *kinds: str, **more: str) -> dict[str, list[str]]:
        """A filter for listing: all of these labels; of kinds, at most one can be asked for at once."""
        wanted = [f"{HOME}={self.home}", *(f"{KIND}={kind}" for kind in kinds)]
        return {"label": wanted + [f"sandbox.{key}={value}" for key, value in more.items()]}
