"""A program that waits for ever and needs nothing of the image: no shell, no libc, no `sleep`.

Owns the file that keeps a container running. With it a sandbox starts from an image that has nothing in
it, and from a snapshot in which everything was deleted. Pure: bytes only.
"""

from __future__ import annotations

import struct

PATH = "/.sandbox-wait"
"""Where it lies in a sandbox; it may be deleted there while it runs."""

_LOAD_AT = 0x400000
_HEADERS = 64 + 56
_X86_64 = 62
_PAUSE_FOR_EVER = bytes.fromhex(
    "b822000000"  # again: mov eax, 34 (pause)
    "0f05"  #        syscall
    "ebf7"  #        jmp again
)


def program(architecture: str) -> bytes | None:
    """A static ELF executable for Docker's name of an architecture; None where only `sleep` can be used."""
    if architecture != "amd64":
        return None
    size = _HEADERS + len(_PAUSE_FOR_EVER)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little-endian, version 1
    header = struct.pack("<HHIQQQIHHHHHH", 2, _X86_64, 1, _LOAD_AT + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_AT, _LOAD_AT, size, size, 0x1000)  # one, read and execute
    return ident + header + segment + _PAUSE_FOR_EVER


def command(architecture: str) -> list[str]:
    """What a container of that architecture runs."""
    return [PATH] if program(architecture) is not None else ["sleep", "infinity"]
