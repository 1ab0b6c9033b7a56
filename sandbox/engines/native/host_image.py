"""The image `host`: this machine's own toolchain, lent to a sandbox without copying it.

Owns the list of what is lent. `/usr` appears by redirects; of `/etc` a few files that programs need are copied, and
what names people or holds keys is written afresh or left out. `/home`, `/root`, `/var`, `/opt`, `/srv` and every
socket stay the host's. The agent's writes go to the sandbox's own layer, as with any image.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from sandbox.engines.native import overlay
from sandbox.errors import EngineUnavailable

NAME = "host"
SAYS = "this machine's own /usr, lent read-only; nothing to download"

_USR = Path("/usr")
_ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

_ETC = (
    "alternatives", "bash.bashrc", "ca-certificates.conf", "debian_version", "fedora-release", "fonts",
    "gai.conf", "inputrc", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "magic",
    "magic.mime", "mime.types", "os-release", "pki/ca-trust/extracted", "pki/tls/cert.pem", "pki/tls/certs",
    "profile", "protocols", "python3", "python3.11", "python3.12", "python3.13", "redhat-release", "rpc",
    "services", "shells", "skel", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""Public by nature. Keys and tokens are elsewhere (ssl/private, pki/tls/private, ssh, *.conf of package managers)."""

HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tsandbox\n"
"""/etc/hosts of a sandbox: its own names, and nobody else's."""
_OWN = {
    "hosts": HOSTS,
    "hostname": "sandbox\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n",
    "host.conf": "multi on\n",
    "resolv.conf": "",
}

_DIRECTORIES = {
    "boot": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "media": 0o755, "mnt": 0o755, "opt": 0o755,
    "proc": 0o555, "root": 0o700, "run": 0o755, "run/lock": 0o1777, "srv": 0o755, "sys": 0o555, "tmp": 0o1777,
    "usr": 0o755, "var": 0o755, "var/cache": 0o755, "var/lib": 0o755, "var/local": 0o755, "var/log": 0o755,
    "var/mail": 0o755, "var/spool": 0o755, "var/tmp": 0o1777, "workspace": 0o755,
}  # fmt: skip

_PACKAGE_DATABASES = ("/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite")
_FIRST_PERSON, _NOBODY = 1000, 65534


def missing() -> str | None:
    """Why this machine can't be lent, in one sentence; None where it can."""
    apart = [name for name in ("bin", "lib") if not Path("/", name).is_symlink()]
    if apart:
        return f"/{apart[0]} is not a link into /usr, as it is on today's Debian, Ubuntu, Fedora and Arch."
    return None


def digest() -> str:
    """Names the toolchain by its package database, the parts of /etc that are copied, and what /usr holds."""
    sha = hashlib.sha256()
    for database in _PACKAGE_DATABASES:
        with suppress(FileNotFoundError):
            at = os.stat(database)
            sha.update(_content(database, at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns))
    for name in sorted([*_usr_children(), *_etc_present()]):
        sha.update(name.encode("utf-8", "surrogateescape") + b"\0")
    for text in (_people("passwd"), _people("group"), *_OWN.values()):
        sha.update(text.encode("utf-8", "surrogateescape") + b"\0")
    return sha.hexdigest()


@lru_cache(maxsize=len(_PACKAGE_DATABASES))
def _content(path: str, *state: int) -> bytes:
    """The digest of a file of megabytes that is asked about several times for each sandbox. Package managers put a new
    file in its place; one that is written in place within a tick of the clock and keeps its size may be missed, and
    then an image of the same tools is used on."""
    del state
    return hashlib.sha256(Path(path).read_bytes()).digest()


def layers(skeleton: Path) -> list[Path]:
    """The lower layers, topmost first, given the one that `build` made."""
    return [skeleton, _USR]


def build(skeleton: Path) -> None:
    """Make the layer that lends /usr and has everything around it. Raises EngineUnavailable."""
    reason = missing()
    if reason:
        raise EngineUnavailable(f"The image 'host' can't be had: {reason}", "Use another image: `sandbox image list`.")
    skeleton.mkdir()
    for name, mode in _DIRECTORIES.items():
        (skeleton / name).mkdir()
        (skeleton / name).chmod(mode)
    (skeleton / "var/run").symlink_to("/run")
    (skeleton / "var/lock").symlink_to("/run/lock")
    for name in _ROOT_LINKS:
        if Path("/", name).is_symlink():
            (skeleton / name).symlink_to(os.readlink(f"/{name}"))
    _lend_usr(skeleton)
    _write_etc(skeleton / "etc")


def _usr_children() -> list[str]:
    return sorted(os.listdir(_USR))


def _lend_usr(skeleton: Path) -> None:
    root = os.open(skeleton, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in _usr_children():
            source, here = _USR / name, skeleton / "usr" / name
            if source.is_symlink():
                here.symlink_to(os.readlink(source))
            elif source.is_dir():
                here.mkdir()
                shutil.copystat(source, here)
                overlay.set_redirect(here, f"/{name}")
            if not os.path.lexists(skeleton / name):
                overlay.make_whiteout(root, name)
    finally:
        os.close(root)


def _etc_present() -> Iterator[str]:
    return (name for name in _ETC if os.path.lexists(f"/etc/{name}"))


def _write_etc(etc: Path) -> None:
    for name in _etc_present():
        source, here = Path("/etc", name), etc / name
        here.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            here.symlink_to(os.readlink(source))
        elif source.is_dir():
            shutil.copytree(source, here, symlinks=True, ignore=_unfit)
        elif _is_public(source):
            shutil.copy2(source, here)
    for name, text in {**_OWN, "passwd": _people("passwd"), "group": _people("group")}.items():
        (etc / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        (etc / name).chmod(0o644)


def _is_public(path: Path) -> bool:
    """A plain file that every user of the host may read: a secret is never that."""
    return path.is_file() and bool(path.stat().st_mode & 0o004)


def _unfit(directory: str, names: list[str]) -> list[str]:
    paths = [Path(directory, name) for name in names]
    return [path.name for path in paths if not path.is_symlink() and not path.is_dir() and not _is_public(path)]


def _people(file: str) -> str:
    """The system's own users or groups: files in /usr belong to some. No person, and no comment field."""
    kept = []
    for line in Path("/etc", file).read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(":")
        number = int(fields[2]) if len(fields) > 2 and fields[2].isdecimal() else _FIRST_PERSON
        if number >= _FIRST_PERSON and number != _NOBODY:
            continue
        if file == "passwd":
            fields[1], fields[4] = "*", ""
        else:
            fields[1], fields[3] = "*", ""
        kept.append(":".join(fields))
    return "\n".join(kept) + "\n"
