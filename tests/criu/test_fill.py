# SPDX-License-Identifier: Apache-2.0
"""
The fillers of the page path: an engine woken by a ring in its own process has the memory it had,
and nothing of the ring; where no ring may be made the wake goes the other way and says why.
"""

import ctypes
import errno
import os
import shutil
import struct

import pytest

from lib import engines
from lib.starts import wait_until

WAKES = 2
IO_URING_SETUP = 425  # x86-64 and everywhere else
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2


def heap(programs):
    return engines.heap_engine(programs, 8011, "--heap", "64M", "--threads", "8")


def listing(pid, what):
    return sorted(os.listdir(f"/proc/{pid}/{what}"), key=int)


def descriptors(pid):
    """{number: what}, without the numbers of pipes and sockets."""
    return {fd: os.readlink(f"/proc/{pid}/fd/{fd}").split(":[")[0] for fd in listing(pid, "fd")}


def quiet_descriptors(pid):
    """When the connection of the last request is closed: only the listener is a socket then."""
    def look():
        try:
            found = descriptors(pid)
        except FileNotFoundError:  # closed between listing and look
            return None
        return found if list(found.values()).count("socket") == 1 else None

    return wait_until("connection closed", look, 10)


def mappings(pid):
    """Where, how and what; not the file's device, which is the container's own."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as lines:
        fields = [line.split(None, 5) for line in lines]
    return [(part[0], part[1], part[5].strip() if len(part) > 5 else "") for part in fields]


def traces(start):
    """Descriptors, threads and mappings of the one engine."""
    root, inside = start.engine_roots()[0][:2]
    threads = sorted(int(open(f"/proc/{root}/task/{tid}/status", encoding="utf-8").read()
                         .split("NSpid:")[1].split("\n")[0].split()[-1])
                     for tid in listing(root, "task"))
    return {"inside": inside, "fds": quiet_descriptors(root), "threads": threads,
            "maps": mappings(root)}


@pytest.fixture
def faults(programs):
    if not programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")


@pytest.fixture
def disk(programs):
    """A store in the build folder: a ring cannot read files of the workplace, which is a tmpfs."""
    folder = os.path.join(programs.build, f"fill.{os.getpid()}")
    os.mkdir(folder, 0o700)
    yield folder
    shutil.rmtree(folder)


def captured(where, store, engine, **options):
    """What the engine was like before the capture."""
    with where.start(store, engine, capture="first-boot", **options) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        return store, traces(start)


def woken(where, store, engine, *words, **options):
    """What a wake says about its fill, and what the engine is like after it."""
    with where.start(store, engine, extra=("--thp", "never", *words), **options) as start:
        record = start.wait_record("wake.done", "boot.cold")
        assert record["event"] == "wake.done", start.tail()
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        assert not start.records("boot.cold", "wake.failed"), start.tail()
        assert len(start.records("wake.fill")) == 1, start.tail()
        return start.records("wake.fill")[0], traces(start)


@pytest.mark.parametrize("direct", ["on", "off"])
@pytest.mark.parametrize("setting", ["A", "B"])
def test_ring_fills_and_leaves_no_trace(boxes, disk, setting, direct):
    engine = heap(boxes.programs)
    store, before = captured(boxes, disk, engine, setting=setting)
    for _ in range(WAKES):
        fill, after = woken(boxes, store, engine, "--filler", "ring", "--direct", direct,
                            setting=setting)
        assert fill["filler"] == "ring", fill
        # a chunk whose reads would block time and again goes the other way
        assert 48 << 20 <= fill["ring_bytes"] <= fill["bytes"]
        assert fill["direct"] == (direct == "on")
        assert "why" not in fill
        assert after == before


def test_fillers_leave_the_same_engine(boxes, disk):
    engine = heap(boxes.programs)
    store, before = captured(boxes, disk, engine)
    for word in ("auto", "writev", "ring"):
        fill, after = woken(boxes, store, engine, "--filler", word)
        assert fill["filler"] == ("ring" if word == "ring" else "writev")
        assert after == before


def broken(bench, store, engine, how):
    """A start whose worker breaks when the first reads have come and others are under way."""
    return bench.start(store, engine, extra=("--filler", "ring", "--direct", "on"),
                       env={"SNAPINIT_FAULT": f"wake.ring-half={how}"})


def test_ring_that_breaks_is_done_without(bench, disk, faults):
    engine = heap(bench.programs)
    store, _ = captured(bench, disk, engine)
    with broken(bench, store, engine, "fail") as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        fill = start.records("wake.fill")[0]
        assert "fault asked for" in fill["why"]
        assert len(start.engine_roots()) == 1


def test_worker_killed_with_reads_under_way(bench, disk, faults):
    """The tree has a ring and foreign registers: it is killed, and the engine boots cold."""
    engine = heap(bench.programs)
    store, _ = captured(bench, disk, engine)
    with broken(bench, store, engine, "kill") as start:
        record = start.wait_record("wake.done", "boot.cold")
        assert record["event"] == "boot.cold" and record["reason"] == "worker", start.tail()
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        wait_until("no worker", lambda: not start.tools(), 10)
        assert len(start.processes()) == 1, start.processes()


def test_file_system_without_nowait_says_so(boxes):
    engine = heap(boxes.programs)
    store, before = captured(boxes, boxes.workplace.store(), engine)
    fill, after = woken(boxes, store, engine, "--filler", "ring")
    assert fill["filler"] == "writev", fill
    assert "cannot read" in fill["why"]
    assert after == before


def test_podmans_profile_falls_back_by_name(boxes, disk, profile):
    engine = heap(boxes.programs)
    store, before = captured(boxes, disk, engine, setting="B")
    fill, after = woken(boxes, store, engine, "--filler", "ring", setting="C")
    assert fill["filler"] == "writev", fill
    assert fill["why"]
    assert after == before


def forbid_io_uring(answer):
    """A seccomp filter on this process and all below it: what kernel.io_uring_disabled does."""
    rules = [(0x20, 0, 0, 0), (0x15, 0, 1, IO_URING_SETUP), (0x06, 0, 0, SECCOMP_RET_ERRNO | answer),
             (0x06, 0, 0, SECCOMP_RET_ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(code)))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


@pytest.mark.parametrize("answer", [errno.ENOSYS, errno.EPERM], ids=["ENOSYS", "EPERM"])
def test_io_uring_forbidden_to_all(bench, disk, answer):
    """To the worker and, by inheritance, to the engine; under a filter the setting is C."""
    engine = heap(bench.programs)
    options = {"prepare": lambda: forbid_io_uring(answer)}
    store, before = captured(bench, disk, engine)
    _, without = woken(bench, store, engine, "--filler", "writev", **options)
    fill, after = woken(bench, store, engine, "--filler", "ring", **options)
    assert fill["filler"] == "writev", fill
    assert fill["reader"] == "pread"
    assert fill["why"]
    # under a filter mappings of libraries come back merged, whatever fills
    assert after == without
    assert {key: after[key] for key in ("fds", "threads")} == {
        key: before[key] for key in ("fds", "threads")}
