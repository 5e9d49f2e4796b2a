# SPDX-License-Identifier: Apache-2.0
"""The engine of the GPU tests over the fake libcuda: its sums tell what is lost."""

import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from fakes import BUILD, FAKE, PREFIX, call, criu, cuda, lock_args

PR_SET_CHILD_SUBREAPER = 36


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Engine:
    def __init__(self, *options, stdio=None, **env):
        self.port = free_port()
        self.process = subprocess.Popen(
            [BUILD / "tests/fixtures/cuda_engine", "--port", str(self.port), *map(str, options)],
            stdin=stdio, stdout=stdio, stderr=stdio, start_new_session=True,
            env=os.environ | {"LD_LIBRARY_PATH": str(FAKE)} | env)
        for _ in range(600):
            assert self.process.poll() is None, "the engine has ended"
            try:
                assert self.get("/health") == (200, "ok\n")
                break
            except OSError:
                time.sleep(0.05)
        self.pids = [int(word) for word in self.get("/pids")[1].split()]

    def get(self, path, timeout=30):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def walk(self, *names):
        for name in names:
            for pid in self.pids:
                assert call(name, pid) == 0, (name, pid)


@pytest.fixture
def engine():
    made = []

    def make(*options, **env):
        made.append(Engine(*options, **env))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()


@pytest.fixture(autouse=True, scope="module")
def caller_is_initialised():
    assert cuda.cuInit(0) == 0


def test_sum_is_of_all_processes_and_the_same_in_each_run(engine):
    one = engine("--device-mib", 5, "--pinned-mib", 2, "--children", 2)
    assert len(one.pids) == 3
    status, total = one.get("/sum")
    assert status == 200
    assert one.get("/check") == (200, "PASS\n")
    options = [("--device-mib", 5, "--pinned-mib", 2, "--children", 2),
               ("--device-mib", 5, "--pinned-mib", 2, "--children", 1),
               ("--device-mib", 5, "--pinned-mib", 1, "--children", 2),
               ("--device-mib", 5, "--pinned-mib", 2, "--children", 2, "--vmm-mib", 2),
               ("--device-mib", 5, "--pinned-mib", 2, "--children", 2, "--zero-mib", 1)]
    others = [engine(*words).get("/sum")[1] for words in options]
    assert others[0] == total
    assert len({total, *others}) == 5


def test_sum_outlives_checkpoint_and_restore_of_the_tree(engine):
    one = engine("--device-mib", 8, "--zero-mib", 3, "--pinned-mib", 1, "--vmm-mib", 4,
                 "--children", 1)
    total = one.get("/sum")
    one.walk("Lock", "Checkpoint")
    with pytest.raises(OSError):
        one.get("/sum", timeout=0.5)
    one.walk("Restore", "Unlock")
    assert one.get("/sum") == total


def staging(pid):
    """the private anonymous writable memory that is a multiple of the granule and above 1 TiB"""
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split()
        start, end = (int(part, 16) for part in words[0].split("-"))
        if words[1] == "rw-p" and len(words) == 5 and end - start == 2 << 20 and start >= 1 << 40:
            yield start


def test_one_lost_byte_of_a_child_shows(engine):
    one = engine("--device-mib", 2, "--children", 1)
    before = set(staging(one.pids[1]))
    one.walk("Lock", "Checkpoint")
    (place, *_) = set(staging(one.pids[1])) - before
    with open(f"/proc/{one.pids[1]}/mem", "r+b", buffering=0) as memory:
        memory.seek(place + 4711)
        byte = memory.read(1)
        memory.seek(place + 4711)
        memory.write(bytes([byte[0] ^ 1]))
    one.walk("Restore", "Unlock")
    assert one.get("/check") == (500, "FAIL memory has changed\n")


def descriptors(pid):
    found = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(fd))
        except FileNotFoundError:
            pass
    return found


def children_of(pid):
    words = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in words]


def test_forked_child_keeps_the_handle_that_the_checkpoint_closes(engine):
    one = engine("--device-mib", 2, "--keep-device")
    (child,) = children_of(one.pids[0])
    handle = descriptors(child) & {"anon_inode:[landlock-ruleset]", "anon_inode:landlock-ruleset",
                                   "anon_inode:[userfaultfd]", "anon_inode:[perf_event]"}
    assert handle and handle <= descriptors(one.pids[0])
    one.walk("Lock", "Checkpoint")
    assert not handle & descriptors(one.pids[0])
    assert handle <= descriptors(child)


def test_thread_that_synchronises_dies_once_checkpointed(engine):
    one = engine("--device-mib", 2, "--sync-loop")
    one.walk("Lock")
    time.sleep(0.1)
    assert one.process.poll() is None
    one.walk("Checkpoint")
    assert one.process.wait(10) == -signal.SIGSEGV


def test_children_end_with_the_first_process(engine):
    one = engine("--device-mib", 2, "--children", 1, "--keep-device")
    others = children_of(one.pids[0])
    assert len(others) == 2
    one.process.kill()
    one.process.wait()
    for _ in range(100):
        if not any(is_alive(pid) for pid in others):
            return
        time.sleep(0.05)
    raise AssertionError("still there")


def is_alive(pid):
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("option", ["--stream", "--graph"])
def test_stream_goes_on_after_a_restore(engine, option):
    one = engine("--device-mib", 2, option)
    total, rounds = one.get("/sum"), wait_rounds(one, 1)
    one.walk("Lock", "Checkpoint", "Restore", "Unlock")
    wait_rounds(one, rounds + 5)
    assert one.get("/sum") == total


def wait_rounds(engine, n):
    for _ in range(200):
        rounds = int(engine.get("/rounds")[1])
        if rounds >= n:
            return rounds
        time.sleep(0.02)
    raise AssertionError(f"only {rounds} of {n} rounds")


def test_busy_device_refuses_a_lock_with_a_limit(engine):
    one = engine("--device-mib", 2, "--cubin", "/dev/null")
    total = one.get("/sum")
    assert total != engine("--device-mib", 2).get("/sum")
    assert one.get("/spin?text=3000") == (200, "PASS\n")
    assert call("Lock", one.pids[0], lock_args(100)) == 600
    assert one.get("/sum") == total
    assert call("Lock", one.pids[0]) == 0
    assert call("Unlock", one.pids[0]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="criu dump needs root")
@pytest.mark.skipif(not (PREFIX / "usr/sbin/criu").exists(), reason="no CRIU in the prefix")
def test_tree_goes_through_criu(engine, tmp_path):
    """all kinds of memory, two processes, a graph that runs"""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    with open(os.devnull, "r+b") as null:
        one = engine("--device-mib", 4, "--zero-mib", 1, "--vmm-mib", 4, "--pinned-mib", 2, "--graph",
                     "--children", 1, stdio=null)
    total, rounds = one.get("/sum"), wait_rounds(one, 1)
    one.walk("Lock", "Checkpoint")
    status, log = criu("dump", tmp_path, "-t", str(one.pids[0]))
    assert status == 0, log[-3000:]
    one.process.wait(10)
    # a dead child would keep its id from being given again
    os.waitpid(one.pids[1], 0)
    status, log = criu("restore", tmp_path, "-d")
    assert status == 0, log[-3000:]
    try:
        one.walk("Restore", "Unlock")
        assert one.get("/sum") == total
        wait_rounds(one, rounds + 5)
    finally:
        os.kill(one.pids[0], signal.SIGKILL)
        for pid in one.pids:
            os.waitpid(pid, 0)
