"""Image definitions, and the root file systems that Debian's own packages make of them.

Owns finding and reading `images/NAME/image.yaml`, and the cache of built archives that all homes share.
Must not know any engine: each imports the archive in its own way. No image registry is involved.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from sandbox import strict_yaml
from sandbox.errors import ConfigError, EngineError, EngineUnavailable
from sandbox.spec import Name, Spec

OnProgress = Callable[[str], None]
"""Called with one line for a person at a time."""

RECIPE = 1
"""Part of every digest: raised when the way to build changes what comes out."""

PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]*$")]
SuiteName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.-]*$")]

_LEFT_OUT = ("doc/*", "info/*", "lintian/*", "locale/*", "man/*")
"""Below /usr/share: what no program reads."""
_FORWARDED = ("Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries", "Acquire::ForceIPv")
"""The machine's apt settings that decide how packages are reached; used for the build, not kept in the image."""


class ImageSpec(Spec):
    """The content of an image.yaml."""

    says: Annotated[str, StringConstraints(min_length=1)]
    """One line for a person."""
    suite: SuiteName
    """A Debian release, as `bookworm`."""
    packages: Annotated[tuple[PackageName, ...], Field(min_length=1)]
    """Installed on top of what every Debian system has, and apt."""


@dataclass(frozen=True, slots=True)
class ImageDefinition:
    """One image that can be built here."""

    name: str
    directory: Path
    suite: str
    packages: tuple[str, ...]
    digest: str
    """64 hex digits over what decides the content: suite, packages, recipe."""
    says: str


def search_path() -> tuple[Path, ...]:
    """Where definitions are looked for; the first that has a name wins."""
    package = Path(__file__).resolve().parent.parent
    return Path("images"), package / "_images", package.parent / "images"


def definitions() -> dict[str, ImageDefinition]:
    """Every image definition by name. Raises ConfigError for one that is malformed."""
    found: dict[str, ImageDefinition] = {}
    for folder in search_path():
        for file in sorted(folder.glob("*/image.yaml")):
            if file.parent.name not in found:
                found[file.parent.name] = load(file)
    return found


def load(file: Path) -> ImageDefinition:
    """Read one image.yaml. Raises ConfigError with file and line."""
    name = file.parent.name
    document = strict_yaml.load(file.read_bytes(), str(file))
    try:
        TypeAdapter(Name).validate_python(name)
        spec = ImageSpec.model_validate(document.value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file or its folder's name"
        raise ConfigError(
            f"{file}:{document.line_of(first['loc'])}: {where}: {first['msg']}.",
            "An image.yaml has the keys says, suite and packages.",
        ) from None
    what = {"recipe": RECIPE, "suite": spec.suite, "packages": sorted(set(spec.packages))}
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return ImageDefinition(name, file.parent, spec.suite, spec.packages, digest, spec.says)


def cache_dir() -> Path:
    """Where built archives are kept, for all homes of this user: SANDBOX_CACHE, else the user's cache directory."""
    base = os.environ.get("SANDBOX_CACHE")
    return (Path(base) if base else platformdirs.user_cache_path("sandbox")) / "images"


def archive(definition: ImageDefinition) -> Path:
    """Where the built archive of this definition lies, once it is built."""
    return cache_dir() / f"{definition.name}-{definition.digest[:32]}.{platform.machine()}.tar"


def rootfs(definition: ImageDefinition, on_progress: OnProgress) -> Path:
    """The root file system as a tar archive: from the cache, else built now, once however many ask.

    Raises EngineUnavailable where `mmdebstrap` is missing, EngineError where the build fails.
    """
    target = archive(definition)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _build_lock(target, on_progress):
        if not target.exists():
            _build(definition, target, on_progress)
    return target


def content_digest(definition: ImageDefinition) -> str | None:
    """SHA-256 of the built archive as 64 hex digits: what the image is, by content. None where it isn't built."""
    try:
        return archive(definition).with_suffix(".sha256").read_text("ascii").strip()
    except FileNotFoundError:
        return None


def _build(definition: ImageDefinition, target: Path, on_progress: OnProgress) -> None:
    if shutil.which("mmdebstrap") is None:
        raise EngineUnavailable(
            f"The image {definition.name!r} has to be built first, and mmdebstrap is not installed.",
            "Install it: apt-get install mmdebstrap (Debian, Ubuntu).",
        )
    on_progress(f"Building the image {definition.name} from Debian packages; this is needed once.")
    partial = target.with_suffix(".partial.tar")  # the ending tells mmdebstrap the format
    try:
        _run(_command(definition, partial), definition.name, on_progress)
        digest = _sha256(partial)
        with open(target.with_suffix(".sha256"), "w", encoding="ascii") as file:
            file.write(digest + "\n")
        with open(partial, "rb") as done:
            os.fsync(done.fileno())
        os.rename(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _command(definition: ImageDefinition, output: Path) -> list[str]:
    mode = "root" if os.geteuid() == 0 else "unshare"
    command = ["mmdebstrap", f"--mode={mode}", "--variant=minbase", f"--include={','.join(definition.packages)}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{pattern}" for pattern in _LEFT_OUT]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    command += [f"--aptopt={option}" for option in _apt_options()]
    command += ['--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"']
    return [*command, "--", definition.suite, os.fspath(output), *_apt_sources(definition.suite)]


def _run(command: Sequence[str], name: str, on_progress: OnProgress) -> None:
    """Pass the lines on as they come; raise with the last ones where it fails."""
    last: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
    ) as build:
        try:
            for line in build.stdout or ():
                last = [*last[-9:], line.rstrip()]
                if line.startswith("I: "):
                    on_progress(line[3:].rstrip())
        except BaseException:
            build.terminate()  # it removes its own scratch directory
            raise
    if build.returncode != 0:
        raise EngineError(
            f"The image {name!r} could not be built: {' / '.join(last)}",
            "Check that `apt-get update` works here and that the suite and every package name exist.",
            transient=True,
        )


def _apt_sources(suite: str) -> list[str]:
    """This machine's own sources of the suite; none where it has none, and mmdebstrap takes Debian's."""
    form = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)"
    lines = []
    for line in _ask(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]):
        uri, release, component, signed_by = line.split("|", 3)
        if release not in (suite, f"{suite}-updates", f"{suite}-security"):
            continue
        option = f"[signed-by={signed_by}] " if signed_by.startswith("/") else ""
        lines.append(f"deb {option}{uri} {release} {component}")
    return lines if any(f" {suite} " in line for line in lines) else []


def _apt_options() -> list[str]:
    return [line for line in _ask(["apt-config", "dump"]) if line.startswith(_FORWARDED) and not line.endswith(' "";')]


def _ask(command: Sequence[str]) -> list[str]:
    """The lines that apt answers; none where there is no apt (mmdebstrap may run on other systems)."""
    try:
        answer = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        return []
    return list(dict.fromkeys(line for line in answer.stdout.splitlines() if line))


@contextmanager
def _build_lock(target: Path, on_progress: OnProgress) -> Iterator[None]:
    with open(target.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("Waiting for another process that builds the same image.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
