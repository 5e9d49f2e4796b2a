# SPDX-License-Identifier: Apache-2.0
"""The run on hardware (run.sh): all of its logic over the fakes, and how it ends without a GPU."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from fakes import BUILD, PREFIX

RUN = pathlib.Path(__file__).parent / "run.sh"
STEPS = ("facts", "build", "probe", "semantics", "anatomy", "snapinit", "refused", "cost", "variants",
         "torch", "two-processes", "snapinit-large", "pages-off", "verify")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started_below(folder):
    """Processes that have an environment of a run there: nothing of a run may stay."""
    mark = f"GPU_RUN_PIDS={folder}/".encode()
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" "))
        except OSError:
            continue
    return found


class Run:
    def __init__(self, folder, *options, **env):
        self.folder, self.out = folder, folder / "out"
        self.work = folder / "tmp"
        self.work.mkdir()
        self.process = subprocess.Popen(
            [RUN, "--fake", "--out", self.out, "--build", BUILD, "--prefix", PREFIX,
             "--port", str(free_port()), *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"TMPDIR": str(self.work)} | env)

    def wait(self):
        self.stdout, self.stderr = self.process.communicate(timeout=200)
        return self.process.returncode

    def rows(self, step=None, what=None):
        text = (self.out / "results.jsonl").read_text() if self.out.exists() else ""
        rows = [json.loads(line) for line in text.splitlines()]
        return [row for row in rows if step in (None, row["step"]) and what in (None, row.get("what"))]

    def results(self):
        return {row["name"]: row["result"] for row in self.rows("run")}

    def assert_clean(self):
        assert started_below(self.work) == []
        assert list(self.work.iterdir()) == []


@pytest.fixture(autouse=True, scope="module")
def root():
    if os.geteuid() != 0:
        pytest.skip("the run needs root")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The whole run, which goes on beside the tests that have runs of their own."""
    run = Run(tmp_path_factory.mktemp("whole"))
    yield run
    if run.process.poll() is None:
        run.process.terminate()
        run.wait()


@pytest.fixture(scope="module")
def whole(begun):
    status = begun.wait()
    assert status == 0, (begun.results(), begun.stderr, (begun.out / "log").read_text()[-3000:])
    return begun


@pytest.mark.usefixtures("begun")
def test_step_that_fails_does_not_stop_the_next(tmp_path):
    run = Run(tmp_path, "--only", "snapinit,cost,refused", FAKECUDA_FAULT="checkpoint:unsupported")
    assert run.wait() == 1
    assert run.results()["snapinit"] == "failed: 1" and run.results()["cost"] == "ok"
    assert not any(row["sums_equal"] is False for row in run.rows("cost"))
    assert {row["checkpoint_code"] for row in run.rows("cost")} == {801}
    run.assert_clean()


@pytest.mark.usefixtures("begun")
def test_step_that_hangs_is_ended(tmp_path):
    run = Run(tmp_path, "--only", "anatomy,cost", "--budget", "8", FAKECUDA_FAULT="checkpoint:hang")
    assert run.wait() == 1
    assert run.results()["anatomy"] == "timed out"
    assert run.results()["cost"] == "skipped: no time left"
    run.assert_clean()


@pytest.mark.usefixtures("begun")
def test_run_that_is_ended_ends_what_it_started(tmp_path):
    run = Run(tmp_path, "--only", "snapinit,cost", FAKECUDA_FAULT="restore:delay_ms=3000")
    for _ in range(600):
        if any(b"snapctl run" in line for line in started_below(run.work)):
            break
        time.sleep(0.05)
    time.sleep(0.5)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == 143
    run.assert_clean()


def test_every_step_leaves_its_result_and_nothing_else(whole):
    results = whole.results()
    assert tuple(results) == STEPS
    assert results.pop("torch").startswith("skipped: ")
    assert set(results.values()) == {"ok"}
    for step in set(STEPS) - {"build", "torch"}:
        assert whole.rows(step), step
    whole.assert_clean()


def test_driver_steps_say_what_the_fake_does(whole):
    found = {row["name"]: row["found"] for row in whole.rows("probe", "resolve")}
    assert len(found) == 7 and not found.pop("cuCheckpointOperationComplete") and all(found.values())
    assert [row["thread_code"] for row in whole.rows("probe") if "thread_code" in row] == [0, 0, 3, 304]
    assert {row["code"] for row in whole.rows("semantics", "wrong-state")} == {401}
    (late,) = whole.rows("semantics", "lock-timeout")
    assert (late["code"], late["state_after"]) == (600, 0)
    (other,) = whole.rows("semantics", "other-user")
    assert (other["state_code"], other["lock_code"]) == (800, 800)
    (staging,) = whole.rows("anatomy", "staging")
    assert staging["is_plain"] and staging["is_in_order"] and staging["words"] == 16 << 17
    assert all(row["sums_equal"] for row in whole.rows("cost") + whole.rows("variants"))
    codes = {row["what"]: row.get("checkpoint_code", 0) for row in whole.rows("variants")}
    assert codes.pop("managed") == 801 and set(codes.values()) == {0} and len(codes) == 8
    reserved, = whole.rows("variants", "vmm-reserved")
    assert reserved["staging_kib"] < 4096


def test_wakes_are_counted_by_the_state_of_the_page_cache(whole):
    wakes = whole.rows("snapinit", "wake")
    assert [row["cache"] for row in wakes] == ["warm", "warm", "evicted", "evicted"]
    for row in wakes:
        assert row["answer_is_same"] and row["driver_ms"] is not None and row["bytes"] > 16 << 20
        # other tests use the page cache too
        part = row["resident_pages"] / row["pages_of_files"]
        assert part > 0.9 if row["cache"] == "warm" else part < 0.1
    assert {row["pages"] for row in whole.rows("pages-off", "wake")} == {"off"}
    assert whole.rows("two-processes", "create")[0]["cuda_processes"] == 2
    (refused,) = whole.rows("refused", "dump-without-checkpoint")
    assert refused["refused"] and refused["serves_on"] and "Can't dump" in refused["error"]
    assert whole.rows("verify", "verify")[0]["status"] == 0


def test_table_has_every_part(whole):
    for title in ("driver by size", "driver by kind", "captures", "wakes", "decided", "steps"):
        assert f"\n{title}" in whole.stdout, title
    assert "NO" not in whole.stdout.split() and "OTHER" not in whole.stdout.split()
    assert (whole.out / "table.txt").read_text() == whole.stdout


def test_without_a_gpu_it_is_skipped_with_the_reason(tmp_path):
    if os.path.exists("/proc/driver/nvidia/version"):
        pytest.skip("this machine has NVIDIA's driver")
    done = subprocess.run([RUN, "--out", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        77, "SKIP: no NVIDIA driver (/proc/driver/nvidia/version)\n")
    assert not (tmp_path / "out").exists()
