"""The README's first use is run as it is written: a guide that nobody runs is wrong sooner or later."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import sandbox
from tests.engines import Registry

ROOT = Path(__file__).resolve().parents[2]


def first_use() -> str:
    section = (ROOT / "README.md").read_text().split("## First use")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    assert block[1].count("\n") <= 10
    return block[1]


def test_the_first_use_in_the_readme_works_as_written(
    place: tuple[str, str], registry: Registry, tmp_path: Path
) -> None:
    engine, image = place
    registry.engine(engine, image)
    repository = tmp_path / "repository"
    (repository / "docs").mkdir(parents=True)
    (repository / "docs/guide.md").write_text("read me\n")
    (repository / "NOTES.md").write_text("one\n")
    placeholder = "CHANGE=chg_…; DIGEST=…"
    assert placeholder in first_use()
    newest = "import json,sys; c=json.load(sys.stdin)['changes'][-1]; print(c['id'], c['digest'][:12])"
    script = f"""set -euo pipefail
sandbox() {{ {sys.executable} -m sandbox --engine {engine} "$@"; }}
cd {repository}
{first_use().replace(placeholder, f'read CHANGE DIGEST < <(sandbox changes --json | {sys.executable} -c "{newest}")')}
echo PROMOTED
sandbox promotions --json
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("SANDBOX_") or k == "SANDBOX_CACHE"}
    env |= {"HOME": str(tmp_path), "SANDBOX_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (repository / "NOTES.md").read_text() == "one\ntried\n"
    assert not (repository / "docs").exists()
    review, promotions = done.stdout.split("PROMOTED\n")
    assert "DELETED  file 0644      8 bytes  docs/guide.md" in review
    assert [one["status"] for one in json.loads(promotions)["promotions"]] == ["committed"]


def test_the_version_is_the_newest_in_the_changelog() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == sandbox.__version__
