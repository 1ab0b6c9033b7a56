"""The layers of the package: each module imports from layers below, libraries have one door, importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sandbox"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    {
        "errors",
        "spec",
        "records",
        "answers",
        "faults",
        "clock",
        "durable",
        "terminal",
        "strict_yaml",
        "sshsig",
        "governance",
    },
    {"trees", "decide", "facts", "windows", "keeper"},
    {"engines", "targets", "journal", "config"},
    {"reviewing", "watching"},
    {"lifecycle"},
    {"wiring", "manager", "verbs", "box"},
    {"cli", "drills", "bench", "__main__"},
)
"""From the bottom. Parts of one layer that are in different packages do not know each other, but for the ones below."""
NEIGHBOURS = {
    ("manager", "wiring"),
    ("manager", "box"),
    ("manager", "verbs"),
    ("decide", "trees"),
    ("decide", "facts"),
    ("decide", "windows"),
    ("__main__", "cli"),
    ("cli", "drills"),
    ("cli", "bench"),
    ("bench", "drills"),
}
"""Imports inside one layer above the lowest, from the first to the second."""

DOORS = {
    "docker": ("sandbox/engines/docker_engine/", "sandbox/bench/docker_by_hand.py"),
    "watchdog": ("sandbox/watching/",),
    "typer": ("sandbox/cli/",),
    "sqlite3": ("sandbox/journal/", "sandbox/trees/", "sandbox/drills/"),
    "yaml": ("sandbox/strict_yaml.py", "sandbox/drills/"),
    "pathspec": ("sandbox/trees/patterns.py",),
}
"""The only places that may import these."""


def imports_of(file: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, anywhere in it but for type checking alone, and the line."""
    tree = ast.parse(file.read_text("utf-8"), str(file))
    unread = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            assert node.module
            if node.module == "sandbox":
                yield from ((f"sandbox.{name.name}", node.lineno) for name in node.names)
            else:
                yield node.module, node.lineno


def part_of(file: Path) -> str:
    """The module or package right below `sandbox` that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(part: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_every_part_has_a_layer() -> None:
    parts = {part_of(file) for file in MODULES} - {"__init__"}
    assert parts - set().union(*LAYERS) == set(), "give it a place in LAYERS"


def may_import(here: str, there: str) -> bool:
    if here == there or (here, there) in NEIGHBOURS:
        return True
    lower, upper = layer_of(there), layer_of(here)
    return lower < upper or lower == upper == 0


def test_modules_import_only_from_layers_below() -> None:
    wrong = [
        f"{name_of(file)}:{line}: {part_of(file)} must not import {module}"
        for file in MODULES
        if part_of(file) != "__init__"  # the front gives names of the manager, when they are first asked for
        for module, line in imports_of(file)
        if module.startswith("sandbox.") and (there := module.split(".")[1]) != "__version__"
        if not may_import(part_of(file), there)
    ]
    assert wrong == []


def test_libraries_have_one_door() -> None:
    wrong = [
        f"{name_of(file)}:{line}: {module} is imported in {DOORS[library]} alone"
        for file in MODULES
        for module, line in imports_of(file)
        if (library := module.split(".")[0]) in DOORS and not name_of(file).startswith(DOORS[library])
    ]
    assert wrong == []


def test_only_the_wiring_and_its_kind_meet_a_concrete_engine() -> None:
    for file in MODULES:
        for module, line in imports_of(file):
            if module.startswith(("sandbox.engines.docker_engine", "sandbox.engines.native")):
                inside = name_of(file).startswith("sandbox/engines/")
                assert inside or part_of(file) == "wiring", f"{name_of(file)}:{line} imports {module}"


def test_the_two_engines_do_not_know_each_other() -> None:
    for one, other in (("docker_engine", "native"), ("native", "docker_engine")):
        for file in (PACKAGE / "engines" / one).rglob("*.py"):
            assert not [m for m, _ in imports_of(file) if m.startswith(f"sandbox.engines.{other}")], name_of(file)


WATCH = """
import sys
seen = []
QUIET = {"open", "import", "exec", "compile", "marshal.loads", "object.__getattr__", "os.listdir", "os.scandir",
         "sys._getframe", "code.__new__", "object.__setattr__", "object.__delattr__", "sys.addaudithook"}
def hook(event, arguments):
    writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    acting = event.startswith(("subprocess.", "socket.", "os.", "shutil.", "sqlite3.", "signal."))
    if writing or (acting and event not in QUIET):
        seen.append((event, str(arguments)))
sys.dont_write_bytecode = True
sys.addaudithook(hook)
import sandbox
print(seen)
print(sorted(name.split(".")[0] for name in sys.modules if name.split(".")[0] in %r))
"""
HEAVY = {"docker", "watchdog", "typer", "rich", "pydantic", "yaml", "sqlite3", "cryptography", "requests", "asyncio"}


def fresh_python(source: str) -> list[str]:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{source}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_importing_the_package_does_nothing_and_loads_nothing_heavy() -> None:
    assert fresh_python(WATCH % HEAVY) == ["[]", "[]"]


def test_importing_any_module_starts_no_program_and_writes_no_file() -> None:
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in MODULES
        if file.name != "__main__.py" and (file.parent / "__init__.py").exists()  # not the drill's own programs
    ]
    assert len(modules) > 50
    libraries = "".join(f"import {name}\n" for name in sorted(HEAVY))  # what they do at import is theirs
    ours = "".join(f"import {name}\n" for name in modules)
    source = WATCH.replace("sys.addaudithook(hook)\n", libraries + "sys.addaudithook(hook)\n")
    assert fresh_python(source.replace("import sandbox\n", ours) % HEAVY)[0] == "[]"


def test_the_watch_sees_what_it_watches_for() -> None:
    """So that the two tests above can fail."""
    acting = WATCH.replace("import sandbox\n", "import os, tempfile, yaml\nos.rmdir(tempfile.mkdtemp())\n")
    printed = fresh_python(acting % HEAVY)
    assert "os.mkdir" in printed[0]
    assert "yaml" in printed[1]


def test_the_manager_is_loaded_when_it_is_asked_for() -> None:
    assert fresh_python("import sandbox; print(sandbox.Manager.__name__, sandbox.Box.__name__)") == ["Manager Box"]
