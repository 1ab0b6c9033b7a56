"""Somebody else writes to the targets between the apply and the restore: theirs is kept, all else comes back (F3)."""

from __future__ import annotations

from pathlib import Path

from tests.faults.acts import THREE, production, signed
from tests.flows.house import House

FIRE = """
cd {root}
test -e .fired && exit 1
touch .fired
echo theirs > app/app.py
echo theirs > app/made/theirs.txt
echo theirs > app/elsewhere.txt
echo more >> web/data-of-theirs
rm -r etc/made
exit 1
"""
"""Once, when the last target was applied: on a changed path, in a new directory, beside both, and a removal."""


def test_f3_a_restore_under_fire_loses_nothing_and_says_what_it_kept(house: House) -> None:
    root = house.root / "production"
    hook = {"after_apply": [["sh", "-c", FIRE.format(root=root)]]}
    house.write("targets", "etc", {"kind": "directory", "path": str(root / "etc"), "policy": "production", **hook})
    before = production(house)
    change = signed(*THREE)(house)["change"]

    answer = house.promote(change).expect(7)
    done = answer.json
    (root / ".fired").unlink()
    assert (root / "app/elsewhere.txt").read_text() == "theirs\n"
    assert (root / "web/data-of-theirs").read_text() == "more\n"
    for theirs in ("app/elsewhere.txt", "web/data-of-theirs"):
        (root / theirs).unlink()
    assert production(house) == before, "all the rest is back"
    kept = {target["name"]: [Path(one) for one in target["kept_aside"]] for target in done["targets"]}
    assert [one.read_text() for one in kept["app"]] == ["theirs\n", "theirs\n"]
    assert kept["web"] == kept["etc"] == []
    assert [target["status"] for target in done["targets"]] == ["restored"] * 3
    told = "\n".join(done["reasons"])
    for name in ("app.py", "made/theirs.txt", "elsewhere.txt"):
        assert f"app: somebody else wrote meanwhile to {name}" in told
    assert "web: somebody else wrote meanwhile to data-of-theirs; left as it is" in told
    for one in kept["app"]:
        assert str(one) in told
    house("prune").expect(0)
    assert all(one.exists() for one in kept["app"]), "what others wrote is never pruned"
