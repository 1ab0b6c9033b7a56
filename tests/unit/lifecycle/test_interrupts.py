"""Ctrl-C does not cut a restore in two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sandbox.lifecycle.interrupts import deferred

STORM = """if True:
    import os, random, signal, time
    from sandbox.lifecycle.interrupts import SIGNALS, deferred

    def hear(number, frame):
        if sender is None:
            print(int(number), flush=True)
        elif frame.f_code.co_filename.endswith("interrupts.py"):  # anywhere else, the loop itself would end
            raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, hear)
    parent, interrupted = os.getpid(), 0
    sender = os.fork()
    while not sender:
        os.kill(parent, signal.SIGINT)
        time.sleep(random.random() / 5000)
    while interrupted < 300:
        try:
            with deferred():
                pass
        except KeyboardInterrupt:
            interrupted += 1
    os.kill(sender, signal.SIGKILL)
    os.waitpid(sender, 0)
    sender = None
    for number in SIGNALS:
        os.kill(parent, number)
"""


def test_an_interrupt_waits_until_the_work_is_done() -> None:
    done = []

    def work() -> None:
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interrupt_nothing_is_raised() -> None:
    with deferred():
        pass


def test_no_interrupt_at_any_instant_leaves_a_signal_unheard() -> None:
    """They come while handlers are being set and set back, which is one by one."""
    done = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["2", "15", "1"]
