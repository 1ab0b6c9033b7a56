"""A program that waits for ever and needs nothing of the image: no shell, no libc, no `sleep`.

Owns the file that keeps a container running. With it a sandbox starts from an image that has nothing in
it, and from a snapshot in which everything was deleted. Where the engine makes no network it first writes what
`localhost` is, which the engine leaves out then: to put a file in from outside takes it 50 ms. Pure: bytes only.
"""

from __future__ import annotations

import os
import struct

PATH = "/.sandbox-wait"
"""Where it lies in a sandbox; it may be deleted there while it runs."""

_LOAD_AT = 0x400000
_HEADERS = 64 + 56
_X86_64 = 62
HOSTS = "/etc/hosts"
"""There in every container, empty and no link, whatever the image has."""
LOCALHOST = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_ALONE = "alone"
"""The argument by which it is told that there is no network."""
_WRITE_ONLY = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW


def _code(at: int) -> bytes:
    """The instructions and what they write, to be loaded at an address."""
    pause = bytes.fromhex("b822000000 0f05 ebf7")  # again: eax = 34 (pause), syscall, jmp again
    path = HOSTS.encode() + b"\0"

    def written(path_at: int, text_at: int) -> bytes:
        rest = (
            bytes.fromhex("b801000000 be") + struct.pack("<I", text_at)  # write(edi, text, size)
            + bytes.fromhex("ba") + struct.pack("<I", len(LOCALHOST)) + bytes.fromhex("0f05")
            + bytes.fromhex("b85b000000 bea4010000 0f05")  # fchmod(edi, 0644)
            + bytes.fromhex("b803000000 0f05")  # close(edi)
        )  # fmt: skip
        opened = (
            bytes.fromhex("b802000000 bf") + struct.pack("<I", path_at)  # edi = open(path, how)
            + bytes.fromhex("be") + struct.pack("<I", _WRITE_ONLY) + bytes.fromhex("0f05 89c7")
            + bytes.fromhex("85c0 78") + bytes([len(rest)])  # where that failed: pause
        )  # fmt: skip
        told = bytes.fromhex("48833c2402 75") + bytes([len(opened) + len(rest)])  # without an argument: pause
        return told + opened + rest

    size = len(written(0, 0) + pause)
    return written(at + size, at + size + len(path)) + pause + path + LOCALHOST


def program(architecture: str) -> bytes | None:
    """A static ELF executable for Docker's name of an architecture; None where only `sleep` can be used."""
    if architecture != "amd64":
        return None
    code = _code(_LOAD_AT + _HEADERS)
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little-endian, version 1
    header = struct.pack("<HHIQQQIHHHHHH", 2, _X86_64, 1, _LOAD_AT + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_AT, _LOAD_AT, size, size, 0x1000)  # one, read and execute
    return ident + header + segment + code


def command(architecture: str, *, alone: bool) -> list[str]:
    """What a container of that architecture runs; `alone`: the engine makes no network for it."""
    if program(architecture) is None:
        return ["sleep", "infinity"]
    return [PATH, _ALONE] if alone else [PATH]
