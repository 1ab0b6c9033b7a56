"""RFC 6962 hashing against its known vectors, and both proofs under attack."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sandbox.journal.merkle import (
    EMPTY_ROOT,
    Edge,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    ("e3b0c442", "b855"),
    ("6e340b9c", "a01d"),
    ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125", ""),
    ("aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77", ""),
    ("d37ee418", "14b7"),
    ("4e3bbb1f", "64d4"),
    ("76e67dad", "87ef"),
    ("ddb89be4", "4c8c"),
    ("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328", ""),
]

hashes = st.lists(st.binary(max_size=4).map(leaf_hash), min_size=1, max_size=40)


@pytest.mark.parametrize("size", range(9))
def test_g1_the_roots_are_those_of_the_rfc(size: int) -> None:
    starts, ends = ROOTS[size]
    found = root([leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES[:size]]).hex()
    assert found.startswith(starts)
    assert found.endswith(ends)


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word: an oracle that shares no code with the edge."""
    if len(leaves) == 1:
        return leaves[0]
    cut = 1
    while cut * 2 < len(leaves):
        cut *= 2
    return hashlib.sha256(b"\x01" + by_definition(leaves[:cut]) + by_definition(leaves[cut:])).digest()


@given(hashes)
def test_g1_the_edge_grows_to_the_root_of_the_definition(leaves: list[bytes]) -> None:
    edge = Edge()
    for count, leaf in enumerate(leaves, 1):
        edge = Edge.unpack(edge.size, edge.pack()).grown(leaf)
        assert edge.root() == by_definition(leaves[:count])
    assert len(edge.hashes) == len(leaves).bit_count()


def test_an_edge_that_cannot_be_is_refused() -> None:
    for size, packed in ((1, b""), (0, b"x" * 32), (3, b"x" * 63), (-1, b"x" * 32)):
        with pytest.raises(ValueError, match="does not have an edge"):
            Edge.unpack(size, packed)
    assert Edge().root() == EMPTY_ROOT


@given(hashes, st.data())
def test_g1_every_leaf_proves_its_inclusion_and_nothing_else_does(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, top = inclusion_proof(leaves, index), root(leaves)
    assert verify_inclusion(leaves[index], index, len(leaves), proof, top)
    assert not verify_inclusion(leaf_hash(b"another"), index, len(leaves), proof, top)
    assert not verify_inclusion(leaves[index], index, len(leaves), [*proof, top], top)
    assert not verify_inclusion(leaves[index], index, len(leaves), proof[:-1], top) or not proof
    assert not verify_inclusion(leaves[index], len(leaves), len(leaves), proof, top)
    other = data.draw(st.integers(0, len(leaves) - 1))
    assume(leaves[other] != leaves[index])
    assert not verify_inclusion(leaves[index], other, len(leaves), proof, top)


@given(hashes, st.data())
def test_g1_a_longer_log_proves_that_it_extends_the_older(leaves: list[bytes], data: st.DataObject) -> None:
    old = data.draw(st.integers(0, len(leaves)))
    proof, old_root, new_root = consistency_proof(leaves, old), root(leaves[:old]), root(leaves)
    assert verify_consistency(old, len(leaves), old_root, new_root, proof)
    assert not verify_consistency(old, len(leaves), old_root, new_root, [*proof, new_root])
    assert not verify_consistency(len(leaves) + 1, len(leaves), old_root, new_root, proof)
    if old:
        edited = data.draw(st.integers(0, old - 1))
        changed = [leaf_hash(b"edited") if i == edited else leaf for i, leaf in enumerate(leaves)]
        assume(changed != leaves)
        assert not verify_consistency(old, len(leaves), old_root, root(changed), consistency_proof(changed, old))
        assert not verify_consistency(old, len(leaves), root(changed[:old]), new_root, proof)
    for position in range(len(proof)):
        broken = [*proof[:position], leaf_hash(b"broken"), *proof[position + 1 :]]
        assert not verify_consistency(old, len(leaves), old_root, new_root, broken)


def test_proofs_of_what_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="no leaf 1"):
        inclusion_proof([leaf_hash(b"")], 1)
    with pytest.raises(ValueError, match="no earlier size 2"):
        consistency_proof([leaf_hash(b"")], 2)
