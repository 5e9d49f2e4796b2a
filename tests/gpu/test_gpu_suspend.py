# SPDX-License-Identifier: Apache-2.0
"""
Processes that the driver has restored are locked and checkpointed before they are killed, by a
worker of PID 1's; all others are killed without delay.
"""

import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys

import pytest

from fakes import CHECKPOINTED, FAKE, RUNNING, Target, assert_put_away, call, checkpoint_calls, state
from lib.starts import read_text, wait_until
from test_gpu_snapshots import assert_wakes, cuda_engine

TWO = ("--device-mib", 16, "--children", 1, "--sync-loop")
KILLED = 128 + signal.SIGKILL
# the engine never hears of the TERM that starts its grace
STUBBORN = ("--grace", "300ms", "--rewrite", "TERM:WINCH")


@pytest.fixture
def trace(gpu):
    return os.path.join(gpu.workplace.folder("trace"), "calls")


def traced(gpu, store, engine, trace, *, extra=(), **options):
    return gpu.start(store, engine, env={"FAKECUDA_TRACE": trace},
                     extra=("--accept", "env:FAKECUDA_TRACE", *extra), **options)


def events(start):
    """Of its end, the first two; whether the engine's exit is seen before nothing is left is a race."""
    return [record["event"] for record in start.records("grace.over", "gpu.suspended", "gpu.open", "engine.exited")][:2]


def assert_all_put_away(calls, n):
    pids = {target for what, target, result in calls if what == "Restore" and result == 0}
    assert len(pids) == n, calls
    for pid in pids:
        assert_put_away(calls, pid)
    # the driver's order: a rank that waits for another one is not checkpointed before both are locked
    assert [what for what, _, _ in calls[-2 * n:]] == n * ["Lock"] + n * ["Checkpoint"], calls


@pytest.mark.parametrize("second", [None, signal.SIGTERM])
def test_woken_engine_whose_grace_is_over(gpu, trace, second):
    engine = cuda_engine(gpu.programs, *TWO)
    store, answer = gpu.captured(engine)
    patient = ("--grace", "10m", *STUBBORN[2:])
    with traced(gpu, store, engine, trace, extra=patient if second else STUBBORN) as start:
        assert_wakes(start, engine, answer)
        start.wait_record("wake.done")
        start.signal(signal.SIGTERM)
        if second:
            wait_until("the first TERM", lambda: not pending(start.pid, signal.SIGTERM), 10)
            start.signal(second)
        assert start.wait_exit() == KILLED
        assert_all_put_away(checkpoint_calls(trace), 2)
        assert events(start) == ["grace.over", "gpu.suspended"], start.tail()
        assert start.records("gpu.suspended")[0]["processes"] == 2


def test_suspension_has_time_for_the_copy(gpu, trace):
    """10 s, and 2 for each GiB: what the snapshot tells of device memory."""
    engine = cuda_engine(gpu.programs, *TWO)
    store, answer = gpu.captured(engine)
    with gpu.start(store, engine, env={"FAKECUDA_FAULT": "checkpoint:delay_ms=1000", "FAKECUDA_TRACE": trace},
                   extra=(*STUBBORN, "--accept", "env:FAKECUDA_FAULT", "--accept", "env:FAKECUDA_TRACE")) as start:
        assert_wakes(start, engine, answer)
        start.wait_record("wake.done")
        start.signal(signal.SIGTERM)
        words = wait_until("suspension", lambda: next(
            (words for words in map(command_line, start.tools("snapworker")) if "suspend" in words), None), 20)
        assert 10063 <= int(words[words.index("--timeout") + 1].removesuffix("ms")) < 10080
        assert start.wait_exit() == KILLED
        assert_all_put_away(checkpoint_calls(trace), 2)


def command_line(entry):
    return read_text(f"/proc/{entry[0]}/cmdline").split("\0")


def pending(pid, number):
    """Two signals that wait are one."""
    for line in read_text(f"/proc/{pid}/status").splitlines():
        if line.startswith("ShdPnd:"):
            return int(line.split()[1], 16) >> (number - 1) & 1
    return False


def test_captured_engine_whose_grace_is_over(gpu, trace):
    """The driver has restored that one, too."""
    engine = cuda_engine(gpu.programs, *TWO)
    with traced(gpu, gpu.workplace.store(), engine, trace, extra=STUBBORN, capture="first-boot") as start:
        assert start.wait_record("capture.done", "capture.failed")["event"] == "capture.done", start.tail()
        start.signal(signal.SIGTERM)
        assert start.wait_exit() == KILLED
        assert_all_put_away(checkpoint_calls(trace), 2)
        assert events(start) == ["grace.over", "gpu.suspended"], start.tail()


def test_engine_that_was_only_to_be_tried(gpu, trace):
    """As snapctl verify --wake does."""
    engine = cuda_engine(gpu.programs, *TWO)
    store, _ = gpu.captured(engine)
    with traced(gpu, store, engine, trace, extra=(*STUBBORN, "--exit-when-ready")) as start:
        assert start.wait_exit() == 0, start.tail()
        assert_all_put_away(checkpoint_calls(trace), 2)


def test_engine_that_its_capture_ends(gpu, trace):
    """As snapctl create does: it is checkpointed when CRIU kills it, and nobody has to be started."""
    engine = cuda_engine(gpu.programs, *TWO)
    with traced(gpu, gpu.workplace.store(), engine, trace, capture="exit") as start:
        assert start.wait_exit() == 0, start.tail()
        assert [what for what, _, _ in checkpoint_calls(trace)] == 2 * ["Lock"] + 2 * ["Checkpoint"]
        assert not start.records("gpu.suspended", "gpu.open")


def test_engine_that_ends_by_itself(gpu, trace):
    engine = cuda_engine(gpu.programs, *TWO)
    store, answer = gpu.captured(engine)
    with traced(gpu, store, engine, trace, extra=("--grace", "10s")) as start:
        assert_wakes(start, engine, answer)
        start.wait_record("wake.done")
        start.terminate()
        assert {what for what, _, _ in checkpoint_calls(trace)} == {"Restore", "Unlock"}
        assert events(start) == ["engine.exited"], start.tail()


def test_engine_that_booted_cold(gpu, trace):
    engine = cuda_engine(gpu.programs, *TWO)
    with traced(gpu, gpu.workplace.store(), engine, trace, extra=STUBBORN) as start:
        start.wait_record("boot.cold")
        start.wait_http(engine.port, "/check")
        start.signal(signal.SIGTERM)
        assert start.wait_exit() == KILLED
        assert not checkpoint_calls(trace)
        assert "gpu.suspended" not in events(start) and "gpu.open" not in events(start), start.tail()


# --- the job itself -----------------------------------------------------------------------------

DONE = 9
MESSAGE = struct.Struct("<IIIIiIQ1024s")


def suspend(programs, trace):
    """(type, value, text) of what a worker says that is to suspend all below us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
    process = subprocess.Popen(
        [os.path.join(programs.build, "worker/snapworker"), "suspend", "--pid", str(os.getpid()), "--", "engine"],
        preexec_fn=lambda: os.dup2(theirs.fileno(), 3), pass_fds=[3],
        env=os.environ | {"LD_LIBRARY_PATH": str(FAKE), "FAKECUDA_TRACE": str(trace)})
    theirs.close()
    with ours:
        ours.settimeout(30)
        said = MESSAGE.unpack(ours.recv(4096))
    process.wait(10)
    return said[1], said[6], said[7].rstrip(b"\0").decode()


def test_job_suspends_all_that_uses_cuda(programs, tmp_path):
    targets = [Target(), Target(), Target()]
    other = subprocess.Popen(["sleep", "1000"])  # pylint: disable=consider-using-with
    try:
        os.kill(targets[1].pid, signal.SIGSTOP)
        assert state(targets[0].pid) == RUNNING
        assert suspend(programs, tmp_path / "calls") == (DONE, 3, "")
        # nobody else, itself least of all
        assert {target for _, target, _ in checkpoint_calls(tmp_path / "calls")} == {t.pid for t in targets}
        for target in targets:
            assert_put_away(checkpoint_calls(tmp_path / "calls"), target.pid)
            assert "T" in read_text(f"/proc/{target.pid}/stat").rsplit(")", 1)[1].split()[0]
            os.kill(target.pid, signal.SIGCONT)
            assert state(target.pid) == CHECKPOINTED
        assert "S" in read_text(f"/proc/{other.pid}/stat").rsplit(")", 1)[1].split()[0]
    finally:
        other.kill()
        other.wait()
        for target in targets:
            target.close()


TRACER = """
import ctypes, sys, time
PTRACE_SEIZE = 0x4206
assert ctypes.CDLL(None).ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None) == 0
print("holds", flush=True)
time.sleep(0.5)
"""


def test_job_waits_for_a_tracer_that_goes(programs, tmp_path):
    """As a worker that was killed in mid-restore and still has its hands on the thread."""
    target, tid = Target(), ctypes.c_int()
    try:
        os.kill(target.pid, signal.SIGSTOP)
        assert call("GetRestoreThreadId", target.pid, ctypes.byref(tid)) == 0
        with subprocess.Popen([sys.executable, "-c", TRACER, str(tid.value)], stdout=subprocess.PIPE) as tracer:
            assert tracer.stdout.readline() == b"holds\n"
            assert suspend(programs, tmp_path / "calls") == (DONE, 1, "")
        assert_put_away(checkpoint_calls(tmp_path / "calls"), target.pid)
    finally:
        target.close()


def test_job_loads_no_driver_where_nobody_has_one(programs, tmp_path):
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            assert suspend(programs, tmp_path / "calls") == (DONE, 0, "")
        finally:
            other.kill()
    assert not (tmp_path / "calls").exists()
