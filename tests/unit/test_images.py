"""Image definitions: those that ship load, a malformed one says where, and one build serves all who ask."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandbox.engines import images
from sandbox.errors import ConfigError, EngineError, EngineUnavailable

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(file.parent.name for file in (ROOT / "images").glob("*/image.yaml"))
GOOD = "says: a test image\nsuite: bookworm\npackages:\n  - python3\n"


def define(folder: Path, text: str, name: str = "mine") -> Path:
    file = folder / "images" / name / "image.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and a cache of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SANDBOX_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def builder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in mmdebstrap's place that writes its arguments to the archive; the file counts its runs."""
    program = here / "bin" / "mmdebstrap"
    program.parent.mkdir()
    count = here / "count"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        f"open({str(count)!r}, 'a').write('x')\n"
        "time.sleep(0.3)\n"
        "print('I: working', flush=True)\n"
        "if os.environ.get('FAIL'): sys.exit('E: no such package')\n"
        "archive = sys.argv[sys.argv.index('--') + 2]\n"
        "open(archive, 'w').write('\\0'.join(sys.argv))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return count


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_image_loads_and_says_what_it_is_for(name: str) -> None:
    definition = images.load(ROOT / "images" / name / "image.yaml")
    assert definition.name == name
    assert len(definition.digest) == 64
    assert (ROOT / "images" / name / "README.md").read_text().startswith(f"# {name}\n")


def test_base_is_shipped_and_found_from_anywhere(here: Path) -> None:
    assert "base" in SHIPPED
    assert images.definitions()["base"].packages


def test_a_definition_of_the_working_directory_wins(here: Path) -> None:
    define(here, GOOD, "base")
    assert images.definitions()["base"].says == "a test image"


def test_a_folder_without_an_image_yaml_is_no_image(here: Path) -> None:
    (here / "images" / "holiday").mkdir(parents=True)
    assert "holiday" not in images.definitions()


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("says: x\nsuite: bookworm\n", 1, "packages"),
        ("says: x\nsuite: bookworm\npackages: []\n", 3, "packages"),
        ("says: x\nsuite: bookworm\npackages: [ok, 'rm -rf']\n", 3, "packages.1"),
        ("says: x\nsuite: bookworm\npackages: ['--hook=evil']\n", 3, "packages.0"),
        ("says: x\nsuite: --help\npackages: [python3]\n", 2, "suite"),
        ("says: x\n\nsuit: bookworm\npackages: [python3]\n", 1, "suite"),
        ("says: x\nsuite: bookworm\nsuite: trixie\npackages: [python3]\n", 3, "suite"),
        ("says: x\nsuite: bookworm\npackages: [python3]\nextra: 1\n", 4, "extra"),
        ("says: x\nsuite: [\n", 3, "YAML"),
        ("- says\n", 1, "file"),
    ],
)
def test_a_malformed_definition_is_named_with_file_and_line(here: Path, text: str, line: int, word: str) -> None:
    file = define(here, text)
    with pytest.raises(ConfigError) as wrong:
        images.load(file)
    assert wrong.value.says.startswith(f"{file}:{line}: ")
    assert word in wrong.value.says


def test_a_folder_name_that_is_no_image_name_is_refused(here: Path) -> None:
    with pytest.raises(ConfigError):
        images.load(define(here, GOOD, "-rf"))


def test_the_digest_follows_what_decides_the_content_and_nothing_else(here: Path) -> None:
    digest = images.load(define(here, GOOD)).digest
    assert images.load(define(here, GOOD.replace("a test image", "renamed"), "other")).digest == digest
    assert images.load(define(here, GOOD.replace("bookworm", "trixie"))).digest != digest
    assert images.load(define(here, GOOD + "  - git\n")).digest != digest
    first, second = (define(here, GOOD + f"  - {a}\n  - {b}\n", a) for a, b in (("curl", "git"), ("git", "curl")))
    assert images.load(first).digest == images.load(second).digest


def test_a_build_is_done_once_and_found_again(here: Path, builder: Path) -> None:
    definition = images.load(define(here, GOOD))
    said: list[str] = []
    assert images.content_digest(definition) is None
    archive = images.rootfs(definition, said.append)
    assert archive.is_relative_to(here / "cache" / "images")
    arguments = archive.read_text().split("\0")
    assert "--include=python3" in arguments
    assert arguments[arguments.index("--") + 1] == "bookworm"
    assert "working" in said
    assert len(images.content_digest(definition) or "") == 64
    assert images.rootfs(definition, said.append) == archive
    assert builder.read_text() == "x"


def test_two_who_ask_at_once_build_once(here: Path, builder: Path) -> None:
    definition = images.load(define(here, GOOD))
    said: list[str] = []
    threads = [threading.Thread(target=images.rootfs, args=(definition, said.append)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builder.read_text() == "x"
    assert any("Waiting" in line for line in said)


def test_another_process_waits_for_the_same_build(here: Path, builder: Path) -> None:
    file = define(here, GOOD)
    source = "import sys; from pathlib import Path; from sandbox.engines import images as i; "
    source += "print(i.rootfs(i.load(Path(sys.argv[1])), print))"
    command = [sys.executable, "-c", source, str(file)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    workers = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [worker.communicate(timeout=60)[0].splitlines()[-1] for worker in workers]
    assert outputs[0] == outputs[1]
    assert builder.read_text() == "x"


def test_a_failed_build_says_why_leaves_nothing_and_can_be_repeated(
    here: Path, builder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = images.load(define(here, GOOD))
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(EngineError, match="no such package"):
        images.rootfs(definition, print)
    assert [file.name for file in images.cache_dir().iterdir() if file.suffix != ".lock"] == []
    monkeypatch.delenv("FAIL")
    assert images.rootfs(definition, print).exists()


def test_without_mmdebstrap_it_says_what_to_install(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(EngineUnavailable) as missing:
        images.rootfs(images.load(define(here, GOOD)), print)
    assert "mmdebstrap" in missing.value.hint
