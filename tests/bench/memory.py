# SPDX-License-Identifier: Apache-2.0
"""The state of the machine's memory before a start: what the page cache holds, what the host has."""

import mmap
import os

from lib.page_cache import PAGE, PIECE, drop, read_through, resident_pages

from failure import BenchError

MIB = 1 << 20
SETTLE_SPARE = 256 * MIB
ATTEMPTS = 5


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
