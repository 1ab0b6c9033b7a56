"""A report can only speak against a change: what it must say, and what is no report at all."""

from __future__ import annotations

import pytest

from sandbox.lifecycle.counts import MAX_BYTES, Report, UnreadableError, against, read
from sandbox.records import Evidence


def report(*cases: str) -> Report:
    """Tests by name, with what came of them after a colon: `one`, `two:skipped`."""
    text = ""
    for case in cases:
        name, _, came = case.partition(":")
        text += f'<testcase classname="t" name="{name}">{f"<{came}/>" if came else ""}</testcase>'
    return read(f'<?xml version="1.0"?><testsuites><testsuite>{text}</testsuite></testsuites>'.encode())


BASE = ("one", "two", "three:skipped")


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (BASE, ""),
        (("one", "two", "three", "four"), ""),
        (("one", "two", "new:skipped"), ""),
        ((), "it ran no test"),
        (("one:skipped", "two:skipped"), "it ran no test"),
        (("one",), "1 of the 2 tests that run on the base did not run: t::two"),
        (("one", "two:skipped"), "1 of the 2 tests that run on the base did not run: t::two"),
        (("one", "one", "other"), "1 of the 2 tests that run on the base did not run: t::two"),
        (("one", "two:failure"), "1 of its tests failed, whatever its exit code says"),
        (("one:error", "two"), "1 of its tests failed, whatever its exit code says"),
    ],
)
def test_d2_every_test_that_runs_on_the_base_must_have_run(now: tuple[str, ...], says: str) -> None:
    assert against(report(*now), report(*BASE)) == says


def test_d2_any_test_is_more_than_a_base_without_a_report() -> None:
    assert against(report("first"), Report()) == ""
    assert against(report(), Report()) == "it ran no test"


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><testsuites>&b;</testsuites>'


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "wrote no report"),
        (b"3 passed", "no XML"),
        (b"<testsuites><testcase/>", "no XML"),
        (BOMB, "document type"),
        (b"<a/>" + b" " * MAX_BYTES, "MiB"),
    ],
)
def test_d2_d3_what_is_no_report_is_no_answer(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableError, match=says):
        read(data)


def test_d2_a_doubted_report_is_a_failed_check() -> None:
    passed = Evidence(check="pytest", exit_code=0, seconds=1, output_sha256="0" * 64)
    doubted = passed.model_copy(update={"doubt": "it ran no test"})
    assert (passed.passed, doubted.passed, doubted.failure) == (True, False, "it ran no test")
