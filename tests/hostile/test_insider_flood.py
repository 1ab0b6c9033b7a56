"""Who floods the people who sign is stopped before they are (T27)."""

from __future__ import annotations

import pytest

from tests.flows.house import House

pytestmark = pytest.mark.one_engine


def test_t27_a_launcher_who_floods_is_refused_before_the_run(house: House) -> None:
    house.policy(max_open=2)
    first = house.propose("echo 1 > new")
    house.propose("echo 2 > new")
    refused = house.run("--", "touch", "new").expect(3)
    assert "2 changes of dave wait for people, and its policy allows 2" in refused.json["error"]["says"]
    assert house("list", "--json").expect(0).json["sandboxes"] == [], "refused before anything ran"
    entries = house("audit", "log", "--json").expect(0).json["entries"]
    assert [one["event"] for one in entries][-1] == "launch.refused"
    house(
        "reject", first["id"], "--as", "alice", "--key", str(house.key("alice")), "--reason", "once is enough"
    ).expect(0)
    house.propose("echo 3 > new")
