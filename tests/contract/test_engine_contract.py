"""What every engine promises: commands, their streams, input, environment and end."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import pytest

from sandbox.engines.base import KILLED, NOT_EXECUTABLE, NOT_FOUND, Engine, ExecRequest
from sandbox.errors import InputError, NotFound
from tests.engines import Box, Boxes

pytestmark = [pytest.mark.timeout(240), pytest.mark.every_image]

MEBIBYTE = 1 << 20
PATTERN = "import sys; block = bytes(range(256)) * 4096; [sys.stdout.buffer.write(block) for _ in range(50)]"
PATTERN_SHA256 = hashlib.sha256(bytes(range(256)) * 4096 * 50).hexdigest()


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_is_the_commands_own(box: Box, code: int) -> None:
    assert box.sh(f"exit {code}").exit_code == code


def test_a_failed_command_is_a_result_with_both_streams_apart(box: Box) -> None:
    result = box.sh("echo out; echo err >&2; echo out again; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\nout again\n", b"err\n")
    assert not result.timed_out
    assert not result.cancelled
    assert result.limit is None
    assert 0 < result.seconds < 60


def test_output_that_is_not_utf8_comes_as_it_is(box: Box) -> None:
    result = box.sh(r"printf '\000\377\376\200\n\r\n\033[2J'; printf '\303\050' >&2")
    assert (result.stdout, result.stderr) == (b"\0\xff\xfe\x80\n\r\n\x1b[2J", b"\xc3(")


def test_50_mib_of_output_bit_for_bit(box: Box) -> None:
    result = box.python(PATTERN)
    assert len(result.stdout) == 50 * MEBIBYTE
    assert hashlib.sha256(result.stdout).hexdigest() == PATTERN_SHA256


def test_both_streams_full_at_once_do_not_block_each_other(box: Box) -> None:
    source = "import os; [os.write(fd, b'x' * 65536) for _ in range(64) for fd in (2, 1)]"
    result = box.python(source)
    assert (len(result.stdout), len(result.stderr)) == (4 * MEBIBYTE, 4 * MEBIBYTE)


def test_50_mib_file_read_back_bit_for_bit(boxes: Boxes, engine: Engine) -> None:
    box = boxes.create()
    content = os.urandom(MEBIBYTE) * 50
    engine.write(box.id, "/workspace/big.bin", content)
    assert box.out("sha256sum < big.bin").split()[0].decode() == hashlib.sha256(content).hexdigest()
    assert engine.read(box.id, "/workspace/big.bin") == content


def test_no_stdin_is_an_input_at_its_end(box: Box) -> None:
    assert box.sh("cat; echo done", timeout_s=20).stdout == b"done\n"


@pytest.mark.parametrize("content", [b"", b"a\n", b"\0\xff no newline", bytes(range(256)) * 80_000])
def test_stdin_arrives_whole(box: Box, content: bytes) -> None:
    result = box.sh("sha256sum; printf end", stdin=content)
    assert result.stdout == hashlib.sha256(content).hexdigest().encode() + b"  -\nend"


def test_a_command_that_reads_none_of_a_large_stdin_ends_well(box: Box) -> None:
    result = box.run("true", stdin=b"x" * (4 * MEBIBYTE), timeout_s=30)
    assert (result.exit_code, result.timed_out) == (0, False)


def test_a_command_that_reads_stdin_and_writes_as_much_does_not_block(box: Box) -> None:
    content = os.urandom(8 * MEBIBYTE)
    assert box.run("cat", stdin=content, timeout_s=60).stdout == content


def test_environment_of_the_command_and_nothing_of_the_managers(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-the-manager")
    result = box.run("env", "-0", env={"GREETING": "hello  'world'\n$HOME ž", "EMPTY": ""})
    seen = dict(line.split(b"=", 1) for line in result.stdout.split(b"\0") if line)
    assert seen[b"GREETING"] == "hello  'world'\n$HOME ž".encode()
    assert seen[b"EMPTY"] == b""
    assert b"/bin" in seen[b"PATH"]
    assert seen[b"HOME"] == b"/root"
    assert b"canary-of-the-manager" not in result.stdout
    known = {b"GREETING", b"EMPTY", b"PATH", b"HOME", b"HOSTNAME", b"PWD", b"LANG", b"LC_ALL", b"TERM", b"USER"}
    assert set(seen) <= known, "where does this come from?"


def test_environment_of_the_sandbox_reaches_every_command(boxes: Boxes) -> None:
    box = boxes.create(env={"OF_ALL": "1", "BOTH": "sandbox"})
    assert box.out("echo $OF_ALL $BOTH") == b"1 sandbox\n"
    assert box.out("echo $OF_ALL $BOTH", env={"BOTH": "command"}) == b"1 command\n"
    assert boxes.fork(box.snapshot(), box).out("echo $OF_ALL $BOTH") == b"1 sandbox\n"


def test_arguments_are_passed_without_a_shell(box: Box) -> None:
    arguments = ["", " ", "$HOME", "`id`", "a\nb", "*", "--", "-n", "'\"", "žluť"]
    result = box.python("import sys; print(ascii(sys.argv[1:]))", *arguments)
    assert result.stdout.decode().strip() == ascii(arguments)


def test_working_directory(box: Box) -> None:
    assert box.out("pwd -P") == b"/workspace\n"
    assert box.out("pwd -P", cwd="/workspace/app/templates") == b"/workspace/app/templates\n"
    assert box.out("pwd -P", cwd="/usr/bin") == b"/usr/bin\n"


@pytest.mark.parametrize("cwd", ["/no/such/place", "/workspace/README", "/workspace/nowhere"])
def test_working_directory_that_does_not_exist_is_refused(box: Box, cwd: str) -> None:
    with pytest.raises(InputError) as refused:
        box.run("true", cwd=cwd)
    assert cwd in refused.value.says


def test_root_by_default_and_users_by_name_and_number(box: Box) -> None:
    show = "echo $(id -u):$(id -g)"
    assert box.out(show) == b"0:0\n"
    assert box.out(show, user="root") == b"0:0\n"
    assert box.out(show, user="daemon") == b"1:1\n"
    assert box.out(show, user="1234:5678") == b"1234:5678\n"
    assert box.out(show, user="0") == b"0:0\n"
    assert box.out("id -u", user="1234") == b"1234\n"


def test_another_user_has_no_rights_of_root(boxes: Boxes) -> None:
    box = boxes.create()
    assert box.sh("echo x > /workspace/README", user="1234:1234").exit_code != 0
    assert box.sh("cat /etc/shadow", user="1234:1234").exit_code != 0
    assert b"\tCapEff:\t0000000000000000" in b"\t" + box.sh("grep CapEff /proc/self/status", user="1234:1234").stdout


def test_a_user_that_does_not_exist_is_refused(box: Box) -> None:
    with pytest.raises(InputError) as refused:
        box.run("true", user="nobody-by-that-name")
    assert "nobody-by-that-name" in refused.value.says


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/file", "./app/nothing"])
def test_a_command_that_does_not_exist_is_a_result(box: Box, command: str) -> None:
    result = box.run(command, "argument")
    assert (result.exit_code, result.stdout) == (NOT_FOUND, b"")
    assert result.stderr != b"", "it says why"


@pytest.mark.parametrize("command", ["/workspace/README", "/workspace/app", "./README"])
def test_a_command_that_can_not_be_executed_is_a_result(box: Box, command: str) -> None:
    result = box.run(command)
    assert (result.exit_code, result.stdout) == (NOT_EXECUTABLE, b"")


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("KILL", 9), ("SEGV", 11)])
def test_a_command_killed_by_a_signal_ends_with_128_and_its_number(box: Box, name: str, number: int) -> None:
    result = box.sh(f"kill -{name} $$; sleep 20")
    assert (result.exit_code, result.timed_out) == (128 + number, False)
    assert KILLED == 128 + 9


def test_output_arrives_while_the_command_runs(box: Box) -> None:
    heard: list[tuple[float, str, bytes]] = []
    started = time.monotonic()
    box.sh(
        "echo first; sleep 1; echo second >&2; sleep 2; echo third",
        on_output=lambda stream, data: heard.append((time.monotonic() - started, stream, data)),
    )
    ended = time.monotonic() - started
    assert [(stream, data) for _, stream, data in heard] == [
        ("stdout", b"first\n"),
        ("stderr", b"second\n"),
        ("stdout", b"third\n"),
    ]
    assert heard[0][0] < ended - 2.5
    assert heard[1][0] < ended - 1.5


def test_what_is_streamed_is_what_is_returned(box: Box) -> None:
    heard: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def hear(stream: str, data: bytes) -> None:
        heard[stream] += data

    result = box.python("import os; [os.write(1 + i % 2, os.urandom(5000)) for i in range(400)]", on_output=hear)
    assert (heard["stdout"], heard["stderr"]) == (result.stdout, result.stderr)
    assert len(result.stdout) == len(result.stderr) == 200 * 5000


def test_a_listener_hears_all_of_a_command_however_soon_it_ends(box: Box) -> None:
    for _ in range(40):
        heard: dict[str, bytes] = {"stdout": b"", "stderr": b""}

        def hear(stream: str, data: bytes, heard: dict[str, bytes] = heard) -> None:
            heard[stream] += data

        box.sh("echo out; echo err >&2", on_output=hear)
        assert heard == {"stdout": b"out\n", "stderr": b"err\n"}


def test_two_commands_at_once_in_one_sandbox_and_ten_in_a_row(box: Box) -> None:
    results: dict[int, bytes] = {}

    def work(number: int) -> None:
        results[number] = b"".join(box.sh(f"sleep 0.1; echo {number}.{turn}").stdout for turn in range(5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: "".join(f"{n}.{turn}\n" for turn in range(5)).encode() for n in range(2)}


def test_an_unknown_sandbox_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound):
        engine.exec(ExecRequest("sbx_00000000000000000000", ("true",)))
    with pytest.raises(NotFound):
        engine.read("sbx_00000000000000000000", "/etc/passwd")
    with pytest.raises(NotFound):
        engine.write("sbx_00000000000000000000", "/tmp/x", b"")
