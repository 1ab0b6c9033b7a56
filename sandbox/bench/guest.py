"""Runs in the Python of another sandbox library: does what it is told by lines of JSON, and answers by them.

Must not import anything of ours; it is started by path. Both libraries that it knows have the same words.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


class Driver:
    def __init__(self, module: str, settings: dict[str, Any]) -> None:
        self._library = importlib.import_module(module)
        # Both ask daemons and registries about an image, even where it is a folder: that is not what is measured.
        importlib.import_module(f"{module}.sandbox")._apply_image_defaults = lambda _config: None  # type: ignore[attr-defined]
        self._settings = settings
        self._boxes: dict[str, Any] = {}
        self._made = 0

    def create(self) -> str:
        self._made += 1
        name = f"box-{self._made}"
        self._boxes[name] = self._library.Sandbox(self._library.SandboxConfig(**self._settings), name=name)
        return name

    def exec(self, box: str, command: list[str]) -> list[Any]:
        return list(self._boxes[box].run(command))

    def snapshot(self, box: str) -> str:
        self._made += 1
        return str(self._boxes[box].snapshot(f"snapshot-{self._made}"))

    def rollback(self, box: str, snapshot: str) -> None:
        self._boxes[box].restore(snapshot)

    def destroy(self, box: str) -> None:
        self._boxes.pop(box).delete()

    def forget(self) -> None:
        for box in list(self._boxes):
            self.destroy(box)


def main(module: str, settings: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is not an answer
    driver = Driver(module, json.loads(settings))
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"gives": getattr(driver, asked.pop("do"))(**asked)}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            answer = {"error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        print(json.dumps(answer), file=answers, flush=True)
    driver.forget()


if __name__ == "__main__":
    main(*sys.argv[1:])
