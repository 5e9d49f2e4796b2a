# SPDX-License-Identifier: Apache-2.0
"""What of a file is in the page cache, and how it comes and goes."""

import ctypes
import mmap
import os

_libc = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
PIECE = 4 << 20


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
