"""Every probe, run from within a sandbox or, as the control, outside of any; prints a JSON object.

Standard input: what there is on the host, as JSON (see `test_walls.host`). Of each probe: `["denied", why]`,
`["got in", what]`, `["absent", why]` where the machine can't answer, or `["broken", error]`.
"""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

import kernel
from calls import LIBC, Absent, Denied, call, in_a_child, refused


def sees(path):
    if os.path.lexists(path):
        return f"{path} is there"
    raise Denied("ENOENT")


def connects(address):
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(address)
        except OSError as error:
            refused(error.errno)
    return "connected"


def reaches(place):
    try:
        socket.create_connection((place[0], place[1]), timeout=1.5).close()
    except OSError as error:
        raise Denied(type(error).__name__) from error
    return "connected"


def others():
    """Every process but this one."""
    return (name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def finds_process(marker):
    for name in others():
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            if marker.encode() in file.read():
                return f"process {name}"
    raise Denied("no such process")


def knows(word):
    for name in ["self", *others()]:
        for what in ("environ", "mountinfo"):
            with contextlib.suppress(OSError), open(f"/proc/{name}/{what}", "rb") as file:
                if word.encode() in file.read():
                    return f"/proc/{name}/{what}"
    raise Denied("in no environment and in no list of mounts")


def finds_file(marker):
    for at, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(at, name) not in ("/proc", "/sys", "/usr")]
        for name in files:
            if marker in name:
                return os.path.join(at, name)
    raise Denied("nowhere below /")


def signals(pid):
    try:
        os.kill(pid, 0)
    except OSError as error:
        refused(error.errno)
    return "it may send signals to it"


def traces(pid):
    return in_a_child(lambda: call("ptrace", 0x4206, pid, 0, 0, also={errno.ESRCH}))


def reads_memory(pid):
    here = ctypes.create_string_buffer(8)
    local = struct.pack("<QQ", ctypes.addressof(here), 8)
    remote = struct.pack("<QQ", 0x400000, 8)
    return call("process_vm_readv", pid, local, 1, remote, 1, 0, also={errno.ESRCH})


OF_THE_HOST = {
    "paths": [("sees", sees)],
    "sockets": [("connects to", connects)],
    "abstract": [("connects to", lambda name: connects("\0" + name))],
    "addresses": [("reaches", reaches)],
    "processes": [("finds", finds_process)],
    "pids": [("signals", signals), ("traces", traces), ("reads the memory of", reads_memory)],
    "files": [("finds", finds_file)],
    "words": [("knows", knows)],
}


def probes(given):
    """Those of the kernel, and for each thing of the host those that look for it."""
    found = kernel.probes()
    for kind, things in given.items():
        for what, thing in things.items():
            for verb, act in OF_THE_HOST[kind]:
                found[f"{verb} {what}"] = lambda act=act, thing=thing: act(thing)
    return found


def ordinary():
    """What honest work needs; the first that fails is named."""
    with tempfile.TemporaryDirectory() as here:
        path = os.path.join(here, "file")
        with open(path, "w") as file:
            file.write("content")
        os.chmod(path, 0o640)
        os.chown(path, 1234, 1234)
        os.link(path, path + "-twin")
        os.symlink("file", path + "-link")
        os.mkfifo(path + "-pipe")
        os.rename(path, path + "-moved")
        with open(path + "-moved", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            assert mapped[:7] == b"content"
    assert subprocess.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    child = os.fork()
    if child == 0:
        os.setgid(1234)
        os.setuid(1234)
        os._exit(0 if os.getuid() == 1234 else 1)
    assert os.waitpid(child, 0)[1] == 0, "becoming another user"
    child = os.fork()
    if child == 0:
        LIBC.ptrace(0, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]), "a debugger"
    LIBC.ptrace(7, child, 0, 0)
    os.waitpid(child, 0)
    os.close(os.memfd_create("memory"))
    os.setpriority(os.PRIO_PROCESS, 0, 5)
    return "works"


def main():
    found = {}
    for name, act in {**probes(json.load(sys.stdin)), "ordinary work": ordinary}.items():
        try:
            found[name] = ["got in", act()]
        except Denied as why:
            found[name] = ["denied", str(why)]
        except Absent as why:
            found[name] = ["absent", str(why)]
        except BaseException as error:  # noqa: BLE001 (each probe gets its answer)
            found[name] = ["broken", repr(error)]
    json.dump(found, sys.stdout)


main()
