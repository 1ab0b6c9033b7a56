"""Lookups that can't escape, while the world moves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sandbox.engines.native.kernel import open_in_root

RENAME = "import os, sys\nwhile True: os.rename(sys.argv[1], sys.argv[2]); os.rename(sys.argv[2], sys.argv[1])"


def test_a_lookup_over_dots_goes_on_while_others_rename(tmp_path: Path) -> None:
    (tmp_path / "root" / "app").mkdir(parents=True)
    (tmp_path / "root" / "file").write_text("here")
    (tmp_path / "a").mkdir()
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    with subprocess.Popen([sys.executable, "-c", RENAME, str(tmp_path / "a"), str(tmp_path / "b")]) as renaming:
        try:
            for _ in range(20_000):
                os.close(open_in_root(root, "/app/../app/../app/../file", os.O_RDONLY))
        finally:
            renaming.kill()
            os.close(root)
