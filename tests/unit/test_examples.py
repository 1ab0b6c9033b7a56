"""Every example configuration loads, fits together, and has keys that ssh-keygen understands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sandbox.config import Config

CONFIG = Config(Path(__file__).resolve().parents[2] / "configs")


def test_there_are_examples_of_each_kind() -> None:
    assert "cost-explorer" in CONFIG.targets()
    assert "fix-rounding" in CONFIG.tasks()
    assert "production" in CONFIG.policies()
    known = {CONFIG.path(kind, name) for kind, names in (
        ("target", CONFIG.targets()), ("task", CONFIG.tasks()), ("policy", CONFIG.policies())
    ) for name in names}  # fmt: skip
    assert {path for path in CONFIG.directory.rglob("*") if path.is_file()} == known


@pytest.mark.parametrize("name", CONFIG.targets())
def test_a_target_names_a_policy_that_is_there(name: str) -> None:
    policy = CONFIG.target(name).policy
    assert policy is not None
    CONFIG.policy(policy)


@pytest.mark.parametrize("name", CONFIG.tasks())
def test_a_task_names_targets_that_are_there(name: str) -> None:
    for target in CONFIG.task(name).targets:
        CONFIG.target(target)


@pytest.mark.parametrize("name", CONFIG.policies())
def test_a_policy_has_keys_that_can_sign(name: str, tmp_path: Path) -> None:
    for person, entry in CONFIG.policy(name).people.items():
        for key in entry.keys:
            file = tmp_path / f"{person}.pub"
            file.write_text(key + "\n")
            found = subprocess.run(["ssh-keygen", "-l", "-f", str(file)], capture_output=True, check=True, text=True)
            assert "SHA256:" in found.stdout
