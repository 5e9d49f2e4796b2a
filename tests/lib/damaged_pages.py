# SPDX-License-Identifier: Apache-2.0
"""
Page maps: one that is whole and many that a reader must refuse, each for one fault.

The layout is docs/formats/pages.md, written down a second time here, apart from the C code. A
case has its fault and, unless the checksum is the fault, a checksum that is right. What writes
them is tools/make_damage.py.
"""

import copy
import struct

from . import checksums

PAGE = 4096
MIB = 1 << 20
HEADER, CHECKSUM_AT = 64, 48
USER_END, OBJECT_MAX, DATA_MAX = 1 << 47, 1 << 46, 1 << 46
PID_LIMIT = 4194304
TASK, SHARED, DEVICE = 1, 2, 3
NONE, LZ4, ZSTD = 0, 1, 2

SPACE = ("<IiiIIIQQQ", "kind pid fd first_chunk n_chunks pad start end object_bytes")
CHUNK = ("<QQQIIIIIIHHI", "offset low high stored bytes space first_extent n_extents rank codec "
         "flags pad")
EXTENT = ("<QII", "address n_pages pad")
REGION = ("<QQQQQQiIIIQ64sQ", "start end stored zero shared_bytes kept_bytes pid kept prot shared "
          "pad name pad2")
HEAD = ("<8sIIIIIIIIQQQ", "magic version header_bytes page_bytes pad n_spaces n_chunks n_extents "
        "n_regions data_bytes low high")


def pack(form, record):
    layout, names = form
    return struct.pack(layout, *(record[name] for name in names.split()))


def record(form, **fields):
    return {name: fields.get(name, 0) for name in form[1].split()}


class Map:
    def __init__(self):
        self.spaces, self.chunks, self.extents, self.regions = [], [], [], []
        self.data_bytes = 0
        self.head = {}       # fields of the header that are not what the tables say
        self.is_sealed = True
        self.tail = b""      # behind the tables
        self.cut = 0         # bytes missing at the end

    def space(self, **fields):
        self.spaces.append(record(SPACE, first_chunk=len(self.chunks), fd=fields.pop("fd", -1),
                                  **fields))

    def chunk(self, offset, extents, **fields):
        total = sum(pages for _, pages in extents) * PAGE
        fields = {"stored": total, "bytes": total, "low": offset + 1, "high": ~offset % 2**64,
                  **fields}
        self.chunks.append(record(CHUNK, offset=offset, space=len(self.spaces) - 1,
                                  first_extent=len(self.extents), n_extents=len(extents),
                                  **fields))
        self.extents += [record(EXTENT, address=a, n_pages=n) for a, n in extents]
        self.spaces[-1]["n_chunks"] += 1
        self.data_bytes = max(self.data_bytes, offset + fields["stored"])

    def region(self, start, end, pid, name, **fields):
        self.regions.append(record(REGION, start=start, end=end, pid=pid, name=name, **fields))

    def bytes(self):
        head = {"magic": b"SNAPPAGE", "version": 1, "header_bytes": HEADER, "page_bytes": PAGE,
                "pad": 0, "n_spaces": len(self.spaces), "n_chunks": len(self.chunks),
                "n_extents": len(self.extents), "n_regions": len(self.regions),
                "data_bytes": self.data_bytes, "low": 0, "high": 0, **self.head}
        data = pack(HEAD, head)
        for form, table in ((SPACE, self.spaces), (CHUNK, self.chunks), (EXTENT, self.extents),
                            (REGION, self.regions)):
            data += b"".join(pack(form, entry) for entry in table)
        data += self.tail
        data = data[:len(data) - self.cut]
        if self.is_sealed and len(data) >= HEADER:
            data = data[:CHECKSUM_AT] + checksums.xxh3(data) + data[HEADER:]
        return data


def good():
    """Two processes and two shared objects; chunk 4 shares the data of chunk 1."""
    m = Map()
    m.space(kind=TASK, pid=100)
    m.chunk(2 * MIB, [(0x7F0000000000, 256)], flags=1, rank=1)
    m.chunk(0, [(0x7F0000200000, 2), (0x7F0000300000, 1)], rank=3)
    m.chunk(4 * PAGE, [(0x7F0000400000, 8)], codec=LZ4, stored=5000, flags=2)
    m.space(kind=TASK, pid=101, fd=0)
    m.chunk(6 * PAGE, [(0x8000, 2)], codec=ZSTD, stored=77)
    m.chunk(0, [(0x10000, 1), (USER_END - 2 * PAGE, 2)], low=1, high=2**64 - 1)
    m.space(kind=SHARED, pid=100, fd=7, object_bytes=10 * PAGE + 1)
    m.chunk(7 * PAGE, [(0, 1), (10 * PAGE, 1)], rank=2)
    m.space(kind=SHARED, pid=101, start=0x7F1000000000, end=0x7F1000004000, object_bytes=4 * PAGE)
    m.space(kind=TASK, pid=102)
    m.region(0x7F0000000000, 0x7F0000500000, 100, b"[heap]", stored=MIB, zero=PAGE, prot=3)
    m.region(0x7F1000000000, 0x7F1000004000, 101, b"/memfd:kv (deleted)", kept=1023, prot=7,
             shared=1, shared_bytes=PAGE, kept_bytes=4 * PAGE)
    m.data_bytes = 4 * MIB
    return m


def good_devices():
    """Two processes on two GPUs, one of which has nothing but zeros on the second."""
    m = Map()
    m.space(kind=DEVICE, pid=100, fd=0, object_bytes=16 * MIB)
    m.chunk(0, [(0, 512)])
    m.chunk(2 * MIB, [(4 * MIB, 1), (6 * MIB, 2)], codec=LZ4, stored=100)
    m.space(kind=DEVICE, pid=100, fd=1, object_bytes=2 * MIB)
    m.space(kind=DEVICE, pid=101, fd=0, object_bytes=PAGE + 1)
    m.chunk(2 * MIB + PAGE, [(0, 2)])
    m.region(0, 16 * MIB, 100, b"GPU 0", stored=2 * MIB + 3 * PAGE, zero=14 * MIB - 3 * PAGE, prot=3)
    m.region(0, 2 * MIB, 100, b"GPU 1", zero=2 * MIB, prot=3)
    m.region(0, 2 * PAGE, 101, b"GPU 0", stored=2 * PAGE, prot=3)
    return m


# of device.map; in tests/data their names begin with device-
DEVICE_CASES = {
    "gpu-negative": (0, {"fd": -1}), "gpu-large": (1, {"fd": 64}), "gpu-twice": (1, {"fd": 0}),
    "start": (0, {"start": PAGE}), "end": (2, {"end": PAGE}), "size-0": (1, {"object_bytes": 0}),
    "size-large": (1, {"object_bytes": OBJECT_MAX + 1}), "size-small": (2, {"object_bytes": PAGE}),
    "pid-1": (0, {"pid": 1}), "of-a-process": (1, {"kind": TASK, "fd": -1, "object_bytes": 0}),
    "of-shared-memory": (0, {"kind": SHARED}), "kind-4": (0, {"kind": 4}),
}
CASES = {}


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


def simple(name, table, index, fields):
    """One field of one record, or of the header, is wrong."""
    def change(m):
        entry = m.head if table == "head" else getattr(m, table)[index]
        entry.update(fields)
    CASES[name] = change


for name, fields in {
    "magic": {"magic": b"SNAPPAGF"}, "version-2": {"version": 2}, "version-0": {"version": 0},
    "header-bytes": {"header_bytes": 72}, "page-bytes": {"page_bytes": 16384},
    "header-pad": {"pad": 1},
    "spaces-beyond-bound": {"n_spaces": 2**16 + 1}, "chunks-beyond-bound": {"n_chunks": 2**22 + 1},
    "extents-beyond-bound": {"n_extents": 2**32 - 1},
    "regions-beyond-bound": {"n_regions": 2**20 + 1},
    "space-too-many": {"n_spaces": 6}, "chunk-too-few": {"n_chunks": 5},
    "data-beyond-bound": {"data_bytes": DATA_MAX + 1},
    "data-short": {"data_bytes": 2 * MIB + 255 * PAGE},
}.items():
    simple(name, "head", 0, fields)

for name, index, fields in [
    ("space-kind-0", 0, {"kind": 0}), ("space-kind-3", 2, {"kind": 3}),
    ("space-pid-1", 0, {"pid": 1}), ("space-pid-negative", 2, {"pid": -5}),
    ("space-pid-large", 0, {"pid": PID_LIMIT + 1}), ("space-pid-twice", 4, {"pid": 100}),
    ("space-pad", 1, {"pad": 1}), ("space-task-fd", 0, {"fd": 5}),
    ("space-task-object", 0, {"object_bytes": 1}), ("space-task-mapping", 0, {"end": PAGE}),
    ("space-shared-without-way", 2, {"fd": -1}), ("space-fd-negative", 2, {"fd": -2}),
    ("space-mapping-backwards", 3, {"end": 0x7F1000000000}),
    ("space-mapping-unaligned", 3, {"end": 0x7F1000004001}),
    ("space-mapping-at-0", 2, {"end": PAGE}),
    ("space-mapping-beyond-user-space", 3, {"end": USER_END + PAGE}),
    ("space-object-large", 2, {"object_bytes": OBJECT_MAX + 1}),
    ("space-first-chunk", 1, {"first_chunk": 2}),
    ("space-chunks-too-many", 2, {"n_chunks": 2}),
    ("space-chunks-overflow", 0, {"n_chunks": 2**32 - 1}),
    ("space-chunks-gap", 0, {"n_chunks": 2}),
]:
    simple(name, "spaces", index, fields)

for name, index, fields in [
    ("chunk-bytes-0", 1, {"bytes": 0}), ("chunk-bytes-large", 0, {"bytes": 2 * MIB + PAGE}),
    ("chunk-bytes-not-extents", 2, {"bytes": 7 * PAGE}),
    ("chunk-stored-0", 2, {"stored": 0}), ("chunk-stored-more", 2, {"stored": 8 * PAGE + 1}),
    ("chunk-stored-without-codec", 1, {"stored": PAGE}),
    ("chunk-offset-unaligned", 3, {"offset": 6 * PAGE + 8}),
    ("chunk-offset-beyond", 5, {"offset": 4 * MIB - PAGE}),
    ("chunk-offset-overflow", 5, {"offset": 2**64 - PAGE}),
    ("chunk-codec", 3, {"codec": 3}), ("chunk-flags", 3, {"flags": 8}),
    ("chunk-pad", 4, {"pad": 1}), ("chunk-space", 3, {"space": 0}),
    ("chunk-first-extent", 3, {"first_extent": 5}),
    ("chunk-extents-too-many", 5, {"n_extents": 3}),
    ("chunk-extents-overflow", 1, {"n_extents": 2**32 - 1}),
    ("chunk-extents-left", 5, {"n_extents": 1, "bytes": PAGE, "stored": PAGE}),
    ("chunk-shared-checksum", 4, {"low": 2}), ("chunk-shared-checksum-high", 4, {"high": 2}),
    ("chunk-shared-codec", 4, {"codec": LZ4}),
    ("chunk-overlaps", 3, {"offset": 5 * PAGE}),
    ("chunk-overlaps-dense", 5, {"offset": 2 * MIB + 255 * PAGE}),
]:
    simple(name, "chunks", index, fields)

for name, index, fields in [
    ("extent-unaligned", 1, {"address": 0x7F0000200800}), ("extent-pad", 1, {"pad": 1}),
    ("extent-no-pages", 1, {"n_pages": 0}),
    ("extent-beyond-user-space", 6, {"address": USER_END - PAGE}),
    ("extent-kernel", 6, {"address": 0xFFFF888000000000}),
    ("extent-overflow", 6, {"address": 2**64 - PAGE}),
    ("extent-pages-overflow", 6, {"n_pages": 2**32 - 1}),
    ("extent-beyond-object", 8, {"address": 11 * PAGE}),
    ("extent-overlaps", 2, {"address": 0x7F0000201000}),
    ("extent-descends", 6, {"address": 0x8000}),
    ("extent-descends-across-chunks", 3, {"address": 0x7F0000100000}),
]:
    simple(name, "extents", index, fields)

for name, index, fields in [
    ("region-empty", 0, {"end": 0x7F0000000000}), ("region-backwards", 0, {"end": PAGE}),
    ("region-unaligned", 0, {"start": 0x7F0000000010}),
    ("region-stored", 0, {"stored": 0x500001}), ("region-zero", 0, {"zero": 0x500001}),
    ("region-shared-bytes", 1, {"shared_bytes": 0x4001}),
    ("region-kept-bytes", 1, {"kept_bytes": 2**64 - 1}),
    ("region-pid-0", 0, {"pid": 0}), ("region-kept", 1, {"kept": 1024}),
    ("region-prot", 0, {"prot": 8}), ("region-shared", 0, {"shared": 2}),
    ("region-pad", 0, {"pad": 1}), ("region-pad2", 1, {"pad2": 1 << 63}),
    ("region-name-endless", 0, {"name": b"x" * 64}),
    ("region-name-tail", 0, {"name": b"[heap]\0secret"}),
]:
    simple(name, "regions", index, fields)


@case
def empty(m):
    m.spaces, m.chunks, m.extents, m.regions = [], [], [], []
    m.cut = HEADER


@case
def header_cut(m):
    empty(m)
    m.cut = 1


@case
def cut_one_byte(m):
    m.cut = 1


@case
def cut_after_header(m):
    m.cut = len(m.spaces) * 48 + len(m.chunks) * 56 + len(m.extents) * 16 + len(m.regions) * 144


@case
def byte_behind(m):
    m.tail = b"\0"


@case
def checksum(m):
    m.is_sealed = False
    m.head.update(low=1)


@case
def checksum_zero(m):
    m.is_sealed = False


@case
def chunk_too_large(m):
    """Its extents add up, but to more than a chunk may hold."""
    m.extents[0]["n_pages"] = 513
    m.chunks[0]["bytes"] = m.chunks[0]["stored"] = 2 * MIB + PAGE


@case
def chunk_shared_bytes(m):
    """The same place, decoded to less."""
    m.chunks[1].update(codec=LZ4, stored=PAGE)
    m.chunks[4].update(codec=LZ4, stored=PAGE, bytes=2 * PAGE)
    m.extents[6]["n_pages"] = 1


@case
def chunk_shared_stored(m):
    m.chunks[1].update(codec=LZ4, stored=PAGE)
    m.chunks[4].update(codec=LZ4, stored=2 * PAGE)


@case
def space_chunks_left(m):
    """The last chunk belongs to no space."""
    m.spaces[2].update(n_chunks=0)
    for entry in m.spaces[3:]:
        entry["first_chunk"] -= 1


@case
def chunk_without_extents(m):
    m.chunks[3].update(n_extents=0)
    del m.extents[4]
    for entry in m.chunks[4:]:
        entry["first_extent"] -= 1


def seeds():
    nothing = Map()
    processes = Map()
    for pid in range(2, 6):
        processes.space(kind=TASK, pid=pid)
    one = Map()
    one.space(kind=TASK, pid=2)
    one.chunk(0, [(PAGE, 1)])
    shared = Map()
    shared.space(kind=SHARED, pid=2, fd=0, object_bytes=PAGE)
    shared.chunk(0, [(0, 1)], codec=ZSTD, stored=1)
    same = Map()
    same.space(kind=TASK, pid=2)
    for i in range(8):
        same.chunk(0 if i % 2 else PAGE, [(PAGE * (2 * i + 1), 1)], low=i % 2, high=0)
    regions = Map()
    regions.region(PAGE, 2 * PAGE, 2, b"")
    regions.region(PAGE, 2 * PAGE, 3, b"x" * 63)
    unsealed = good()
    unsealed.is_sealed = False
    return {"good": good(), "nothing": nothing, "processes": processes, "one": one,
            "devices": good_devices(), "shared": shared, "same-data": same, "regions": regions, "unsealed": unsealed,
            **{name: damaged(name) for name in (
                "chunk-overlaps", "extent-descends", "space-chunks-gap", "extents-beyond-bound",
                "chunk-extents-left", "region-name-endless", "cut-one-byte", "header-cut")}}


def damaged(name):
    m = copy.deepcopy(good())
    CASES[name](m)
    return m


def load(data):
    """A whole map of a capture, to be damaged."""
    head = dict(zip(HEAD[1].split(), struct.unpack_from(HEAD[0], data)))
    m, at = Map(), HEADER
    for form, table, n in ((SPACE, m.spaces, "n_spaces"), (CHUNK, m.chunks, "n_chunks"),
                           (EXTENT, m.extents, "n_extents"), (REGION, m.regions, "n_regions")):
        for _ in range(head[n]):
            table.append(dict(zip(form[1].split(), struct.unpack_from(form[0], data, at))))
            at += struct.calcsize(form[0])
    m.data_bytes = head["data_bytes"]
    assert m.bytes() == data
    return m


def data_files():
    """{name below tests/data: content}"""
    files = {"pages_map/good.map": good().bytes(),
             "pages_map/good-device.map": good_devices().bytes()}
    for name in CASES:
        files[f"pages_map/should-fail-{name}.map"] = damaged(name).bytes()
    for name, (index, fields) in DEVICE_CASES.items():
        m = good_devices()
        m.spaces[index].update(fields)
        files[f"pages_map/should-fail-device-{name}.map"] = m.bytes()
    for name, seed in seeds().items():
        files[f"fuzz/page_map/{name}"] = seed.bytes()
    return files
