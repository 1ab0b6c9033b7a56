"""Ctrl-C does not cut a restore in two."""

from __future__ import annotations

import os
import signal

import pytest

from sandbox.lifecycle.interrupts import deferred


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
