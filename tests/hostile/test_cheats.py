"""An agent that breaks the code and makes the tests pass: what stops it, what only names it, and what neither does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flows.house import House
from tests.hostile import cheats

pytestmark = [pytest.mark.timeout(180), pytest.mark.one_engine]


def judged(house: House, script: str, *, junit: bool) -> dict[str, Any]:
    house.target("lib", cheats.FILES)
    check = {"run": cheats.RUN, "pristine": ["tests/**"], **({"junit": cheats.REPORT} if junit else {})}
    task = {"targets": ["lib"], "image": house.image, "command": ["sh", "-ec", script], "checks": [check]}
    house.write("tasks", "cheat", task)
    answer: dict[str, Any] = house("run", "cheat", "--json").json
    return answer


def refused(answer: dict[str, Any]) -> bool:
    return answer["status"] == "rolled_back" and answer["failure"]["step"].startswith("check")


@pytest.mark.parametrize("cheat", cheats.PRISTINE)
def test_t10_a_clean_room_with_the_tests_of_the_base_stops_it(house: House, cheat: str) -> None:
    assert refused(judged(house, cheats.PRISTINE[cheat], junit=False))


@pytest.mark.parametrize("cheat", cheats.COUNTED)
def test_d2_t10_the_tests_of_the_base_are_counted(house: House, cheat: str) -> None:
    answer = judged(house, cheats.COUNTED[cheat], junit=True)
    assert refused(answer)
    assert answer["failure"]["exit_code"] == 0, "else it is no cheat"


@pytest.mark.parametrize("cheat", cheats.NAMED)
def test_t10_what_a_check_can_not_see_is_named(house: House, cheat: str) -> None:
    script, path, kind = cheats.NAMED[cheat]
    answer = judged(house, script, junit=True)
    assert answer["status"] == "proposed", "it got through the check: then a person has to be told"
    found = [hazard for hazard in answer["change"]["hazards"] if hazard["path"] == path]
    assert kind in {hazard["kind"] for hazard in found}


def test_t10_what_lies_to_the_comparison_itself_is_only_in_the_difference(house: House) -> None:
    """Said in docs/decisions/0012: checks are evidence, not proof; this is what people read the difference for."""
    change = judged(house, cheats.UNSEEN, junit=True)["change"]
    assert "__eq__" in house("review", change["id"]).expect(0).stdout.decode()


def test_d2_an_honest_change_shows_its_numbers(house: House) -> None:
    new = "printf '\\n\\ndef test_new():\\n    assert cents(2.0) == 2\\n' >> tests/test_rounding.py"
    change = judged(house, f"{new}; echo '# ok' >> rounding.py", junit=True)["change"]
    (evidence,) = change["evidence"]
    assert evidence["counts"] == {"ran": 3, "skipped": 0, "failed": 0, "base_ran": 3, "base_skipped": 0}
    assert "3 ran, 0 skipped; on the bare base 3 ran" in house("review", change["id"]).expect(0).stdout.decode()
