"""Configuration is read strictly: every error names file and line and says the cure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.config import Config, check_outside
from sandbox.errors import ConfigError, InputError, NotFound

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAI" + 43 * "A"
"""A public key; with another last letter, another one."""
POLICY = f"""\
quorum: 2
people:
  alice: {{keys: ["ssh-ed25519 {KEY[:-1]}a alice"], roles: [sre]}}
  bob:
    keys: ["ssh-ed25519 {KEY[:-1]}b bob"]
protected: [{{paths: [".github/**"], role: sre}}]
budget: {{max_deleted: 200}}
approve_within_s: 3600
"""


def write(directory: Path, kind: str, name: str, text: str | bytes) -> Config:
    path = directory / kind / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True, mode=0o755)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o644)
    return Config(directory)


def wrong_policy(directory: Path, text: str | bytes) -> ConfigError:
    config = write(directory, "policies", "p", text)
    with pytest.raises(ConfigError) as caught:
        config.policy("p")
    return caught.value


def wrong_target(directory: Path, text: str) -> ConfigError:
    config = write(directory, "targets", "t", text)
    with pytest.raises(ConfigError) as caught:
        config.target("t")
    return caught.value


def test_a_file_becomes_a_spec_named_after_it(tmp_path: Path) -> None:
    policy = write(tmp_path, "policies", "production", POLICY).policy("production")
    assert (policy.name, policy.quorum, policy.approve_within_s) == ("production", 2, 3600)
    assert policy.people["alice"].roles == ("sre",)
    assert policy.protected[0].paths == (".github/**",)


def test_a_file_that_is_not_what_it_was_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Whatever its times say: it is compared by its bytes, and its rights are looked at each time."""
    config = write(tmp_path, "policies", "p", POLICY)
    path, before = config.path("policy", "p"), config.policy("p")
    state = path.stat()
    assert config.policy("p") is before
    path.write_text(POLICY.replace("quorum: 2", "quorum: 1"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert config.policy("p").quorum == 1
    path.write_text("quorum: none\n")
    with pytest.raises(ConfigError):
        config.policy("p")
    path.write_text(POLICY)
    assert config.policy("p") == before
    path.chmod(0o666)
    with pytest.raises(ConfigError):
        config.policy("p")
    path.unlink()
    with pytest.raises(NotFound):
        config.policy("p")


def test_the_name_can_not_be_given_in_the_file(tmp_path: Path) -> None:
    error = wrong_target(tmp_path, "kind: directory\nname: other\npath: /srv/x\n")
    assert error.says == f"{tmp_path}/targets/t.yaml:2: 'name' is taken from the file's name."
    assert "'t'" in error.hint


REFUSED_YAML = {
    "duplicate key": (POLICY + "quorum: 1\n", 9, "there twice, first in line 1", "Keep one"),
    "duplicate person": ("quorum: 1\npeople:\n  a: {keys: [x y]}\n  a: {keys: [x z]}\n", 4, "'a' is there twice", ""),
    "anchor": ("quorum: 1\npeople: &all\n  a: {}\n", 2, "anchors", "quote"),
    "alias": ("quorum: 1\npeople: *all\n", 2, "aliases", "quote"),
    "merge key": ("quorum: 1\npeople:\n  <<: {a: {}}\n", 3, "merge keys", "Write the keys out"),
    "custom tag": ("quorum: 1\npeople: !!python/object:os.system {}\n", 2, "tags", "Remove"),
    "plain tag": ('quorum: !!int "1"\n', 1, "tags", "Remove"),
    "second document": (POLICY + "---\nquorum: 1\n", 9, "second document", "one document"),
    "tab": ("quorum: 1\npeople:\n\talice: {}\n", 3, "not valid YAML", "spaces"),
    "unclosed": ("quorum: 1\npeople: {a: [\n", 3, "not valid YAML", ""),
    "not UTF-8": (b"quorum: 1\npeople: {\xff: {}}\n", 2, "not UTF-8", "UTF-8"),
    "control character": ("quorum: 1\nx: \x1b[2K\n", 2, "not allowed", "not visible"),
    "empty": ("# nothing\n", 1, "empty", ""),
    "a list": ("- quorum\n", 1, "mapping", "key: value"),
    "key that is no text": ("1: x\n", 1, "not text", "quotes"),
    "octal": ("quorum: 010\n", 1, "010", "quotes"),
    "sexagesimal": ("quorum: 1\napprove_within_s: 24:00\n", 2, "24:00", "quotes"),
    "not a number": ("quorum: 1\napprove_within_s: .inf\n", 2, ".inf", "quotes"),
    "endless number": ("quorum: " + "9" * 5000 + "\n", 1, "as a number", "quotes"),
    "bool word": ("quorum: on\n", 1, "word on as true", '"on"'),
    "Norway": ("quorum: 1\npeople:\n  no: {}\n", 3, "word no as false", '"no"'),
    "too deep": ("x: " + "[" * 40 + "]" * 40 + "\n", 1, "deep", "flatter"),
}


@pytest.mark.parametrize(("text", "line", "says", "hint"), REFUSED_YAML.values(), ids=REFUSED_YAML.keys())
def test_t25_yaml_that_could_mean_two_things_is_refused(
    tmp_path: Path, text: str | bytes, line: int, says: str, hint: str
) -> None:
    error = wrong_policy(tmp_path, text)
    assert error.says.startswith(f"{tmp_path}/policies/p.yaml:{line}: ")
    assert says in error.says
    assert hint in error.hint


WRONG_POLICIES = {
    "unknown key": (POLICY + "quorums: 3\n", 9, "'quorums' is unknown", "'quorum'"),
    "unknown key below": (POLICY.replace("roles: [sre]", "rols: [sre]"), 3, "'rols' is unknown", "'roles'"),
    "missing key": (POLICY.replace("quorum: 2\n", ""), 1, "'quorum' is missing", "quorum:"),
    "missing key below": (POLICY.replace("role: sre}", "}"), 6, "'protected.0.role' is missing", "role"),
    "true is no number": (POLICY.replace("quorum: 2", "quorum: true"), 1, "'quorum'", "true"),
    "text is no number": (POLICY.replace("quorum: 2", 'quorum: "2"'), 1, "'quorum'", '"2"'),
    "number is no text": (POLICY.replace("role: sre}", "role: 7}"), 6, "'protected.0.role' must be text", '"7"'),
    "quorum that can't be met": (POLICY.replace("quorum: 2", "quorum: 3"), 1, "never be met by 2 people", ""),
    "role nobody holds": (POLICY.replace("role: sre}", "role: dba}"), 1, "nobody holds the role 'dba'", ""),
    "bad name": (POLICY.replace("  bob:", "  b b:"), 4, "b b", ""),
    "no list": (POLICY.replace(f'["ssh-ed25519 {KEY[:-1]}b bob"]', "x"), 5, "must be a list", '["x"]'),
}


@pytest.mark.parametrize(("text", "line", "says", "hint"), WRONG_POLICIES.values(), ids=WRONG_POLICIES.keys())
def test_c11_a_wrong_policy_is_an_error_at_its_line(tmp_path: Path, text: str, line: int, says: str, hint: str) -> None:
    error = wrong_policy(tmp_path, text)
    assert error.says.startswith(f"{tmp_path}/policies/p.yaml:{line}: ")
    assert says in error.says
    assert hint in error.hint


def test_c1_one_key_for_two_people_is_refused(tmp_path: Path) -> None:
    error = wrong_policy(tmp_path, POLICY.replace(f"{KEY[:-1]}b", f"{KEY[:-1]}a"))
    assert "one key, one person" in error.says


def test_the_first_error_in_the_file_is_told_and_the_rest_counted(tmp_path: Path) -> None:
    error = wrong_target(tmp_path, "kind: directory\npath: /x\nbake: 1\nbakes: 2\n")
    assert ":3: the key 'bake' is unknown" in error.says
    assert "1 more" in error.hint


def test_a_relative_target_path_is_refused_with_the_cure(tmp_path: Path) -> None:
    error = wrong_target(tmp_path, "kind: directory\npath: srv/x\n")
    assert error.says.endswith("t.yaml:2: 'path': must be an absolute path.")
    assert "'/'" in error.hint


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    config = write(tmp_path, "targets", "web", "kind: directory\npath: /srv/web\n")
    with pytest.raises(NotFound, match="There is: web"):
        config.target("wbe")
    assert config.targets() == ["web"]
    assert config.policies() == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\nb", "x" * 64])
def test_a_name_never_leaves_the_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.yaml").write_text("kind: directory\npath: /x\n")
    with pytest.raises(NotFound):
        write(tmp_path, "targets", "web", "kind: directory\npath: /srv/web\n").target(name)


def test_a_missing_directory_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        Config(tmp_path / "none").task("t")
    assert f"mkdir -p {tmp_path}/none/targets" in caught.value.hint


def test_a_file_called_yml_is_found_out(tmp_path: Path) -> None:
    config = write(tmp_path, "targets", "web", "kind: directory\npath: /srv/web\n")
    (tmp_path / "targets/web.yaml").rename(tmp_path / "targets/web.yml")
    with pytest.raises(NotFound, match="Rename"):
        config.target("web")


def test_i2_a_policy_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    config = write(tmp_path, "policies", "p", POLICY)
    config.path("policy", "p").chmod(0o666)
    with pytest.raises(ConfigError, match="chmod o-w"):
        config.policy("p")


def test_i1_a_target_never_overlaps_the_home(tmp_path: Path) -> None:
    home, target = tmp_path / "srv/home", tmp_path / "srv"
    home.mkdir(parents=True)
    with pytest.raises(InputError, match="contains the manager's home"):
        check_outside(home, target)
    with pytest.raises(InputError, match="lies in the manager's home"):
        check_outside(home, home / "data")
    with pytest.raises(InputError):
        check_outside(home, home)
    check_outside(home, tmp_path / "other")


def test_i1_a_link_does_not_hide_the_overlap(tmp_path: Path) -> None:
    home = tmp_path / "srv/home"
    home.mkdir(parents=True)
    os.symlink(tmp_path / "srv", tmp_path / "innocent")
    with pytest.raises(InputError):
        check_outside(home, tmp_path / "innocent")
    with pytest.raises(InputError):
        check_outside(tmp_path / "innocent/home", tmp_path / "srv")
