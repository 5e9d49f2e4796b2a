# SPDX-License-Identifier: Apache-2.0
"""
What a wake takes beside the engine's own memory: the worker's and CRIU's, the woken tree's against
the captured one's, the disk's when several wake at once, and what happens where the memory is not
there. The figures that are asserted are the promises; those measured are in docs/performance.md.
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lib import engines, page_cache
from lib.cgroups import MemoryGroup
from lib.starts import descendants_of, read_text, wait_until

MIB = 1 << 20
PORT = 8030
HEAP = 1 << 30
WORKER_PEAK_MAX = 96 * MIB
WORKSPACE = 64 * MIB  # ROOM_WORKSPACE of snapshot/room.h
FILLERS, READERS, CODECS = ("writev", "ring"), ("uring", "pread"), ("none", "zstd")
RSS_SLACK = 0.05
AT_ONCE = 4
SHARED_HEAP = 256 * MIB
READ_SLACK = 0.1
EVICT_TRIES = 5
# a machine that is busy, and a build without optimization: this is not about time
PATIENT = {"SNAPINIT_WAKE_TIMEOUT": "60s"}


@pytest.fixture(scope="module")
def disk(programs):
    """In the build folder: the workplace is a tmpfs, whose files are memory."""
    folder = os.path.join(programs.build, f"resources.{os.getpid()}")
    os.mkdir(folder, 0o700)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture
def groups(programs):
    """Makes control groups that limit and count memory."""
    why = MemoryGroup.why_impossible()
    if programs.is_sanitized():
        why = "a sanitizer's own memory is counted too"
    if why:
        pytest.skip(why)
    with contextlib.ExitStack() as made:
        yield lambda limit=None: made.enter_context(MemoryGroup(limit))


def captured(bench, disk, name, engine, *words):
    """A store on the disk, and what of the tree was resident just before (Rss, Pss in bytes)."""
    store = tempfile.mkdtemp(prefix=name + ".", dir=disk)
    go = store + ".go"
    # no request between look and capture; and none that reads all the memory, which a build without
    # optimization takes seconds over
    waiting = replace(engine, ready=f"exec:test -e {go}", oracle=None)
    with bench.start(store, waiting, capture="first-boot", extra=words, env=PATIENT) as start:
        assert start.wait_http(engine.port, "/check", seconds=60) == b"PASS\n"
        before = tree_memory(start)
        with open(go, "w", encoding="ascii"):
            pass
        done = start.wait_record("capture.done", "capture.failed", seconds=120)
        assert done["event"] == "capture.done", start.tail()
    return store, waiting, before


def tree_memory(start):
    """(Rss, Pss) of all processes of the engine's tree, in bytes."""
    root = start.engine_roots()[0][0]
    sums = {"Rss": 0, "Pss": 0}
    for pid in [root, *descendants_of(root)]:
        text = read_text(f"/proc/{pid}/smaps_rollup")
        for name in sums:
            sums[name] += int(re.search(rf"^{name}: +(\d+)", text, re.MULTILINE)[1]) * 1024
    return sums["Rss"], sums["Pss"]


def data_file(store):
    return os.path.join(store, "gen-1/pages.dat")


def evict(path):
    """Pages on their way in or out escape now and then: never taken on trust."""
    for _ in range(EVICT_TRIES):
        page_cache.drop(path)
        if page_cache.resident_pages(path)[0] == 0:
            return
    raise AssertionError(f"{page_cache.resident_pages(path)} pages of {path} stay in the page cache")


def manifest(store):
    with open(os.path.join(store, "gen-1/manifest.json"), encoding="utf-8") as text:
        return json.load(text)


def needed(store):
    """What the gate asks for."""
    return manifest(store)["resident_bytes"] + WORKSPACE


def assert_woken(start, engine):
    record = start.wait_record("wake.done", "boot.cold", "wake.failed", "wake.refused")
    assert record["event"] == "wake.done", start.tail()
    assert start.wait_http(engine.port, "/check") == b"PASS\n"
    wait_until("end of the worker", lambda: not start.tools(), 10)
    return start.records("wake.fill")[0], start.records("wake.phases")[0]


# --- memory of the worker


class Watch(threading.Thread):
    """The worker's VmHWM, looked at until it ends."""

    def __init__(self, start):
        super().__init__()
        self.watched = start
        self.peak = 0
        self.over = threading.Event()
        self.start()

    def run(self):
        pid = None
        while not self.over.wait(0.001):
            if pid is None:
                found = self.watched.tools("snapworker")
                pid = found[0][0] if found else None
                continue
            with contextlib.suppress(OSError):
                text = read_text(f"/proc/{pid}/status")
                found = re.search(r"^Name:\tsnapworker\n(?:.*\n)*?VmHWM:\s+(\d+)", text)
                # its id may be another process's by now
                self.peak = max(self.peak, int(found[1]) * 1024 if found else 0)

    def stop(self):
        self.over.set()
        self.join()
        return self.peak


@pytest.fixture(scope="module")
def gibs(module_bench, disk):
    """codec -> store, engine of 1 GiB; each is made when it is first asked for."""
    made = {}

    def get(codec):
        if codec not in made:
            # what does not get smaller is not stored compressed
            more = ("--compressible",) if codec == "zstd" else ()
            engine = engines.heap_engine(module_bench.programs, PORT, "--heap", "1G", *more)
            made[codec] = captured(module_bench, disk, codec, engine, "--compress", codec)[:2]
        return made[codec]

    return get


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("filler", FILLERS)
def test_a_wake_needs_little_memory_beside_the_engines(bench, gibs, groups, filler, reader, codec):
    store, engine = gibs(codec)
    stored = os.path.getsize(data_file(store))
    assert stored < HEAP / 2 if codec == "zstd" else stored >= HEAP
    fill = assert_little(bench, store, engine, groups(), "--filler", filler, "--reader", reader)
    assert fill["bytes"] >= HEAP and fill["reader"] == reader, fill
    # a ring reads what is not compressed
    assert fill["filler"] == ("writev" if codec == "zstd" else filler), fill


def test_a_map_of_many_pieces_needs_little_memory_too(bench, disk, groups):
    """Every second page: the worst map that 1 GiB can have."""
    engine = engines.heap_engine(bench.programs, PORT, "--heap", "1G", "--holes", "2")
    store, engine, _ = captured(bench, disk, "pieces", engine)
    fill = assert_little(bench, store, engine, groups())
    assert fill["bytes"] >= HEAP / 2


def assert_little(bench, store, engine, group, *words):
    words += ("--direct", "on")
    with bench.start(store, engine, extra=words, env=PATIENT, prepare=group.enter) as start:
        watch = Watch(start)
        try:
            fill, phases = assert_woken(start, engine)
        finally:
            seen = watch.stop()
        peak = group.peak
        rss, _ = tree_memory(start)
    assert fill["direct"], fill  # so that files read are not in the group's count
    print(f"worker {phases['peak_bytes'] / MIB:.1f} (seen {seen / MIB:.1f}), CRIU "
          f"{phases['criu_peak_bytes'] / MIB:.1f}, all beside the engine {(peak - rss) / MIB:.1f} MiB")
    assert 0 < seen <= WORKER_PEAK_MAX
    # the last look was before the end, and counters of the kernel's lag a little
    assert seen - MIB <= phases["peak_bytes"] <= WORKER_PEAK_MAX
    assert 0 < phases["criu_peak_bytes"] <= WORKER_PEAK_MAX
    # the kernel's own count of everything: programs, CRIU, page tables, files read
    assert fill["bytes"] < peak <= needed(store)
    return fill


# --- memory of the woken tree

TREES = {
    "dense": lambda programs: engines.heap_engine(programs, PORT, "--heap", "64M"),
    "zero half": lambda programs: engines.heap_engine(programs, PORT, "--heap", "64M",
                                                      "--zero-half", "--shm", "16M"),
    "sparse": lambda programs: engines.heap_engine(programs, PORT, "--heap", "64M", "--holes", "2"),
    # of these two the first has more holes than huge pages may fill
    "nearly dense": lambda programs: engines.heap_engine(programs, PORT, "--heap", "64M",
                                                         "--holes", "12"),
    "all but dense": lambda programs: engines.heap_engine(programs, PORT, "--heap", "64M",
                                                          "--holes", "26"),
    "python": lambda programs: engines.pyservice(programs, PORT),
    "node": lambda programs: engines.node_service(programs, PORT),
}


@pytest.mark.parametrize("kind", TREES)
def test_a_woken_tree_has_no_more_memory_than_before(bench, disk, kind):
    engine = TREES[kind](bench.programs)
    if engine is None:
        pytest.skip("node is not installed")
    store, engine, (rss, pss) = captured(bench, disk, kind.replace(" ", "-"), engine)
    for filler in FILLERS:
        with bench.start(store, engine, extra=("--filler", filler), env=PATIENT) as start:
            start.wait_record("wake.done", "boot.cold")
            at_once, _ = tree_memory(start)
            assert_woken(start, engine)
            now, now_pss = tree_memory(start)
        print(f"{kind}, {filler}: Rss {rss / MIB:.1f} before, {at_once / MIB:.1f} woken, "
              f"{now / MIB:.1f} when all was read; Pss {pss / MIB:.1f}, {now_pss / MIB:.1f} MiB")
        # also when all of it has been read, by which holes could get pages
        assert max(at_once, now) <= (1 + RSS_SLACK) * rss
        assert now_pss <= (1 + RSS_SLACK) * pss


# --- several at once


def bytes_read(start):
    """
    From devices, by all processes of the start. A process's own count goes to who reaps it, so the
    worker's and CRIU's are snapinit's by now. Unlike the device's statistics it has no part of what
    others on the machine read meanwhile.
    """
    return sum(int(re.search(r"^read_bytes: (\d+)", read_text(f"/proc/{pid}/io"),
                             re.MULTILINE)[1]) for pid in [start.pid, *descendants_of(start.pid)])


@pytest.fixture(scope="module")
def shared(module_bench, disk):
    engine = engines.heap_engine(module_bench.programs, PORT, "--heap", "256M")
    return captured(module_bench, disk, "shared", engine)[:2]


def wakes_at_once(bench, store, engine, *words):
    """Bytes that four starts have read from the disk, one number each."""
    ready = threading.Barrier(AT_ONCE)

    def one(_):
        ready.wait(60)
        with bench.start(store, engine, extra=words, env=PATIENT) as start:
            fill, _ = assert_woken(start, engine)
            assert not start.records("boot.cold", "wake.failed", "wake.refused"), start.tail()
            assert fill["direct"] == 0 or "off" not in words
            assert fill["bytes"] >= SHARED_HEAP
            return bytes_read(start)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


@pytest.mark.parametrize("reader", READERS)
def test_wakes_at_once_read_the_disk_once(bench, shared, reader):
    store, engine = shared
    evict(data_file(store))
    read = wakes_at_once(bench, store, engine, "--direct", "off", "--reader", reader)
    whole = manifest(store)["snapshot_bytes"]
    print(f"{reader}: {[f'{part / MIB:.1f}' for part in read]} of {whole / MIB:.1f} MiB")
    # the heap does not compress, so all of it is in the file
    assert SHARED_HEAP <= sum(read) <= (1 + READ_SLACK) * whole


def test_wakes_at_once_past_the_page_cache_read_for_themselves(bench, shared):
    """That what was counted above can be more."""
    store, engine = shared
    evict(data_file(store))
    read = wakes_at_once(bench, store, engine, "--direct", "on")
    print(f"direct: {[f'{part / MIB:.1f}' for part in read]} MiB")
    assert min(read) >= SHARED_HEAP


# --- memory that is not there


@pytest.fixture(scope="module")
def limited(module_bench, disk):
    engine = engines.heap_engine(module_bench.programs, PORT, "--heap", "192M")
    return captured(module_bench, disk, "limited", engine)[:2]


@pytest.mark.parametrize("fault", [None, "wake.digests-start=kill"], ids=["", "broken behind the gate"])
def test_a_limit_too_small_is_told_before_any_work(bench, limited, groups, fault):
    store, engine = limited
    if fault and not bench.programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")
    limit = needed(store) - 16 * MIB  # enough for a cold boot
    group = groups(limit)
    env = {"SNAPINIT_FAULT": fault} if fault else {}
    with bench.start(store, engine, prepare=group.enter, env=env) as start:
        start.wait_record("boot.cold", "wake.done")
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        assert_refused_for_memory(start, limit, store)
        wait_until("end of the worker", lambda: not start.tools(), 10)
        # ids come one after another: 1 is snapinit, 2 the worker, 3 its CRIU, which has told its
        # version and was asked for nothing else; no other process or thread was made for the wake
        assert [entry[1] for entry in start.processes()] == [4], start.processes()
        assert group.kills == 0


def assert_refused_for_memory(start, limit, store):
    records = start.records("wake.refused", "wake.failed", "wake.done")
    assert [record["event"] for record in records] == ["wake.refused"], start.tail()
    assert records[0]["code"] == "incompatible", records
    told = re.search(r"memory: (\d+) MiB available, (\d+) MiB needed", records[0]["msg"])
    assert told, records
    assert limit / MIB - 48 <= int(told[1]) <= limit / MIB
    assert int(told[2]) == -(-needed(store) // MIB)
    assert len(start.records("boot.cold")) == 1
    assert not start.records("wake.phases", "wake.fill"), start.tail()


@pytest.mark.parametrize("direct", ["on", "off"])
def test_a_limit_that_the_gate_lets_pass_is_enough(bench, limited, groups, direct):
    """Not killed by the kernel at the least limit at which the gate agrees."""
    store, engine = limited
    evict(data_file(store))
    own = 24 * MIB  # snapinit, the worker and CRIU at the time of the gate
    group = groups(needed(store) + own)
    with bench.start(store, engine, extra=("--direct", direct), env=PATIENT,
                     prepare=group.enter) as start:
        assert_woken(start, engine)
        assert group.kills == 0


@pytest.mark.parametrize("spare_mib", [-16, 48], ids=["too small", "enough"])
def test_limit_of_a_container(boxes, limited, groups, spare_mib):
    """As a runtime sets it: a group of the container's own, its files in /sys/fs/cgroup."""
    store, engine = limited
    groups()  # is there a memory controller?
    limit = needed(store) + spare_mib * MIB
    with boxes.start(store, engine, memory=limit, cgroup=True) as start:
        start.wait_record("boot.cold", "wake.done")
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        if spare_mib < 0:
            assert_refused_for_memory(start, limit, store)
        else:
            assert_woken(start, engine)
