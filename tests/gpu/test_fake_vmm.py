# SPDX-License-Identifier: Apache-2.0
"""Device addresses and memory apart, in this process, which is checkpointed by itself too."""

import ctypes
import os

import pytest

from fakes import call, cuda, let_self_run, rss_mib, state

GRANULE = 2 << 20
SIZE = 8 * GRANULE
DEVICE, PINNED = 1, 1
NONE, READ, READ_WRITE = 0, 1, 3


class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class Properties(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("handle_types", ctypes.c_int), ("location", Location),
                ("win32", ctypes.c_void_p), ("flags", ctypes.c_uint64)]


class Access(ctypes.Structure):
    _fields_ = [("location", Location), ("flags", ctypes.c_int)]


HERE = Location(DEVICE, 0)
PROPERTIES = Properties(PINNED, 0, HERE, None, 0)
u64 = ctypes.c_uint64


@pytest.fixture(autouse=True, scope="module")
def context():
    made = ctypes.c_void_p()
    assert cuda.cuInit(0) == 0
    assert cuda.cuCtxCreate_v2(ctypes.byref(made), 0, 0) == 0


def reserve(size, hint=0):
    place = u64()
    assert cuda.cuMemAddressReserve(ctypes.byref(place), u64(size), u64(0), u64(hint), u64(0)) == 0
    return place.value


def create(size, properties=PROPERTIES):
    handle = u64()
    r = cuda.cuMemCreate(ctypes.byref(handle), u64(size), ctypes.byref(properties), u64(0))
    return r or handle.value


def put(place, size, handle):
    return cuda.cuMemMap(u64(place), u64(size), u64(0), u64(handle), u64(0))


def allow(place, size, flags=READ_WRITE):
    return cuda.cuMemSetAccess(u64(place), u64(size), ctypes.byref(Access(HERE, flags)), u64(1))


def write(place, data):
    return cuda.cuMemcpyHtoD_v2(u64(place), data, u64(len(data)))


def read(place, size):
    buffer = ctypes.create_string_buffer(size)
    r = cuda.cuMemcpyDtoH_v2(buffer, u64(place), u64(size))
    return r or buffer.raw


def free_bytes():
    free, total = u64(), u64()
    assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    return free.value


@pytest.fixture(name="place")
def mapped_place():
    """two pieces of memory side by side, and as much again without"""
    place, handles = reserve(2 * SIZE), [create(SIZE // 2), create(SIZE // 2)]
    for i, handle in enumerate(handles):
        assert put(place + i * SIZE // 2, SIZE // 2, handle) == 0
        assert cuda.cuMemRelease(u64(handle)) == 0
    assert allow(place, SIZE) == 0
    yield place
    let_self_run()
    assert cuda.cuMemUnmap(u64(place), u64(SIZE)) == 0
    assert cuda.cuMemAddressFree(u64(place), u64(2 * SIZE)) == 0


def test_granularity():
    size = u64()
    assert cuda.cuMemGetAllocationGranularity(ctypes.byref(size), ctypes.byref(PROPERTIES), 0) == 0
    assert size.value == GRANULE
    place = u64()
    assert cuda.cuMemAddressReserve(ctypes.byref(place), u64(GRANULE - 1), u64(0), u64(0), u64(0)) == 1
    assert create(GRANULE + 1) == 1
    assert create(GRANULE, Properties(PINNED, 0, Location(DEVICE, 9), None, 0)) == 101
    assert create(GRANULE, Properties(PINNED, 1, HERE, None, 0)) == 801


def test_copies_go_over_neighbouring_mappings_and_not_beyond(place):
    data = os.urandom(3 * GRANULE)
    start = place + SIZE // 2 - GRANULE
    assert write(start, data) == 0
    assert read(start, len(data)) == data
    assert write(place + SIZE - 1, b"xx") == 1
    assert read(place + SIZE, 1) == 1


def test_access_is_obeyed(place):
    flags = u64()
    assert write(place, b"abc") == 0
    assert allow(place, SIZE, READ) == 0
    assert cuda.cuMemGetAccess(ctypes.byref(flags), ctypes.byref(HERE), u64(place)) == 0
    assert flags.value == READ
    assert write(place, b"x") == 1
    assert read(place, 3) == b"abc"
    assert allow(place, SIZE, NONE) == 0
    assert read(place, 3) == 1


def test_memory_outlives_its_handle_and_is_counted_until_unmapped():
    before, place, handle = free_bytes(), reserve(GRANULE), create(GRANULE)
    assert free_bytes() == before - GRANULE
    assert put(place, GRANULE, handle) == 0
    assert put(place, GRANULE, handle) == 1
    assert cuda.cuMemRelease(u64(handle)) == 0
    assert free_bytes() == before - GRANULE
    assert cuda.cuMemAddressFree(u64(place), u64(GRANULE)) == 1
    assert cuda.cuMemUnmap(u64(place), u64(GRANULE)) == 0
    assert free_bytes() == before
    assert put(place, GRANULE, handle) == 1
    assert cuda.cuMemRelease(u64(handle)) == 1
    assert cuda.cuMemAddressFree(u64(place), u64(GRANULE)) == 0


def test_one_memory_at_two_places():
    first, second, handle = reserve(GRANULE), reserve(GRANULE), create(GRANULE)
    for place in (first, second):
        assert put(place, GRANULE, handle) == 0
        assert allow(place, GRANULE) == 0
    assert write(first, b"shared") == 0
    assert read(second, 6) == b"shared"
    for place in (first, second):
        assert cuda.cuMemUnmap(u64(place), u64(GRANULE)) == 0
        assert cuda.cuMemAddressFree(u64(place), u64(GRANULE)) == 0
    assert cuda.cuMemRelease(u64(handle)) == 0


def test_hint_is_taken_where_it_is_free():
    place = reserve(GRANULE)
    assert reserve(GRANULE, hint=place) != place
    assert cuda.cuMemAddressFree(u64(place), u64(GRANULE)) == 0
    assert reserve(GRANULE, hint=place) == place


def test_checkpoint_takes_the_mapped_and_nothing_for_the_reserved(place):
    data = os.urandom(SIZE)
    assert write(place, data) == 0
    pid, empty = os.getpid(), reserve(512 * GRANULE)
    rss = rss_mib(pid)
    assert call("Lock", pid) == call("Checkpoint", pid) == 0
    grown = rss_mib(pid) - rss
    assert call("Restore", pid) == call("Unlock", pid) == 0
    assert 0.9 < grown / (SIZE >> 20) < 1.5
    assert state(pid) == 0
    assert read(place, SIZE) == data
    assert cuda.cuMemAddressFree(u64(empty), u64(512 * GRANULE)) == 0
