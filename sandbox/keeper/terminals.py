"""A terminal of the sandbox's own for a command.

Owns its making, from inside. The other end goes to whoever asked; the host's terminals are never in a sandbox.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import termios

_MULTIPLEXER = "/dev/pts/ptmx"
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441


def open_inside(caller: int) -> list[int]:
    """Make a terminal, make it this session's own, send its outer end to the socket `caller`; three handles on it."""
    outer = os.open(_MULTIPLEXER, os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW)
    state = os.fstat(outer)
    if not stat.S_ISCHR(state.st_mode) or state.st_rdev != os.makedev(5, 2):
        raise OSError(errno.ENOTTY, "the sandbox has no terminals any more")
    fcntl.ioctl(outer, _TIOCSPTLCK, struct.pack("i", 0))
    inner = fcntl.ioctl(outer, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(inner, termios.TIOCSCTTY, 0)
    with socket.socket(fileno=os.dup(caller)) as asked:
        socket.send_fds(asked, [b"terminal"], [outer])
    return [inner] * 3
