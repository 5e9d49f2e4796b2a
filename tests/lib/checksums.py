# SPDX-License-Identifier: Apache-2.0
"""XXH3-128 as the snapshot's formats use it. OSError on import without libxxhash.so.0."""

import ctypes
import struct


class _Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


_library = ctypes.CDLL("libxxhash.so.0")
_library.XXH3_128bits.restype = _Hash
_library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3(data):
    """16 bytes, little endian: as in pages.map."""
    value = _library.XXH3_128bits(data, len(data))
    return struct.pack("<QQ", value.low, value.high)


def digest(data):
    """Hex in canonical order: as in manifest.json, and as xxh128sum prints it."""
    return xxh3(data)[::-1].hex()
