"""What the server of warm processes loads before it forks: all that the commands of flows would load."""

from __future__ import annotations

import importlib
import pkgutil

import sandbox

for _module in pkgutil.walk_packages(sandbox.__path__, "sandbox."):
    if not _module.name.endswith("__main__") and "cost_report" not in _module.name and ".drills" not in _module.name:
        importlib.import_module(_module.name)
