"""What a sandbox has written is told, however it hides it."""

from __future__ import annotations

from contextlib import suppress

import pytest

from sandbox.engines.base import Engine
from sandbox.errors import NotFound, OverLimit
from tests.engines import Boxes

pytestmark = pytest.mark.timeout(120)

MIB = 1 << 20
HIDDEN = """
import os, sys
os.mkdir("start"); os.chdir("start")
for _ in range(int(sys.argv[1])): os.mkdir("d" * 50); os.chdir("d" * 50)
with open("hole", "w") as file: file.truncate(5 << 20)
with open("deep", "wb") as file: file.write(bytes(3 << 20))
for number in range(50): os.link("deep", f"name-{number}")
"""


def test_t28_what_is_written_is_told_at_any_depth_and_once_for_all_its_names(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    before, snapshot = engine.usage(box.id), box.snapshot()
    assert before.bytes < MIB
    assert box.python(HIDDEN, "40").exit_code == 0
    box.out("rm README data/ledger.bin")
    found = engine.usage(box.id)
    assert 8 * MIB <= found.bytes - before.bytes < 9 * MIB
    if found.files is not None and before.files is not None:
        assert 90 <= found.files - before.files < 120
    box.rollback(snapshot)
    assert engine.usage(box.id).bytes < MIB


def test_t28_what_is_nested_deeper_than_any_path_is_told_or_refused_never_overlooked(
    boxes: Boxes, engine: Engine
) -> None:
    box = boxes.create()
    assert box.python(HIDDEN, "120").exit_code == 0
    with suppress(OverLimit):
        assert engine.usage(box.id).bytes >= 8 * MIB


def test_usage_of_something_unknown_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound):
        engine.usage("sbx_unknown")
