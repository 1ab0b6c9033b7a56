"""What `doctor` says about the Docker Engine.

Owns the wording of the findings. Never raises.
"""

from __future__ import annotations

from sandbox.engines import images
from sandbox.engines.base import Finding
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.mapping import SDK_ERRORS, classify
from sandbox.errors import SandboxError

_LIMITS = {"MemoryLimit": "memory", "PidsLimit": "processes", "CpuCfsQuota": "CPU time"}


def diagnose(connection: Connection) -> list[Finding]:
    """Whether the engine answers, can hold a sandbox in its limits, and has what the default image needs."""
    try:
        info = connection.api.info()
    except SDK_ERRORS as error:
        fault = classify(error)
        return [Finding(False, fault.says, fault.hint)]
    where = connection.api.base_url.replace("http+docker://localhost", "the local socket")
    findings = [Finding(True, f"Docker Engine {info['ServerVersion']} answers at {where} ({info['Driver']}).")]
    if info.get("OSType", "linux") != "linux":
        findings.append(Finding(False, "It runs Windows containers.", "Switch it to Linux containers."))
    missing = [says for key, says in _LIMITS.items() if not info.get(key)]
    if missing:
        hint = "Enable these cgroup controllers on its host."
        findings.append(Finding(False, f"It can't limit {', '.join(missing)}.", hint))
    else:
        findings.append(Finding(True, "It can limit memory, processes and CPU time."))
    seccomp = any("name=seccomp" in option for option in info.get("SecurityOptions") or ())
    findings.append(Finding(seccomp, f"Its system call filter is {'on' if seccomp else 'off'}."))
    return findings + _definitions()


def _definitions() -> list[Finding]:
    try:
        names = sorted(images.definitions())
    except SandboxError as error:
        return [Finding(False, error.says, error.hint)]
    return [Finding(bool(names), f"Images defined here: {', '.join(names) or 'none'}.")]
