"""The words of the probes: a system call that was denied, or that looked at its arguments; a path that is hidden.

No probe writes anything: whoever may open `core_pattern` for writing has got in.
"""

import ctypes
import errno
import os
import platform
import stat

LIBC = ctypes.CDLL(None, use_errno=True)
PC = platform.machine() == "x86_64"
NUMBERS = {  # on x86_64, and on all newer machines
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "unshare": (272, 97), "setns": (308, 268),
    "clone": (56, 220), "clone3": (435, 435), "fsopen": (430, 430), "open_tree": (428, 428),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142),
    "swapon": (167, 224), "clock_settime": (227, 112), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "add_key": (248, 217), "keyctl": (250, 219),
    "syslog": (103, 116), "acct": (163, 89), "fanotify_init": (300, 262), "pidfd_getfd": (438, 438),
    "kcmp": (312, 272), "sethostname": (170, 161), "process_vm_readv": (310, 270), "ptrace": (101, 117),
}  # fmt: skip
REFUSED = {errno.EPERM, errno.EACCES, errno.ENOSYS}
HIDDEN = REFUSED | {errno.ENOENT, errno.EROFS, errno.ENXIO, errno.ENODEV, errno.ENOTDIR, errno.EIO}


class Denied(Exception):
    """The wall held."""


class Absent(Exception):
    """This machine can't answer."""


def refused(number):
    """Raise Denied for an error number."""
    raise Denied(errno.errorcode.get(number, str(number)))


def system_call(number, *arguments):
    """What the kernel answers to a call by its number."""
    as_c = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return LIBC.syscall(ctypes.c_long(number), *as_c)


def call(name, *arguments, also=()):
    """Make a call; denied only where the kernel said so (or `also`) before it looked at the arguments."""
    return judged(system_call(NUMBERS[name][not PC], *arguments), also)


def judged(result, also=()):
    """What a result says, -1 with its errno or the negative number itself."""
    if result >= 0:
        return f"it gave {result}"
    number = ctypes.get_errno() if result == -1 else -result
    if number in REFUSED or number in also:
        refused(number)
    return f"it looked at the arguments ({errno.errorcode.get(number, number)})"


def in_a_child(act):
    """What changes a process for good is tried in a child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            word = "+" + act()
        except Denied as why:
            word = "-" + str(why)
        except BaseException as error:  # noqa: BLE001 (the child must end here, whatever it was)
            word = "?" + repr(error)
        os.write(writing, word.encode())
        os._exit(0)
    os.close(writing)
    word = os.read(reading, 4096).decode()
    os.close(reading)
    os.waitpid(child, 0)
    if word.startswith("-"):
        raise Denied(word[1:])
    if not word.startswith("+"):
        raise RuntimeError(word)
    return word[1:]


def opened(path, flags=os.O_RDONLY):
    """Open a path as asked; what hides it is a denial, and so is something empty in its place."""
    try:
        handle = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in HIDDEN:
            refused(error.errno)
        return f"{path} is there ({error})"
    try:
        if flags != os.O_RDONLY:
            state = os.fstat(handle)
            if stat.S_ISCHR(state.st_mode) and state.st_rdev == os.makedev(1, 3):
                raise Denied("the null device in its place")
            return f"{path} can be written"
        if not os.pread(handle, 4096, 0):
            raise Denied("empty")
        return f"{path} can be read"
    except OSError as error:
        if error.errno in HIDDEN | {errno.EINVAL}:
            refused(error.errno)
        return f"{path} is there ({error})"
    finally:
        os.close(handle)
