# SPDX-License-Identifier: Apache-2.0
"""
Generations of a store made of nothing: every digest and checksum in them is right, and nobody could
wake them. For what is done with snapshots without waking them.
"""

import copy
import ctypes
import io
import json
import os
import pathlib
import struct
import tarfile

from . import checksums, damaged_manifests, damaged_pages
from .checksums import digest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PAGE = 4096
ZSTD = 2


def pages(seed, count):
    """That many pages, none like another and each the same for the same seed."""
    return b"".join(bytes([seed & 255, i & 255, i >> 8]) * 1365 + b"\0" for i in range(count))


def zstd(data):
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = ctypes.c_size_t
    library.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
                                      ctypes.c_size_t, ctypes.c_int]
    out = ctypes.create_string_buffer(len(data) + 100)
    size = library.ZSTD_compress(out, len(out), data, len(data), 3)
    return out.raw[:size]


class PageFiles:
    """pages.map and pages.dat of one process; chunks as (address, seed of the pages, pages)."""

    def __init__(self, chunks):
        self.map, self.data = damaged_pages.Map(), b""
        self.map.space(kind=1, pid=1001)
        self.bytes = 0
        for number, (address, seed, count) in enumerate(chunks):
            memory = pages(seed, count)
            stored = zstd(memory) if number % 2 else memory
            low, high = struct.unpack("<QQ", checksums.xxh3(memory))
            # a gap in front of each: bytes that no chunk names
            self.data += b"\xee" * (-len(self.data) % PAGE) + b"\xee" * PAGE
            self.map.chunk(len(self.data), [(address, count)], low=low, high=high,
                           stored=len(stored), codec=ZSTD if number % 2 else 0)
            self.data += stored
            self.bytes += len(memory)
        self.map.region(0x10000000, 0x20000000, 1001, b"[heap]", stored=self.bytes, zero=3 * PAGE,
                        kept=2, kept_bytes=2 * PAGE, prot=3)
        self.map.data_bytes = len(self.data)
        self.map = self.map.bytes()


CHUNKS = [(0x10000000, 1, 5), (0x10010000, 2, 40), (0x10100000, 3, 1)]


class Generation:
    """What a capture would have left: .manifest, and .files by name, without manifest.json."""

    def __init__(self, chunks=None, **fields):
        with open(SOURCE / "tests/data/manifest/good.json", encoding="utf-8") as text:
            self.manifest = json.load(text)
        self.files = {"criu/inventory.img": b"inventory", "criu/pages-1.img": pages(9, 3),
                      "criu/empty.img": b"", "files/f-000001": b"x" * 512}
        self.pages_bytes = 0
        if chunks:
            made = PageFiles(chunks)
            self.files["pages.map"], self.files["pages.dat"] = made.map, made.data
            self.pages_bytes = made.bytes
        self.manifest.update(fields)
        self.seal()

    def seal(self):
        """The manifest names what is there."""
        self.manifest["images"] = [
            {"name": name, "size": len(data), "digest": digest(data)}
            for name, data in sorted(self.files.items()) if name != "pages.dat"]
        self.manifest["snapshot_bytes"] = sum(map(len, self.files.values()))
        if self.pages_bytes:
            self.manifest["pages_bytes"] = self.pages_bytes
            self.manifest["requires"] = ["pages"]

    def text(self):
        return damaged_manifests.seal(self.manifest)

    def copy(self):
        return copy.deepcopy(self)

    def members(self):
        """[(name, bytes)] in an archive's order."""
        names = [name for name in sorted(self.files) if not name.startswith("pages.")]
        if "pages.map" in self.files:
            names = ["pages.map", *names, "pages.dat"]
        return [("manifest.json", self.text()), *((name, self.files[name]) for name in names)]

    def put(self, store, name="gen-3", current=True):
        """As generation of a store, which is made if it is absent."""
        self.manifest["generation"] = name
        for file, data in self.members():
            path = os.path.join(store, name, file)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(path, "wb") as out:
                out.write(data)
            os.chmod(path, 0o600)
        for folder in (store, os.path.join(store, name)):
            os.chmod(folder, 0o700)
        if current:
            with open(os.path.join(store, "current"), "w", encoding="ascii") as out:
                out.write(name + "\n")
            os.chmod(os.path.join(store, "current"), 0o600)
        return store


def entry(name, data=b"", **fields):
    """One member of a tar file."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive(entries, form=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
