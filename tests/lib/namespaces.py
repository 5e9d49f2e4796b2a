# SPDX-License-Identifier: Apache-2.0
"""The few system calls that Python 3.9 to 3.11 lacks: namespaces, mounts, subreaper, loopback."""

import ctypes
import fcntl
import os
import socket
import struct
import threading

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# Loaded before any fork: what runs between fork and exec must not import or allocate much.
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd, kind):
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source, target, kind, flags=0, data=None):
    def raw(text):
        return None if text is None else str(text).encode()

    _check(_libc.mount(raw(source), raw(target), raw(kind), ctypes.c_ulong(flags), raw(data)),
           f"mount {target}")


def umount(target, flags=MNT_DETACH):
    _check(_libc.umount2(str(target).encode(), ctypes.c_int(flags)), f"umount {target}")


def prctl(option, value):
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), 0, 0, 0), "prctl")


def loopback_up():
    """lo of a new network namespace is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS


WORKPLACES = "/run/snapinit-tests."


def mount_points():
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        return [line.split()[4] for line in lines]


def inside(pid, name, kind, call):
    """call() on a thread that has joined one namespace (its name below /proc/PID/ns) of pid."""
    outcome = {}

    def run():
        try:
            fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(fd, kind)
            finally:
                os.close(fd)
            outcome["value"] = call()
        except BaseException as error:  # handed to the caller, whatever it is
            outcome["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def in_network_of(pid, call):
    return inside(pid, "net", CLONE_NEWNET, call)


def hostname_of(pid):
    return inside(pid, "uts", CLONE_NEWUTS, socket.gethostname)


def hidden_by(points):
    """Folders of ours that a tmpfs on one of the mount points would hide: a clone below /tmp."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    ours = [os.environ.get("SNAP_SOURCE") or here]
    ours.append(os.path.realpath(os.path.join(ours[0], "../shared")))
    return [path for path in ours if os.path.isdir(path)
            and any(path.startswith(point + "/") for point in points)]


def mount_over(point, options):
    """A tmpfs on point that leaves what is ours below it in sight."""
    places = [path for path in mount_points()
              if path.startswith(WORKPLACES) and path.startswith(point + "/")]
    kept = [(path, os.open(path, os.O_PATH | os.O_DIRECTORY))
            for path in hidden_by([point]) + places]
    mount("tmpfs", point, "tmpfs", 0, options)
    for path, fd in kept:
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", path, None, MS_BIND | MS_REC)
        os.close(fd)
