# SPDX-License-Identifier: Apache-2.0
"""
A capture under a memory limit: refused before anything is frozen, with both numbers, where it would
need more than there is; and not killed at the least limit that the gate lets pass.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import replace

import pytest

from lib import engines
from lib.cgroups import MemoryGroup
from lib.starts import read_text

MIB = 1 << 20
PORT = 8031
HEAP = 192 * MIB
WORKSPACE = 64 * MIB  # ROOM_WORKSPACE of snapshot/room.h
MAP_SHARE = 128       # of snapshot/room.c
OWN = 24 * MIB        # snapinit, the worker and page tables at the time of the gate
# of the programs' files, and what the kernel counts late
SLACK = 8 * MIB


@pytest.fixture(scope="module")
def disk(programs):
    """In the build folder: the workplace is a tmpfs."""
    folder = os.path.join(programs.build, f"capture_memory.{os.getpid()}")
    os.mkdir(folder, 0o700)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(autouse=True)
def groups(programs):
    why = MemoryGroup.why_impossible()
    if programs.is_sanitized():
        why = "a sanitizer's own memory is counted too"
    if why:
        pytest.skip(why)


@pytest.fixture(params=["disk", "tmpfs"])
def store(request, disk, bench):
    if request.param == "disk":
        return tempfile.mkdtemp(prefix="store.", dir=disk)
    return bench.workplace.store()


def is_tmpfs(path):
    kind = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True)
    return kind.stdout.strip() == "tmpfs"


def needed(store):
    """What the gate asks for, beside the engine."""
    return WORKSPACE + HEAP // MAP_SHARE + (HEAP if is_tmpfs(store) else 0)


class Capture:
    """An engine in a group of its own, captured when it is told to."""

    def __init__(self, bench, store, limit, *words):
        self.go = store + ".go"
        made = engines.heap_engine(bench.programs, PORT, "--heap", f"{HEAP // MIB}M")
        self.engine = replace(made, ready=f"exec:test -e {self.go}", oracle=None)
        self.group = MemoryGroup(limit)
        self.start = bench.start(store, self.engine, capture="first-boot", extra=words,
                                 prepare=self.group.enter)

    def __enter__(self):
        self.group.__enter__()
        self.start.__enter__()
        assert self.start.wait_http(PORT, "/check", seconds=60) == b"PASS\n"
        return self

    def __exit__(self, *what):
        self.start.__exit__(*what)
        self.group.__exit__(*what)

    def outcome(self):
        self.root = self.start.engine_roots()[0][0]
        with open(self.go, "w", encoding="ascii"):
            pass
        return self.start.wait_record("capture.done", "capture.failed", seconds=90)

    def assert_unharmed(self):
        """The same engine, with all its memory, and the kernel has killed nobody."""
        assert self.group.kills == 0, self.start.tail()
        assert self.start.engine_roots()[0][0] == self.root
        assert self.start.wait_http(PORT, "/check", seconds=60) == b"PASS\n"
        assert len(self.start.records("boot.cold")) == 1, self.start.tail()


@pytest.mark.parametrize("share", [0.75, 0.5], ids=["a little", "much"])
def test_a_limit_too_small_is_told_before_anything_is_frozen(bench, store, share):
    """Without the gate the kernel kills the engine of the last of these."""
    limit = HEAP + int(needed(store) * share)
    with Capture(bench, store, limit) as capture:
        record = capture.outcome()
        assert record["event"] == "capture.failed", capture.start.tail()
        assert record["code"] == "preflight", record
        told = re.search(r"memory: (\d+) MiB available of (\d+) MiB, a capture needs (\d+) MiB "
                         "beside the engine", record["msg"])
        assert told, record
        available, of, need = (int(number) * MIB for number in told.groups())
        assert of == limit // MIB * MIB and available < need
        assert limit - HEAP - OWN <= available <= limit - HEAP
        assert needed(store) - MIB <= need <= needed(store) + SLACK
        assert ("tmpfs" in record["msg"]) == is_tmpfs(store)
        capture.assert_unharmed()
    # as it was before
    assert not [name for name in os.listdir(store) if name != "kdat"]


@pytest.mark.parametrize("words", ["--pages auto", "--pages off"])
def test_a_limit_that_the_gate_lets_pass_is_enough(bench, store, words):
    with Capture(bench, store, HEAP + needed(store) + OWN, *words.split()) as capture:
        record = capture.outcome()
        assert record["event"] == "capture.done", capture.start.tail()
        print(f"peak beside the engine {(capture.group.peak - HEAP) / MIB:.1f} MiB, "
              f"needed {needed(store) / MIB:.1f}")
        capture.assert_unharmed()


def test_page_cache_is_room(bench, disk):
    """Read often, so that it is on the kernel's active list: more of it than the limit leaves."""
    store = tempfile.mkdtemp(prefix="store.", dir=disk)
    cached = os.path.join(disk, "cached")
    with open(cached, "wb") as out:
        out.write(os.urandom(40 * MIB))
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with Capture(bench, store, HEAP + needed(store) + OWN) as capture:
        # by a process of the group, for who reads first is charged
        subprocess.run(["cat", cached, cached, cached], stdout=subprocess.DEVNULL, check=True,
                       preexec_fn=capture.group.enter)
        stat = dict(line.split() for line in read_text(
            os.path.join(capture.group.path, "memory.stat")).splitlines())
        assert int(stat["active_file"]) > OWN + SLACK, stat
        record = capture.outcome()
        assert record["event"] == "capture.done", capture.start.tail()
        capture.assert_unharmed()
    os.unlink(cached)


def test_copies_of_files_count_where_the_store_is_a_tmpfs(bench):
    """Known only when all stands still: refused there, and the engine runs on."""
    store = bench.workplace.store()
    large = os.path.join(bench.workplace.folder("large"), "file")
    with open(large, "wb") as out:
        out.truncate(256 * MIB)
    with Capture(bench, store, HEAP + needed(store) + OWN, "--include", large) as capture:
        record = capture.outcome()
        assert record["event"] == "capture.failed", capture.start.tail()
        assert record["code"] == "preflight", record
        assert f"memory: none left for a copy of '{large}'" in record["msg"], record
        capture.assert_unharmed()
