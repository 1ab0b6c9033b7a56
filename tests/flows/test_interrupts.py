"""Whoever presses Ctrl-C, ends the process or closes the terminal finds everything put back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import Answer, House, listing

WAIT_S = 30
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def target(house: House) -> Path:
    return house.root / "production" / "app"


def interrupted(house: House, number: signal.Signals, sign: Path, *words: str, **env: str) -> Answer:
    """Run a command, and send it a signal as soon as `sign` is there."""
    command = [sys.executable, "-m", "sandbox", "--home", str(house.home), "--config", str(house.config)]
    command += ["--engine", house.engine, "--as", "dave", *words]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env}
    ) as process:
        until = time.monotonic() + WAIT_S
        while not sign.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=WAIT_S)
    assert sign.exists(), err
    return Answer(process.returncode, out, err.decode())


def baking(house: House, target: Path, sign: Path) -> dict[str, Any]:
    """A signed change whose bake is long and begins with making `sign`."""
    document = {"kind": "directory", "path": str(target), "policy": "production", "bake_s": 60}
    house.write("targets", "app", {**document, "health": [{"run": ["touch", str(sign)]}]})
    change = house.propose("sed -i s/one/two/ app.py; rm -r data")
    house.sign_off(change)
    return change


@pytest.mark.parametrize("number", SIGNALS, ids=[one.name for one in SIGNALS])
def test_f1_an_interrupted_promotion_is_put_back_at_once(house: House, target: Path, number: signal.Signals) -> None:
    before, sign = listing(target), house.root / "baking"
    change = baking(house, target, sign)
    answer = interrupted(house, number, sign, "promote", change["id"], "--json").expect(130)
    assert answer.json["error"]["kind"] == "interrupted"
    assert listing(target) == before
    (record,) = house("promotions", "--json").expect(0).json["promotions"]
    assert (record["status"], record["reasons"]) == ("restored", ["It was interrupted."])


def test_f6_an_interrupt_does_not_hide_that_the_restore_failed(house: House, target: Path) -> None:
    sign = house.root / "baking"
    change = baking(house, target, sign)
    answer = interrupted(
        house, signal.SIGINT, sign, "promote", change["id"], "--json", SANDBOX_FAULT="restore.put_back:error"
    )
    assert answer.expect(8).json["status"] == "frozen"
    assert answer.json["manual_steps"]
    house("restore", answer.json["promotion"]).expect(0)


@pytest.mark.parametrize("number", SIGNALS, ids=[one.name for one in SIGNALS])
def test_an_interrupted_run_leaves_nothing(house: House, target: Path, number: signal.Signals) -> None:
    words = ("run", "--json", "--target", "app", "--image", house.image, "--", "sh", "-c", "echo up; sleep 60")
    command = [sys.executable, "-m", "sandbox", "--home", str(house.home), "--config", str(house.config)]
    with subprocess.Popen(
        [*command, "--engine", house.engine, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line == b"up\n":
                break
        for _ in range(20):  # a closed terminal sends two, people in a hurry send more
            process.send_signal(number)
            time.sleep(0.002)
        out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert json.loads(out)["error"]["kind"] == "interrupted"
    assert house("list", "--json").expect(0).json["sandboxes"] == []
    assert house("recover", "--json").expect(0).json["done"] == []


def test_a_run_killed_when_its_change_was_proposed_has_proposed_it(house: House) -> None:
    house.run("--", "touch", "new", env={"SANDBOX_FAULT": "change.proposed:kill"}).expect(-signal.SIGKILL)
    (change,) = house("changes", "--json").expect(0).json["changes"]
    shown = house("show", change["run"], "--json").expect(0).json
    assert (shown["status"], shown["change"]["id"], shown["failure"]) == ("proposed", change["id"], None)


def test_a_capture_is_told_once_and_not_at_every_file(house: House, target: Path) -> None:
    for number in range(1000):
        (target / f"file-{number}").touch()
    told = house.run("--", "true").expect(0).stderr.splitlines()
    assert 1 <= len([line for line in told if "capturing app" in line]) < 4
