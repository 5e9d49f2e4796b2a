# SPDX-License-Identifier: Apache-2.0
"""The state of the machine's memory before a start: what the page cache holds, what the host has."""

import ctypes
import mmap
import os

from failure import BenchError

_libc = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
PIECE = 4 << 20
MIB = 1 << 20
SETTLE_SPARE = 256 * MIB
ATTEMPTS = 5


def resident_pages(path):
    """(pages of the file in the page cache, all of its pages)"""
    size = os.path.getsize(path)
    if size == 0:
        return 0, 0
    count = -(-size // PAGE)
    states = (ctypes.c_ubyte * count)()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as view:
        first = ctypes.c_char.from_buffer(view)
        failed = _libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size),
                               states)
        del first
        if failed:
            raise OSError(ctypes.get_errno(), f"mincore {path}")
    return count - bytes(states).count(0), count


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def read_through(path):
    buffer = bytearray(PIECE)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def bring_to(path, act, is_done):
    """Pages on their way in or out escape now and then: tried again, and never taken on trust."""
    for _ in range(ATTEMPTS):
        act(path)
        have, count = resident_pages(path)
        if is_done(have, count):
            return
    raise BenchError(f"{path}: {have} of {count} pages are in the page cache")


def evict(paths):
    for path in paths:
        bring_to(path, drop, lambda have, count: have == 0)


def warm(paths):
    for path in paths:
        bring_to(path, read_through, lambda have, count: have == count)


def available():
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def settle(amount):
    """
    A guest's free memory may have gone back to its host, and the first touch of it is slow then.
    A process that takes, touches and frees as much as the start will need makes it the guest's.
    """
    amount = min(2 * amount + SETTLE_SPARE, available() // 2)
    child = os.fork()
    if child == 0:
        try:
            memory = mmap.mmap(-1, amount, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
            for at in range(0, amount, PAGE):
                memory[at] = 1
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def stored_bytes(folder):
    """What the files below a folder take on the disk."""
    seen = {}
    for path in files_below(folder):
        status = os.stat(path)
        seen[(status.st_dev, status.st_ino)] = min(status.st_size, status.st_blocks * 512)
    return sum(seen.values())


def files_below(folder):
    return [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names
            if os.path.isfile(os.path.join(where, name))]
