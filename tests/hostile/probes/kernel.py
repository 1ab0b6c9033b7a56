"""The doors of the kernel: mounts, namespaces, modules, devices, keyrings, the files of /proc and /sys."""

import contextlib
import ctypes
import fcntl
import mmap
import os
import pty
import socket
import stat
import struct

from calls import LIBC, PC, REFUSED, Absent, Denied, call, in_a_child, judged, opened, refused, system_call

NEW_USER, NEW_NS, SIGCHLD = 0x10000000, 0x00020000, 17
NOWHERE = b"/tmp/nothing-is-here"
ME = os.getpid()
PERFORMANCE = struct.pack("<IIQ", 1, 120, 0) + bytes(104)
BPF_MAP = struct.pack("<IIII", 2, 4, 4, 1) + bytes(104)
HANDLE = struct.pack("<Ii", 8, 1) + bytes(8)
NAME = os.uname().nodename.encode()

CALLS = {
    "opens a file system": ("fsopen", b"tmpfs", 0),
    "clones a mount": ("open_tree", -100, b"/", 1),
    "takes away a mount": ("umount2", NOWHERE, 2),
    "pivots": ("pivot_root", NOWHERE, NOWHERE),
    "loads a module": ("init_module", 0, 0, 0),
    "loads a module from a file": ("finit_module", -1, b"", 0),
    "unloads a module": ("delete_module", b"no_such_module_at_all", 0o4000),
    "loads another kernel": ("kexec_load", 0, 1000000, 0, 0),
    "restarts the machine": ("reboot", 0, 0, 0, 0),  # wrong magic numbers: nothing happens where it is allowed
    "adds swap": ("swapon", NOWHERE, 0),
    "sets the clock": ("clock_settime", 0, struct.pack("<qq", 0, -1)),  # no such time
    "names the host": ("sethostname", NAME, len(NAME)),
    "makes a bpf map": ("bpf", 0, BPF_MAP, 120),
    "opens a performance counter": ("perf_event_open", PERFORMANCE, 0, -1, -1, 0),
    "handles page faults": ("userfaultfd", 0),
    "sets up an io ring": ("io_uring_setup", 0, 0),
    "opens a keyring": ("keyctl", 0, -3, 1),
    "adds a key": ("add_key", b"no_such_type", b"x", 0, 0, -3),
    "reads the kernel's log": ("syslog", 10, 0, 0),
    "accounts for processes": ("acct", NOWHERE),
    "watches every file": ("fanotify_init", 0, 0),
    "compares kernel pointers": ("kcmp", ME, ME, 0, 0, 0),
    "makes a file handle": ("name_to_handle_at", -100, b"/", bytes(136), bytes(8), 0),
    "opens by a file handle": ("open_by_handle_at", -100, HANDLE, 0),
    "takes another process's file": ("pidfd_getfd", -1, 0, 0),
}
READ = [
    "/dev/mem", "/dev/port", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0", "/dev/loop-control",
    "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/mapper/control", "/dev/btrfs-control", "/dev/snapshot",
    "/proc/kcore", "/proc/kmsg", "/proc/kallsyms", "/proc/keys", "/proc/timer_list", "/proc/sched_debug",
    "/proc/vmallocinfo", "/proc/slabinfo", "/proc/latency_stats", "/proc/interrupts", "/proc/kpagecount",
    "/proc/kpageflags", "/sys/firmware/dmi/tables/DMI", "/sys/firmware/acpi/tables/DSDT",
    "/sys/kernel/debug/tracing/trace", "/sys/kernel/tracing/trace", "/sys/kernel/security/lockdown",
]  # fmt: skip
WRITE = [
    "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/pid_max", "/proc/sys/kernel/randomize_va_space", "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/fs/file-max",
    "/proc/sys/net/ipv4/ip_forward", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state", "/sys/module/kernel/parameters/panic",
    "/sys/class/net/lo/mtu",
]  # fmt: skip
CONTROLS = {
    "release_agent", "notify_on_release", "cgroup.procs", "tasks", "devices.allow", "memory.max", "pids.max",
    "memory.limit_in_bytes", "cgroup.subtree_control", "cpu.max", "cpu.cfs_quota_us", "freezer.state",
}  # fmt: skip


def mounts(kind, source, flags):
    where = "/tmp/probe-mount"
    os.makedirs(where, exist_ok=True)
    try:
        return call("mount", source, where.encode(), kind, flags, 0)
    finally:
        LIBC.umount2(where.encode(), 2)
        os.rmdir(where)


def clones(name, *arguments):
    """Clone a child into namespaces of its own."""

    def act():
        number = {"clone": 56 if PC else 220, "clone3": 435}[name]
        result = system_call(number, *arguments)
        if result == 0:
            os._exit(0)
        return judged(result)

    return in_a_child(act)


def joins_its_own_namespace():
    handle = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        return in_a_child(lambda: call("setns", handle, 0))
    finally:
        os.close(handle)


def unshares_as_x32():
    if not PC:
        raise Absent("no such calls on this machine")
    return in_a_child(lambda: judged(system_call(0x40000000 | 272, NEW_USER)))


def as_32_bit(number, argument):
    """A call by its 32-bit door, which a filter must guard as well: mov eax; mov ebx; int 0x80; ret."""
    if not PC:
        raise Absent("no such calls on this machine")
    code = b"\x53\xb8" + struct.pack("<I", number) + b"\xbb" + struct.pack("<I", argument) + b"\xcd\x80\x5b\xc3"

    def act():
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        return judged(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())

    return in_a_child(act)


def types_into_a_terminal():
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, 0x5412, b"x")
    except OSError as error:
        refused(error.errno)
    finally:
        os.close(master)
        os.close(slave)
    return "typed"


def makes_a_socket(family, kind, number=0):
    try:
        socket.socket(family, kind, number).close()
    except OSError as error:
        if error.errno in REFUSED:
            refused(error.errno)
        raise Absent(str(error)) from error
    return "a socket"


def changes_the_network():
    with socket.socket() as any_socket:
        try:
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x49))  # as it is: up, loopback
        except OSError as error:
            refused(error.errno)
    return "set the flags of an interface"


def makes_a_device(kind, major, minor):
    name = "/tmp/probe-device"
    try:
        os.mknod(name, 0o600 | kind, os.makedev(major, minor))
    except OSError as error:
        refused(error.errno)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    return "a device"


def writes_to_a_control_group():
    walk = (os.path.join(at, name) for at, _, files in os.walk("/sys/fs/cgroup") for name in files if name in CONTROLS)
    for path in walk:
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_WRONLY))
            return f"{path} can be written"
    raise Denied("none can be written")


def probes():
    """Every probe by what it does."""
    found = {name: lambda one=one: call(*one) for name, one in CALLS.items()}
    found |= {f"reads {path}": lambda path=path: opened(path) for path in READ}
    found |= {f"writes {path}": lambda path=path: opened(path, os.O_WRONLY) for path in WRITE}
    clone3 = struct.pack("<8Q", NEW_USER, 0, 0, 0, SIGCHLD, 0, 0, 0)
    return found | {
        "mounts a tmpfs": lambda: mounts(b"tmpfs", b"none", 0),
        "mounts control groups": lambda: mounts(b"cgroup2", b"none", 0),
        "binds the root": lambda: mounts(0, b"/", 4096),
        "makes a user namespace": lambda: in_a_child(lambda: call("unshare", NEW_USER)),
        "makes a mount namespace": lambda: in_a_child(lambda: call("unshare", NEW_NS)),
        "makes a user namespace by clone": lambda: clones("clone", NEW_USER | SIGCHLD, 0, 0, 0, 0),
        "makes a user namespace by clone3": lambda: clones("clone3", clone3, 64),
        "makes a user namespace as x32": unshares_as_x32,
        "makes a user namespace as 32 bit": lambda: as_32_bit(310, NEW_USER),
        "opens a keyring as 32 bit": lambda: as_32_bit(288, 0xFFFFFFFF),
        "joins its own namespace": joins_its_own_namespace,
        "types into a terminal": types_into_a_terminal,
        "talks to the hypervisor": lambda: makes_a_socket(40, socket.SOCK_STREAM),
        "talks to the kernel's ciphers": lambda: makes_a_socket(38, socket.SOCK_SEQPACKET),
        "sends packets of its own making": lambda: makes_a_socket(17, socket.SOCK_RAW, 0x300),
        "changes the network": changes_the_network,
        "makes a block device": lambda: makes_a_device(stat.S_IFBLK, 254, 0),
        "makes a character device": lambda: makes_a_device(stat.S_IFCHR, 1, 1),
        "writes to a control group": writes_to_a_control_group,
    }
