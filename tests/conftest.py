"""How tests get real engines; see `tests/engines.py`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.engines.base import Engine
from tests.engines import ENGINES, Box, Boxes, Registry


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        default=",".join(ENGINES),
        help="the engines that tests run on, separated by commas (default: %(default)s); one that can't be had fails",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_engine: on the first of the engines asked for; it does not matter which")
    config.addinivalue_line("markers", "every_image: on native, also with the image `host`, beside `base`")
    # Under nohup, or in a script's background, these come ignored, and every process of a test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" not in metafunc.fixturenames:
        return
    places = [(name, "base") for name in engine_names(metafunc.config)]
    if metafunc.definition.get_closest_marker("one_engine"):
        places = places[:1]
    if metafunc.definition.get_closest_marker("every_image") and ("native", "base") in places:
        places.append(("native", "host"))
    metafunc.parametrize("place", places, ids=["-".join(place) for place in places], scope="session")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What tests one engine beyond the contract is not collected where that engine was not asked for."""
    only_docker = ("test_docker_engine.py", "test_docker_onlooker.py", "test_docker_stopped.py")
    return True if collection_path.name in only_docker and "docker" not in engine_names(config) else None


def engine_names(config: pytest.Config) -> list[str]:
    """The engines that this run was asked for."""
    names = [name.strip() for name in config.getoption("--engines").split(",") if name.strip()]
    unknown = [name for name in names if name not in ENGINES]
    if unknown or not names:
        raise pytest.UsageError(f"--engines takes {', '.join(ENGINES)}, not {', '.join(unknown) or 'nothing'}")
    return names


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("home", numbered=True))
    yield registry
    left = registry.close()
    assert left == [], "left behind at the end of the session"


@pytest.fixture
def engine(place: tuple[str, str], registry: Registry) -> Engine:
    """A real engine; the test runs once on each that was asked for."""
    return registry.engine(*place)


@pytest.fixture
def box(place: tuple[str, str], registry: Registry) -> Box:
    """A sandbox shared by the tests that leave it as they found it."""
    return registry.box(*place)


@pytest.fixture
def boxes(place: tuple[str, str], engine: Engine, tmp_path: Path) -> Iterator[Boxes]:
    """Makes sandboxes of the test's own."""
    boxes = Boxes(engine, place[1], tmp_path / "boxes")
    yield boxes
    boxes.close()
