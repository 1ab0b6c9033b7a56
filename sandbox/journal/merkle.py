"""The Merkle tree of RFC 6962: roots, inclusion and consistency proofs, and their verification.

Owns the hashing and nothing else: no files, no keys, no JSON. An `Edge` is the compact right edge of a
tree, from which it grows by one leaf in O(log n) without looking at the leaves before; the proofs work on
the list of leaf hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

EMPTY_ROOT = hashlib.sha256(b"").digest()
HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf; the prefix keeps leaves and inner nodes apart."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Edge:
    """The roots of the perfect subtrees that a tree of `size` leaves is made of, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def grown(self, leaf: bytes) -> Edge:
        """The edge with one more leaf, given by its hash."""
        kept = list(self.hashes)
        rest = self.size
        while rest & 1:
            leaf = node_hash(kept.pop(), leaf)
            rest >>= 1
        return Edge(self.size + 1, (*kept, leaf))

    def root(self) -> bytes:
        """The root hash of the whole tree."""
        if not self.hashes:
            return EMPTY_ROOT
        *rest, result = self.hashes
        for left in reversed(rest):
            result = node_hash(left, result)
        return result

    def pack(self) -> bytes:
        """The hashes in one string, for storing; the size is stored beside it."""
        return b"".join(self.hashes)

    @classmethod
    def unpack(cls, size: int, packed: bytes) -> Edge:
        """The edge again. Raises ValueError where size and hashes can't belong together."""
        hashes = tuple(packed[i : i + HASH_BYTES] for i in range(0, len(packed), HASH_BYTES))
        if size < 0 or len(packed) != HASH_BYTES * size.bit_count():
            raise ValueError(f"a tree of {size} leaves does not have an edge of {len(packed)} bytes")
        return cls(size, hashes)


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes."""
    edge = Edge()
    for leaf in leaves:
        edge = edge.grown(leaf)
    return edge.root()


def _split(size: int) -> int:
    """The largest power of two below `size` (> 1): where RFC 6962 cuts a tree in two."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """What shows that leaf `index` is in the tree over all of `leaves`, nearest sibling first."""
    if not 0 <= index < len(leaves):
        raise ValueError(f"no leaf {index} in a tree of {len(leaves)}")
    if len(leaves) == 1:
        return []
    cut = _split(len(leaves))
    if index < cut:
        return [*inclusion_proof(leaves[:cut], index), root(leaves[cut:])]
    return [*inclusion_proof(leaves[cut:], index - cut), root(leaves[:cut])]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether `proof` shows that `leaf` is leaf `index` of the tree with that size and root."""
    if not 0 <= index < size:
        return False
    sides = _sides(index, size - 1, len(proof))
    if sides is None:
        return False
    for from_left, sibling in zip(sides, proof, strict=True):
        leaf = node_hash(sibling, leaf) if from_left else node_hash(leaf, sibling)
    return leaf == expected_root


def _sides(node: int, last: int, steps: int) -> list[bool] | None:
    """For each step from `node` up to the root, whether its sibling is on the left; None: that many don't fit."""
    sides = []
    for _ in range(steps):
        if last == 0:
            return None
        sides.append(bool(node & 1) or node == last)
        if sides[-1]:
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return sides if last == 0 else None


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """What shows that the tree over all of `leaves` extends the one over the first `old_size` of them."""
    if not 0 <= old_size <= len(leaves):
        raise ValueError(f"a tree of {len(leaves)} leaves has no earlier size {old_size}")
    if old_size in (0, len(leaves)):
        return []
    return _subproof(leaves, old_size, whole=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    """`whole`: the old tree is this very subtree, so its root is known to the verifier."""
    if old_size == len(leaves):
        return [] if whole else [root(leaves)]
    cut = _split(len(leaves))
    if old_size <= cut:
        return [*_subproof(leaves[:cut], old_size, whole=whole), root(leaves[cut:])]
    return [*_subproof(leaves[cut:], old_size - cut, whole=False), root(leaves[:cut])]


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the new tree has the old one as its beginning."""
    if not 0 <= old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    path = list(proof)
    if old_size.bit_count() == 1:
        path.insert(0, old_root)
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    sides = _sides(node, last, len(path) - 1)
    if sides is None or not path:
        return False
    old = new = path[0]
    for from_left, sibling in zip(sides, path[1:], strict=True):
        old = node_hash(sibling, old) if from_left else old
        new = node_hash(sibling, new) if from_left else node_hash(new, sibling)
    return old == old_root and new == new_root
