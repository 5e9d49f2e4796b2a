# SPDX-License-Identifier: Apache-2.0
"""
What goes wrong with a GPU, at a capture and at a wake: the engine goes on as it was, or is booted
cold; the reason is told in one line, and no process stays locked.
"""

import os
import shutil
import signal

import pytest

from lib.starts import read_text, wait_until
from test_gpu_snapshots import cuda_engine, gpu, library_path  # noqa: F401

TWO = ("--device-mib", 16, "--children", 1, "--sync-loop")
FAULT = "FAKECUDA_FAULT"


def identity(start):
    roots = wait_until(lambda: f"one engine: {start.processes()}",
                       lambda: start.engine_roots() if len(start.engine_roots()) == 1 else None, 20)
    pid = roots[0][0]
    return pid, read_text(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]


def settled(start):
    wait_until(lambda: f"workers stay: {start.tools()}\n{start.tail()}",
               lambda: not start.tools(), 60)


def capture_with(gpu, env, *, seconds=60):  # noqa: F811
    engine = cuda_engine(gpu.programs, *TWO)
    store = gpu.workplace.store()
    start = gpu.start(store, engine, capture="first-boot", env=env)
    start.wait_record("boot.cold")
    return engine, store, start


@pytest.mark.parametrize("fault, survives, reason", [
    ("lock:timeout:2", True, "lock process"),
    ("lock:hang:2", False, "no answer"),
    ("lock:crash", False, ""),
    ("checkpoint:unsupported:2", True, "NOT_SUPPORTED"),
    ("checkpoint:fail:2", False, "checkpoint process"),
    ("checkpoint:oom-kill:2", False, ""),
    ("restore:oom", False, "OUT_OF_MEMORY"),
    ("restore:oom:2", False, "OUT_OF_MEMORY"),
    ("unlock:hang:2", False, "unlock process"),
])
def test_at_a_capture(gpu, fault, survives, reason):  # noqa: F811
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


@pytest.mark.parametrize("fault, reason", [
    ("restore:oom", "OUT_OF_MEMORY"),
    ("restore:fail:2", "restore process"),
    ("restore:hang:2", "longer than it may"),
    ("restore:crash", ""),
    ("unlock:crash", ""),
    ("unlock:hang", "longer than it may"),
])
def test_at_a_wake(gpu, fault, reason):  # noqa: F811
    engine = cuda_engine(gpu.programs, *TWO)
    store, answer = gpu.captured(engine)
    with gpu.start(store, engine, env={FAULT: fault}, extra=("--accept", "env:" + FAULT)) as start:
        record = start.wait_record("wake.failed", "wake.done", "wake.refused", seconds=60)
        assert record["event"] == "wake.failed", start.tail()
        assert reason in record["msg"]
        assert engine.ask(start) == answer
        assert len(start.records("boot.cold")) == 1
        settled(start)
        assert len(start.engine_roots()) == 1


def test_driver_that_others_may_write_is_not_loaded(gpu):  # noqa: F811
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


CAPTURE_POINTS = ("gpu-start", "locked-first", "locked-next", "freeze", "checkpointed-first",
                  "checkpointed-next", "gpu", "dropped", "dump-written", "dump", "refilled",
                  "restored-first", "restored-next", "forgotten", "resume")
WAKE_POINTS = ("gpu-start", "fill", "restored-first", "restored-next", "gpu", "resume")


@pytest.fixture
def faults(programs):
    if not programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.parametrize("point", CAPTURE_POINTS)
def test_same_engine_goes_on(gpu, faults, point, how):  # noqa: F811
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


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_failed_wake_boots_cold(gpu, faults, how):  # noqa: F811
    engine = cuda_engine(gpu.programs, *TWO)
    store, answer = gpu.captured(engine)
    for point in WAKE_POINTS:
        with gpu.start(store, engine, env={"SNAPINIT_FAULT": f"wake.{point}={how}"},
                       extra=("--accept", "env:SNAPINIT_FAULT")) as start:
            record = start.wait_record("wake.failed", "wake.done", seconds=60)
            assert record["event"] == "wake.failed", start.tail()
            assert engine.ask(start) == answer
            assert len(start.records("boot.cold")) == 1
            settled(start)
            assert len(start.engine_roots()) == 1, start.processes()
