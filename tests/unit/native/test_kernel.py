"""Lookups that can't escape, while the world moves."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from sandbox.engines.native.kernel import open_in_root


def test_a_lookup_over_dots_goes_on_while_others_rename(tmp_path: Path) -> None:
    (tmp_path / "root" / "app").mkdir(parents=True)
    (tmp_path / "root" / "file").write_text("here")
    (tmp_path / "elsewhere").mkdir()
    done = threading.Event()

    def rename() -> None:
        while not done.is_set():
            os.rename(tmp_path / "elsewhere", tmp_path / "other")
            os.rename(tmp_path / "other", tmp_path / "elsewhere")

    renaming = threading.Thread(target=rename)
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    try:
        renaming.start()
        for _ in range(3000):
            os.close(open_in_root(root, "/app/../app/../app/../file", os.O_RDONLY))
    finally:
        done.set()
        renaming.join()
        os.close(root)
