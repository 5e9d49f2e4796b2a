# SPDX-License-Identifier: Apache-2.0
"""
What goes wrong with a GPU, at a capture and at a wake: the engine goes on as it was, or is booted
cold; the reason is told in one line, and no process stays locked.
"""

import dataclasses
import os
import shutil
import signal
import subprocess

from fakes import assert_put_away, checkpoint_calls

import pytest

from lib.starts import read_text, status_field, wait_until
from gpu_bench import library_path
from test_gpu_snapshots import cuda_engine

pytestmark = pytest.mark.beside

TWO = ("--device-mib", 8, "--children", 1, "--sync-loop")
FAULT = "FAKECUDA_FAULT"


@pytest.fixture(name="gpu", scope="module")
def one_for_all(module_gpu):
    return module_gpu


def identity(start):
    roots = wait_until(lambda: f"one engine: {start.processes()}",
                       lambda: start.engine_roots() if len(start.engine_roots()) == 1 else None, 20)
    pid = roots[0][0]
    return pid, read_text(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]


def settled(start):
    wait_until(lambda: f"workers stay: {start.tools()}\n{start.tail()}",
               lambda: not start.tools(), 60)


def traced(gpu, name, value):
    """A trace of the driver's calls beside a fault: its path, and what a start needs for both."""
    trace = os.path.join(gpu.workplace.folder("trace"), "calls")
    env = {name: value, "FAKECUDA_TRACE": trace}
    return trace, env, [word for key in env for word in ("--accept", f"env:{key}")]


def restored_pids(trace):
    return [target for call, target, result in checkpoint_calls(trace) if call == "Restore" and result == 0]


def capture_with(gpu, env, *, seconds=60):
    engine = cuda_engine(gpu.programs, *TWO)
    store = gpu.workplace.store()
    start = gpu.start(store, engine, capture="first-boot", env=env)
    start.wait_record("boot.cold")
    return engine, store, start


@pytest.mark.parametrize("fault, survives, reason", [
    ("lock:timeout:2", True, "lock process"),
    ("lock:hang:2", False, "no answer"),
    ("lock:crash", False, ""),
    ("lock:denied:2", True, "NOT_PERMITTED"),
    ("find:hang:2", True, "no answer"),
    ("find:hang:4", True, "no answer"),
    ("checkpoint:unsupported:2", True, "NOT_SUPPORTED"),
    ("checkpoint:ipc:2", True, "NOT_SUPPORTED"),
    ("checkpoint:denied:2", True, "NOT_PERMITTED"),
    ("checkpoint:fail:2", False, "checkpoint process"),
    ("checkpoint:oom-kill:2", False, ""),
    ("restore:oom", False, "OUT_OF_MEMORY"),
    ("restore:oom:2", False, "OUT_OF_MEMORY"),
    ("restore:denied", False, "NOT_PERMITTED"),
    # the recovery's worker may
    ("restore:denied:2", True, "NOT_PERMITTED"),
    ("unlock:hang:2", False, "unlock process"),
])
def test_at_a_capture(gpu, fault, survives, reason):
    engine, store, start = capture_with(gpu, {FAULT: fault})
    with start:
        before = identity(start)
        record = start.wait_record("capture.failed", "capture.done", "engine.harmed", seconds=90)
        assert record["event"] != "capture.done", start.tail()
        wait_until(lambda: f"not booted cold:\n{start.tail()}",
                   lambda: survives or len(start.records("boot.cold")) == 2, 90)
        settled(start)
        assert engine.ask(start, seconds=60)
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        assert (identity(start) == before) == survives, start.tail()
        assert reason in start.stderr
        assert start.terminate() in (0, 128 + signal.SIGTERM)


# lost: of the two that were restored, how many answer the driver no more
@pytest.mark.parametrize("fault, reason, restored, lost", [
    ("restore:oom", "OUT_OF_MEMORY", 0, 0),
    ("restore:oom:2", "OUT_OF_MEMORY", 1, 0),
    ("restore:hang:2", "longer than it may", 1, 0),
    ("restore:crash", "", 0, 0),
    ("restore:denied:2", "NOT_PERMITTED", 1, 0),
    ("unlock:denied", "NOT_PERMITTED", 2, 0),
    ("unlock:crash", "", 2, 1),
    ("unlock:hang", "longer than it may", 2, 1),
])
def test_at_a_wake(gpu, fault, reason, restored, lost):
    engine = cuda_engine(gpu.programs, *TWO)
    store, answer = gpu.captured(engine)
    trace, env, extra = traced(gpu, FAULT, fault)
    with gpu.start(store, engine, env=env, extra=extra) as start:
        record = start.wait_record("wake.failed", "wake.done", "wake.refused", seconds=60)
        assert record["event"] == "wake.failed", start.tail()
        assert reason in record["msg"]
        start.wait_record("boot.cold", seconds=60)
        pids = restored_pids(trace)
        assert len(pids) == restored, start.tail()
        for pid in pids[lost:]:
            assert_put_away(checkpoint_calls(trace), pid)
        assert engine.ask(start) == answer
        assert len(start.records("boot.cold")) == 1
        settled(start)
        assert len(start.engine_roots()) == 1


SLEEPS = ("35", "230")  # nanosleep and clock_nanosleep, on x86-64


def is_in_a_call(start):
    """Is some restore thread, traced in a process that is stopped, in the delay of the fault?"""
    pid = start.engine_roots()[0][0]
    threads = [f"{pid}/task/{tid}" for tid in os.listdir(f"/proc/{pid}/task")]
    return status_field(pid, "State")[:1] == "T" and any(
        status_field(thread, "TracerPid") != "0" and
        read_text(f"/proc/{thread}/syscall").split(" ")[0] in SLEEPS for thread in threads)


@pytest.mark.parametrize("operation, delay_ms", [("checkpoint", 12000), ("restore", 2000)])
def test_worker_killed_while_the_driver_copies(gpu, operation, delay_ms):
    """The driver goes on without its caller, longer than a call for the state may take otherwise."""
    engine, store, start = capture_with(gpu, {FAULT: f"{operation}:delay_ms={delay_ms}:1"})
    with start:
        before = identity(start)
        wait_until("call of the driver", lambda: is_in_a_call(start) and
                   os.path.exists(f"{store}/gen-1/criu/inventory.img") == (operation == "restore"), 20)
        os.kill(start.tools("snapworker")[0][0], signal.SIGKILL)
        start.wait_record("engine.unharmed", "engine.harmed", seconds=60)
        settled(start)
        assert start.wait_http(engine.port, "/check", seconds=60) == b"PASS\n"
        assert identity(start) == before, start.tail()


def test_driver_that_others_may_write_is_not_loaded(gpu):
    """Who can change it would run in the worker: the engine's device stays a reason to refuse."""
    folder = os.path.join(gpu.workplace.folder("writable"), "lib")
    shutil.copytree(library_path(gpu.programs), folder,
                    ignore=lambda _, names: [name for name in names if ".so." not in name])
    os.chmod(os.path.join(folder, "libcuda.so.1"), 0o757)
    engine = cuda_engine(gpu.programs, *TWO)
    with gpu.start(gpu.workplace.store(), engine, capture="first-boot",
                   env={"LD_LIBRARY_PATH": folder}) as start:
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed" and record["code"] == "unsnapshotable"
        assert "others may write to it" in record["msg"]
        assert start.wait_http(engine.port, "/check") == b"PASS\n"


@pytest.mark.parametrize("replaced", [False, True])
def test_driver_that_was_deleted_or_replaced_is_named(gpu, replaced):
    """As by an update. Another one at its place is not the one that the engine works with."""
    folder = os.path.join(gpu.workplace.folder("updated"), "lib")
    shutil.copytree(library_path(gpu.programs), folder,
                    ignore=lambda _, names: [name for name in names if ".so." not in name])
    library = os.path.join(folder, "libcuda.so.1")
    engine = cuda_engine(gpu.programs, *TWO)
    with gpu.start(gpu.workplace.store(), engine, capture="on-request",
                   env={"LD_LIBRARY_PATH": folder}) as start:
        answer = engine.ask(start)
        if replaced:
            shutil.copy(library, library + ".new")
            os.rename(library + ".new", library)
        else:
            os.unlink(library)
        done = subprocess.run([gpu.programs.snapctl, "capture", "--pid", str(start.pid)],
                              check=False, capture_output=True, text=True)
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed" and record["code"] == "unsnapshotable"
        assert f"the CUDA driver '{library}' loaded, which was deleted or replaced" in record["msg"]
        assert done.returncode != 0 and "start the engine again" in done.stderr
        assert engine.ask(start) == answer


def test_driver_that_does_not_tell_its_gpus(gpu):
    """It is asked where there is no NVML."""
    folder = gpu.workplace.folder("no-nvml")
    shutil.copy2(os.path.join(library_path(gpu.programs), "libcuda.so.1"), folder)
    engine = cuda_engine(gpu.programs, *TWO)
    with gpu.start(gpu.workplace.store(), engine, capture="first-boot",
                   env={"LD_LIBRARY_PATH": folder, FAULT: "devices:hang"}) as start:
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed", start.tail()
        assert "does not tell its GPUs: no answer" in record["msg"]
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        assert len(start.records("boot.cold")) == 1


def test_a_process_that_ends_while_others_are_locked_costs_only_itself(gpu):
    """As engines do that start a worker again which has died; this one only serves on."""
    engine = dataclasses.replace(cuda_engine(gpu.programs, *TWO), oracle=None)
    with gpu.start(gpu.workplace.store(), engine, capture="first-boot",
                   env={FAULT: "lock:delay_ms=1500"}) as start:
        start.wait_record("boot.cold")
        before = identity(start)
        start.wait_http(engine.port, "/health")
        child, = [entry[0] for entry in start.processes() if entry[3] == before[0]]
        wait_until("capture", lambda: start.tools("criu"), 30)
        wait_until("lock", lambda: not start.try_http(engine.port, "/sum", timeout=1), 30)
        os.kill(child, signal.SIGKILL)
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed", start.tail()
        start.wait_record("engine.recovered", "engine.harmed")
        settled(start)
        assert identity(start) == before, start.tail()
        assert b"a child does not answer" in start.http(engine.port, "/check")[1]


def assert_told_as_a_wish(start):
    os.kill(start.pid, signal.SIGTERM)
    record = start.wait_record("capture.failed", "capture.done", seconds=30)
    assert (record["event"], record["code"]) == ("capture.failed", "stopped"), start.tail()
    assert "longer than it may" not in start.stderr
    assert start.wait_exit(60) in (0, 128 + signal.SIGTERM)


def test_no_process_more_is_locked_for_who_wants_the_end(gpu):  # noqa: F811
    trace, env, _ = traced(gpu, FAULT, "lock:delay_ms=3000")
    _, _, start = capture_with(gpu, env)
    with start:
        state = [gpu.programs.snapctl, "state", "--pid", str(start.pid)]
        wait_until("freeze", lambda: b"frozen" in subprocess.run(
            state, check=False, capture_output=True).stdout, 30)
        assert_told_as_a_wish(start)
        assert not start.records("engine.recovered", "engine.harmed"), start.tail()
        assert [call for call, *_ in checkpoint_calls(trace)].count("Lock") < 2


def test_lock_that_is_cut_off_by_a_wish_to_end_is_told_as_that(gpu):  # noqa: F811
    engine, _, start = capture_with(gpu, {FAULT: "lock:delay_ms=9000"})
    with start:
        start.wait_http(engine.port, "/health")
        wait_until("capture", lambda: start.tools("criu"), 30)
        wait_until("lock", lambda: not start.try_http(engine.port, "/sum", timeout=1), 30)
        assert_told_as_a_wish(start)
        assert start.records("engine.recovered", "engine.harmed"), start.tail()


CAPTURE_POINTS = ("gpu-start", "locked-first", "locked-next", "freeze", "checkpointed-first",
                  "checkpointed-next", "gpu", "dropped", "dump-written", "dump", "refilled",
                  "restored-first", "restored-next", "forgotten", "resume")
WAKE_POINTS = ("gpu-start", "fill", "restored-first", "restored-next", "gpu", "resume")


@pytest.fixture(scope="module")
def faults(programs):
    if not programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.parametrize("point", CAPTURE_POINTS)
def test_same_engine_goes_on(gpu, faults, point, how):
    engine, store, start = capture_with(gpu, {"SNAPINIT_FAULT": f"capture.{point}={how}"})
    with start:
        before = identity(start)
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed", start.tail()
        # a worker that died is followed by one that recovers, after a moment without any
        wait_until(lambda: f"unsettled: {start.processes()}\n{start.tail()}",
                   lambda: not start.tools() and start.try_http(engine.port, "/check", timeout=20),
                   60)
        settled(start)
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        assert identity(start) == before, start.tail()
        assert not start.records("engine.harmed"), start.tail()
        assert start.terminate() in (0, 128 + signal.SIGTERM)


def test_gpu_that_no_worker_can_close_is_told(gpu, faults):
    """The wake's worker could not, and says so; the next one tries again, and neither can that one."""
    engine = cuda_engine(gpu.programs, *TWO)
    store, answer = gpu.captured(engine)
    trace, env, extra = traced(gpu, "SNAPINIT_FAULT", "wake.gpu=fail")
    with gpu.start(store, engine, env={**env, FAULT: "checkpoint:unsupported"},
                   extra=(*extra, "--accept", "env:" + FAULT)) as start:
        assert "NOT_SUPPORTED" in start.wait_record("gpu.open", "gpu.suspended", "boot.cold", seconds=60)["msg"]
        start.wait_record("boot.cold", seconds=60)
        tried = [target for call, target, result in checkpoint_calls(trace) if call == "Checkpoint" and result]
        assert sorted(tried) == sorted(2 * restored_pids(trace)), start.tail()
        assert engine.ask(start) == answer


RESTORED_AT = {"gpu-start": 0, "fill": 0, "restored-first": 1}


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_failed_wake_boots_cold(gpu, faults, how):
    engine = cuda_engine(gpu.programs, *TWO)
    store, answer = gpu.captured(engine)
    for point in WAKE_POINTS:
        trace, env, extra = traced(gpu, "SNAPINIT_FAULT", f"wake.{point}={how}")
        with gpu.start(store, engine, env=env, extra=extra) as start:
            record = start.wait_record("wake.failed", "wake.done", seconds=60)
            assert record["event"] == "wake.failed", start.tail()
            start.wait_record("boot.cold", seconds=60)
            pids = restored_pids(trace)
            assert len(pids) == RESTORED_AT.get(point, 2), start.tail()
            for pid in pids:
                assert_put_away(checkpoint_calls(trace), pid)
            # a worker that fails by itself has done it by itself
            suspended = [record["processes"] for record in start.records("gpu.suspended")]
            assert suspended == ([2] if pids and how == "kill" else []), start.tail()
            assert not start.records("gpu.open"), start.tail()
            assert engine.ask(start) == answer
            assert len(start.records("boot.cold")) == 1
            settled(start)
            assert len(start.engine_roots()) == 1, start.processes()
