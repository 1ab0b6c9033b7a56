"""Files of configuration that two parsers would read differently: the command refuses each at its line (T25)."""

from __future__ import annotations

import pytest

from tests.flows.house import House, listing

pytestmark = pytest.mark.one_engine

GOOD = {
    "policy": 'quorum: 2\npeople:\n  alice: {keys: ["KEY"]}\n  bob: {keys: ["KEY2"]}\n',
    "target": "kind: directory\npath: PATH\npolicy: production\n",
    "task": "targets: [app]\ncommand: [touch, made-by-task]\n",
    "manager": "stop: an incident\n",
}
FILES = {
    "policy": "policies/production.yaml",
    "target": "targets/app.yaml",
    "task": "tasks/fix.yaml",
    "manager": "manager.yaml",
}
ASKED = {
    "policy": ("policy", "check", "production"),
    "target": ("target", "check", "app"),
    "task": ("run", "fix"),
    "manager": ("list",),
}
TRICKS: dict[str, tuple[str | bytes, str]] = {
    "duplicate key": ("SAME", "is there twice, first in line"),
    "anchor": ("bake: &a 1", "anchors (&) and aliases (*) are refused"),
    "alias": ("bake: *a", "anchors (&) and aliases (*) are refused"),
    "tag": ("bake: !!python/object/apply:os.system ['touch /tmp/pwned']", "tags (!) are refused"),
    "merge key": ("<<: {quorum: 1}", "merge keys (<<) are refused"),
    "unknown key": ("quorums: 1", "the key 'quorums' is unknown"),
    "not UTF-8": (b"bake: \xff\xfe", "the file is not UTF-8"),
    "YAML 1.1 boolean": ("bake: no", "reads the unquoted word no as false"),
    "sexagesimal": ("bake: 22:30:00", "a number in a form of its own"),
    "octal": ("bake: 0777", "a number in a form of its own"),
    "not a number": ("bake: .nan", "a number in a form of its own"),
    "key that is not text": ("1: one", "is not text"),
    "second document": ("---\nquorum: 1", "a second document starts here"),
    "invisible character": ("bake: a\u0007b", "is not allowed"),
}


@pytest.fixture
def furnished(house: House) -> House:
    house.write("tasks", "fix", {})
    for kind, text in GOOD.items():
        if kind != "manager":
            write(house, kind, text)
    return house


def write(house: House, kind: str, text: str) -> None:
    filled = text.replace("PATH", str(house.root / "production/app"))
    for name, person in (("KEY2", "bob"), ("KEY", "alice")):
        filled = filled.replace(name, house.public(person))
    (house.config / FILES[kind]).write_text(filled)


@pytest.mark.parametrize("kind", GOOD)
def test_t25_a_file_that_could_mean_two_things_is_refused_at_its_line(furnished: House, kind: str) -> None:
    house, path = furnished, furnished.config / FILES[kind]
    before = listing(house.root / "production")
    for name, (line, says) in TRICKS.items():
        write(house, kind, GOOD[kind])
        with path.open("ab") as file:
            first = GOOD[kind].splitlines()[0].encode()
            file.write((first if line == "SAME" else line.encode() if isinstance(line, str) else line) + b"\n")
        error = house(*ASKED[kind], "--json").expect(2).json["error"]
        assert says in error["says"], name
        assert f"{path.name}:" in error["says"], name
        assert error["hint"], name
    path.unlink()
    assert listing(house.root / "production") == before


def test_t25_what_can_not_be_read_one_way_governs_nothing(furnished: House) -> None:
    """A key that is there twice would be read as the first by one parser and as the last by another."""
    house = furnished
    house.policy()
    change = house.propose("echo new > new.txt")
    house.sign_off(change)
    path = house.config / FILES["policy"]
    path.write_text(path.read_text() + "quorum: 1\n")
    house.approve(change, "carol").expect(3)
    assert any("can't be read" in reason for reason in house.promote(change).expect(3).json["reasons"])
    refused = [one for one in house("audit", "log", "--json").json["entries"] if one["event"] == "promotion.refused"]
    assert refused
