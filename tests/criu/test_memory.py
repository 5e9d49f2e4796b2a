# SPDX-License-Identifier: Apache-2.0
"""
Memory comes through a capture and a wake bit by bit, whatever way the pages take. Seen from outside
by tests/fixtures/memory_hash.c at three moments: before the capture, after it in the engine that
runs on, and after the wake before anybody asks anything. And seen by the engine itself afterwards.

A random tree by hand: random_tree --port P --seed N; its combination is in combination_of().
"""

import contextlib
import glob
import itertools
import os
import random
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from lib import engines
from lib.starts import descendants_of, read_text, wait_until

SEEDS_CI, SEEDS_FULL = 60, 300
AT_ONCE = 2
TLS_WORDS = 24  # below a thread pointer: errno, which an interrupted system call sets
VOLATILE_MAX = {"pyservice": 4}  # pages: the interpreter's lock, and its stack
PSS_SLACK, RSS_SLACK = 0.05, 0.05
LIBRARIES_KB = 512
PORT = 8200


@dataclass(frozen=True)
class Combination:
    filler: str
    reader: str
    codec: str
    cache: str
    thp: str

    def __str__(self):
        return "-".join((self.filler, self.reader, self.codec, self.cache, "thp_" + self.thp))


READERS, CODECS = ("uring", "pread"), ("auto", "none", "lz4", "zstd")
CACHES, THPS = ("warm", "evicted"), ("auto", "never")


def fillers():
    """SNAP_FILLERS=writev,ring: for a worker that has the ring."""
    return tuple(os.environ.get("SNAP_FILLERS", "writev").split(","))


# --- looks from outside


HASH_TRIES = 5


def take_hash(programs, pid, thp, *more):
    """Lines of memory_hash, and its per-page lines."""
    pages = f"/tmp/memory.{os.getpid()}.{threading.get_ident()}"
    try:
        for _ in range(HASH_TRIES):
            made = subprocess.run(
                [programs.fixture("memory_hash"), "--tls-words", str(TLS_WORDS), "--pages", pages,
                 # huge-page advice is what a wake may add
                 "--without", "hg" if thp == "auto" else "", *more, str(pid)],
                capture_output=True, text=True, timeout=60, check=False)
            # a thread that served a request ends a little after its answer
            if "No such process" not in made.stderr:
                break
        assert made.returncode == 0, made.stderr
        return sorted(made.stdout.splitlines()), read_text(pages).splitlines()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(pages)


def idle_hash(programs, start, thp):
    """The same twice in a row: threads that served the last request have gone to sleep."""
    root = start.engine_roots()[0][0]
    last = [None]

    def same():
        now = take_hash(programs, root, thp)
        previous, last[0] = last[0], now
        return now if previous == now else None

    return wait_until("idle engine", same, 10)


def wait_asleep(start):
    """
    Every thread is back in the call that the capture found it in: one that has not run since the
    tree was continued stands before it, two bytes back.
    """
    root = start.engine_roots()[0][0]

    def all_sleep():
        stats = [read_text(path) for pid in [root, *descendants_of(root)]
                 for path in glob.glob(f"/proc/{pid}/task/*/stat")]
        return all(stat.rpartition(") ")[2][0] == "S" for stat in stats)

    wait_until("every thread asleep", all_sleep, 10)


def page_of(line):
    """(pid, address) of a line about a page."""
    pid, address, _ = line.split()
    return int(pid), int(address, 16)


def volatile_pages(programs, start, thp):
    """
    What the engine itself writes when a call is interrupted, which CRIU does to poll and its like:
    seen by interrupting it twice without any snapshot.
    """
    root = start.engine_roots()[0][0]
    seen = [set(idle_hash(programs, start, thp)[1])]
    for _ in range(2):
        take_hash(programs, root, thp, "--interrupt")
        seen.append(set(idle_hash(programs, start, thp)[1]))
    return {page_of(line) for line in (seen[0] ^ seen[1]) | (seen[1] ^ seen[2])}


def without(looked, volatile):
    """The lines without the hashes that volatile pages enter into, and the other pages."""
    lines, pages = looked
    kept = []
    for line in lines:
        found = re.match(r"(\d+) map ([0-9a-f]+)-([0-9a-f]+) ", line)
        if found:
            pid, (low, high) = int(found[1]), (int(found[2], 16), int(found[3], 16))
            if any(pid == other and low <= at < high for other, at in volatile):
                line = line[:line.index(" pages=")]
        kept.append(line)
    return kept, {line for line in pages if page_of(line) not in volatile}


def compare(before, after, what, volatile=frozenset()):
    """Equal, or the lines and the pages that differ."""
    (old_lines, old_pages), (lines, pages) = without(before, volatile), without(after, volatile)
    if (old_lines, old_pages) == (lines, pages):
        return
    told = [f"- {line}" for line in old_lines if line not in set(lines)]
    told += [f"+ {line}" for line in lines if line not in set(old_lines)]
    differing = sorted(old_pages ^ pages, key=page_of)
    raise AssertionError(f"{what}: memory differs\n" + "\n".join(told[:40]) +
                         f"\n{len(differing)} lines of pages, the first:\n" +
                         "\n".join(("- " if line in old_pages else "+ ") + line
                                   for line in differing[:20]))


def smaps_sum(start, name):
    """KiB over the engine's tree."""
    root = start.engine_roots()[0][0]
    return sum(int(re.search(rf"^{name}: +(\d+)", read_text(f"/proc/{pid}/smaps_rollup"),
                             re.MULTILINE).group(1)) for pid in [root, *descendants_of(root)])


def evict(store):
    """Out of the page cache: has an effect where the store is on a disk."""
    for folder, _, names in os.walk(store):
        for name in names:
            fd = os.open(os.path.join(folder, name), os.O_RDONLY)
            try:
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


# --- a snapshot and its wakes


class Snapshot:
    """One capture of one engine, with what its memory was, to be woken in many ways."""

    def __init__(self, bench, engine, store, codec):
        self.bench = bench
        self.programs = bench.programs
        # no request may stand between a look and the capture, or between the wake and a look
        self.go = os.path.join(store, "go")
        self.engine = replace(engine, ready=f"exec:test -e {self.go}", oracle=None)
        self.store = os.path.join(store, "store")
        self.hashes = {}
        self.rss = self.pss = 0
        self.pss_running_on = 0
        os.mkdir(self.store, 0o700)
        # SNAP_CAPTURE_WORDS="--pages off": is a difference the page path's or CRIU's own?
        words = ("--compress", codec, *os.environ.get("SNAP_CAPTURE_WORDS", "").split())
        with self.start(capture="first-boot", extra=words) as start:
            start.wait_http(engine.port, "/health")
            self.volatile = volatile_pages(self.programs, start, "never")
            assert len(self.volatile) <= VOLATILE_MAX.get(engine.name, 0), self.volatile
            before = {thp: idle_hash(self.programs, start, thp) for thp in THPS}
            self.rss, self.pss = smaps_sum(start, "Rss"), smaps_sum(start, "Pss")
            with open(self.go, "w", encoding="ascii"):
                pass
            done = start.wait_record("capture.done", "capture.failed", seconds=90)
            assert done["event"] == "capture.done", start.tail()
            for thp in THPS:
                self.hashes[thp] = idle_hash(self.programs, start, thp)
                compare(before[thp], self.hashes[thp], "running on after the capture",
                        self.volatile)
            self.pss_running_on = smaps_sum(start, "Pss")
            assert start.wait_http(engine.port, "/check") == b"PASS\n"

    def start(self, **options):
        return self.bench.start(self.store, self.engine, **options)

    @contextlib.contextmanager
    def woken(self, combination, *extra):
        if combination.cache == "evicted":
            evict(self.store)
        words = ("--filler", combination.filler, "--reader", combination.reader,
                 "--thp", combination.thp)
        with self.start(extra=(*words, *extra)) as start:
            record = start.wait_record("wake.done", "boot.cold", "wake.failed", "wake.refused")
            assert record["event"] == "wake.done", start.tail()
            for fill in start.records("wake.fill"):
                assert fill["reader"] == combination.reader, fill
                # a ring where there is something that one can read, else the reason
                assert fill["filler"] == combination.filler or fill["why"], fill
            yield start

    def wake(self, combination):
        with self.woken(combination) as start:
            root = start.engine_roots()[0][0]
            wait_asleep(start)
            compare(self.hashes[combination.thp],
                    take_hash(self.programs, root, combination.thp), f"woken by {combination}",
                    self.volatile)
            assert start.wait_http(self.engine.port, "/check") == b"PASS\n"
            return start.records("wake.fill")


@pytest.fixture(scope="module")
def disk(programs):
    """A folder in the build folder: the workplace is a tmpfs, whose files nothing evicts."""
    folder = os.path.join(programs.build, f"memory.{os.getpid()}")
    os.mkdir(folder, 0o700)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def fresh_folder(disk, name):
    path = os.path.join(disk, name)
    os.mkdir(path, 0o700)
    return path


# --- the matrix

TREES = ("heap", "pyservice", "random")


def tree(programs, kind, folder):
    if kind == "heap":
        return engines.heap_engine(programs, PORT, "--heap", "24M", "--shm", "8M", "--zero-half",
                                   "--threads", "4")
    if kind == "pyservice":
        return engines.pyservice(programs, PORT)
    return engines.random_tree(programs, PORT, 3, "--processes", "3", "--dir", folder)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", TREES)
def test_memory_is_the_same_by_every_way(module_bench, disk, kind, codec):
    folder = fresh_folder(disk, f"{kind}-{codec}")
    snapshot = Snapshot(module_bench, tree(module_bench.programs, kind, folder), folder, codec)
    for way in itertools.product(fillers(), READERS, [codec], CACHES, THPS):
        assert snapshot.wake(Combination(*way)), "no memory went through page files"


# --- random trees


def combination_of(seed):
    drawn = random.Random(seed)
    return Combination(drawn.choice(fillers()), drawn.choice(READERS), drawn.choice(CODECS),
                       drawn.choice(CACHES), drawn.choice(THPS))


def round_trip(bench, disk, seed):
    folder = fresh_folder(disk, f"seed-{seed}")
    combination = combination_of(seed)
    try:
        engine = engines.random_tree(bench.programs, PORT + seed % 100, seed, "--dir", folder)
        Snapshot(bench, engine, folder, combination.codec).wake(combination)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, {combination}: {error}") from error
    finally:
        subprocess.run(["rm", "-rf", folder], check=False)


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        metafunc.parametrize("seed", range(1, (SEEDS_FULL if full else SEEDS_CI) + 1))


@pytest.fixture(scope="module")
def round_trips(request, module_bench, disk):
    """Of all seeds that were selected, some at once; each test waits for its own."""
    seeds = [item.callspec.params["seed"] for item in request.session.items
             if "seed" in getattr(getattr(item, "callspec", None), "params", {})]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {seed: pool.submit(round_trip, module_bench, disk, seed) for seed in seeds}
        yield running
        for future in running.values():
            future.cancel()


def test_random_tree_comes_back_bit_by_bit(round_trips, seed):
    round_trips[seed].result()


# --- protection and locks of what a fork has handed on


@pytest.mark.parametrize("words", ["--pages auto", "--pages off"])
def test_inherited_mappings_keep_their_own_attributes(module_bench, disk, monkeypatch, words):
    monkeypatch.setenv("SNAP_CAPTURE_WORDS", words)
    folder = fresh_folder(disk, words.replace(" ", ""))
    snapshot = Snapshot(module_bench, engines.inherited_maps(module_bench.programs, PORT), folder,
                        "auto")
    for filler in fillers():
        snapshot.wake(Combination(filler, "pread", "auto", "warm", "auto"))


# --- what is shared stays shared, and nothing more is there than before

PLAIN = Combination("writev", "uring", "auto", "warm", "auto")


def test_memory_shared_by_fork_stays_shared(module_bench, disk):
    folder = fresh_folder(disk, "shared")
    engine = engines.random_tree(module_bench.programs, PORT, 0, "--processes", "4",
                                 "--inherited", str(16 << 20), "--max-bytes", str(4 << 20), "--dir", folder)
    snapshot = Snapshot(module_bench, engine, folder, "auto")
    assert snapshot.rss > 2 * snapshot.pss, "nothing is shared in this tree"
    # libraries are shared with whatever else runs on this machine: a process that ends raises ours
    most = (1 + PSS_SLACK) * snapshot.pss + LIBRARIES_KB
    assert snapshot.pss_running_on <= most, (snapshot.pss_running_on, snapshot.pss)
    with snapshot.woken(PLAIN) as start:
        pss = smaps_sum(start, "Pss")
    # zeros that were written are not there any more: less is no fault
    assert pss <= most, (pss, snapshot.pss)


@pytest.mark.parametrize("half", [(), ("--zero-half",)], ids=["dense", "zero half"])
@pytest.mark.parametrize("thp", THPS)
def test_no_more_memory_after_a_wake(module_bench, disk, half, thp):
    folder = fresh_folder(disk, f"rss-{len(half)}-{thp}")
    engine = engines.heap_engine(module_bench.programs, PORT, "--heap", "64M", *half)
    snapshot = Snapshot(module_bench, engine, folder, "auto")
    with snapshot.woken(replace(PLAIN, thp=thp)) as start:
        rss = smaps_sum(start, "Rss")
    assert rss <= (1 + RSS_SLACK) * snapshot.rss, (rss, snapshot.rss)
