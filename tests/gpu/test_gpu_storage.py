# SPDX-License-Identifier: Apache-2.0
"""
CustomStorage (--gpu-mode storage): device memory goes past the processes, into device.dat and back.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from fakes import assert_put_away, checkpoint_calls
from lib import damaged_pages, damaged_stores, engines, namespaces
from lib.starts import read_text, status_field, wait_until
from test_gpu_faults import FAULT, identity, restored_pids, settled, traced
from test_gpu_gate import A, B, host, one
from test_gpu_snapshots import (HUGE_HEAD_ROOM, MIB, assert_wakes, cuda_engine, generation,
                                image_bytes, library_path, manifest)

STORAGE = ("--gpu-mode", "storage")
DRIVER = "615.71.09"
ONE = ("--device-mib", 64)
TWO = ("--device-mib", 16, "--children", 1, "--sync-loop")


class Box:
    """The bench on a host whose driver has CustomStorage."""

    def __init__(self, bench):
        self.bench = bench
        folder = bench.workplace.folder("gpu-host")
        self.description = os.path.join(folder, "host")
        self.used = os.path.join(folder, "used")
        os.mkdir(self.used)
        self.describe(host(one()))
        self.env = {"LD_LIBRARY_PATH": library_path(bench.programs), "FAKECUDA_HOST": self.description,
                    "FAKECUDA_CUSTOM_STORAGE": "1"}
        self.programs, self.workplace, self.snapctl = bench.programs, bench.workplace, bench.snapctl

    def describe(self, text, driver=DRIVER):
        text = re.sub("driver=.*\ncuda=13000", f"driver={driver}\ncuda=13040", text)
        with open(self.description, "w", encoding="utf-8") as file:
            file.write(f"state={self.used}\n{text}")

    def start(self, store, engine, env=None, **options):
        return self.bench.start(store, engine, env={**self.env, **(env or {})}, **options)

    def captured(self, *options, extra=()):
        engine = cuda_engine(self.programs, *options)
        store, answer = self.bench.captured(engine, env=self.env, extra=(*STORAGE, *extra))
        return engine, store, answer

    def capturing(self, *options, env=None, extra=()):
        engine = cuda_engine(self.programs, *options)
        store = self.workplace.store()
        start = self.start(store, engine, capture="first-boot", env=env, extra=(*STORAGE, *extra))
        start.wait_record("boot.cold")
        return engine, store, start


@pytest.fixture
def box(bench):
    return Box(bench)


@pytest.fixture
def faults(programs):
    if not programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")


def data_mib(store, name="device.dat"):
    return os.path.getsize(os.path.join(generation(store), name)) / MIB


def stored_mib(store):
    """The sparse tail of what was reserved is gone, too."""
    return os.stat(os.path.join(generation(store), "device.dat")).st_blocks * 512 / MIB


def goes_on(start):
    """What became of an engine whose capture was broken off: did the same one go on?"""
    record = start.wait_record("engine.unharmed", "engine.recovered", "engine.harmed", seconds=60)
    return record["event"] != "engine.harmed"


@pytest.mark.parametrize("options, wakes", [(ONE, 20), ((*TWO, "--pinned-mib", 2), 2)])
def test_sums_are_the_same_after_every_wake(box, options, wakes):
    engine, store, answer = box.captured(*options)
    made = manifest(store)
    assert made["gpu"]["mode"] == "storage" and made["gpu"]["staging"] == []
    assert "device.map" in [image["name"] for image in made["images"]]
    assert image_bytes(store) < 8 * MIB
    for _ in range(wakes):
        with box.start(store, engine) as start:
            assert_wakes(start, engine, answer)


def test_device_memory_is_in_its_own_file_without_its_zeros(box):
    engine, store, answer = box.captured("--device-mib", 128, "--zero-mib", 96)
    assert 32 <= data_mib(store) < 33 and stored_mib(store) < 34
    assert os.stat(os.path.join(generation(store), "device.dat")).st_mode & 0o777 == 0o600
    # nothing of it was in the process
    assert image_bytes(store) < 8 * MIB and data_mib(store, "pages.dat") < 8
    assert manifest(store)["snapshot_bytes"] > 32 * MIB
    told = json.loads(box.snapctl("inspect", "--json", store, check=True).stdout)["gpu"]
    share, = told["processes"]
    assert told["mode"] == "storage" and told["file_bytes"] == data_mib(store) * MIB
    assert 128 * MIB <= share["device_bytes"] < 130 * MIB
    assert share["device_bytes"] == share["stored_bytes"] + share["zero_bytes"]
    assert 96 * MIB <= share["zero_bytes"] <= 98 * MIB and share["host_bytes"] > 0
    assert "mode storage, 32" in box.snapctl("inspect", store, check=True).stdout
    with box.start(store, engine) as start:
        assert_wakes(start, engine, answer)


def test_two_gibibytes(box):
    available = int(next(line for line in read_text("/proc/meminfo").splitlines()
                         if line.startswith("MemAvailable:")).split()[1]) << 10
    if available < HUGE_HEAD_ROOM:
        pytest.skip(f"{available >> 20} MiB of memory are available, {HUGE_HEAD_ROOM >> 20} needed")
    engine, store, answer = box.captured("--device-mib", 2048, "--zero-mib", 1920)
    assert image_bytes(store) <= 8 * MIB and 128 <= data_mib(store) < 130
    with box.start(store, engine, extra=("--wake-timeout", "120s")) as start:
        assert_wakes(start, engine, answer)


def test_engine_that_is_captured_runs_on_with_its_memory(box):
    engine, store, start = box.capturing(*TWO, "--zero-mib", 8, extra=("--compress", "none"))
    with start:
        before, answer = identity(start), engine.ask(start)
        record = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert record["event"] == "capture.done", start.tail()
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        assert engine.ask(start) == answer and identity(start) == before
    with box.start(store, engine) as start:
        assert_wakes(start, engine, answer)


def test_an_engine_without_gpu_does_not_care(box):
    url = "http://127.0.0.1:8141/"
    engine = engines.Engine("no-gpu", (engines.PYTHON, "-m", "http.server", "8141", "--bind", "127.0.0.1"),
                            8141, ready=url, path="/")
    store, _ = box.bench.captured(engine, extra=STORAGE)
    assert "gpu" not in manifest(store)


@pytest.mark.parametrize("now", [host(one(B)), host(one(B), one("c" * 32, pci="0000:00:05.0"))],
                         ids=["one", "two"])
def test_other_gpus(box, now):
    """A GPU is told by its UUID, of then and of now."""
    count = now.count("gpu=")
    box.describe(host(*[one(A), one("d" * 32, pci="0000:00:05.0")][:count]))
    engine, store, answer = box.captured(*TWO)
    box.describe(now)
    with box.start(store, engine) as start:
        assert_wakes(start, engine, answer)


def test_a_driver_without_it_is_refused(box):
    lacks = {"FAKECUDA_CUSTOM_STORAGE": "0"}
    engine, _, start = box.capturing(*ONE, env=lacks)
    with start:
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed" and record["code"] == "unsnapshotable"
        assert "no CustomStorage; 13.4 (driver 615) or later" in record["msg"]
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
        assert not start.records("engine.harmed")
    engine, store, answer = box.captured(*ONE)
    with box.start(store, engine, env=lacks, extra=("--accept", "env:FAKECUDA_CUSTOM_STORAGE")) as start:
        record = start.wait_record("wake.failed", "wake.done", "wake.refused")
        assert record["event"] == "wake.failed" and "CustomStorage (gpu.mode storage)" in record["msg"]
        start.wait_record("boot.cold")
        assert engine.ask(start) == answer


def flip(place):
    path = place.path("GEN/device.dat")
    damaged_stores.flip_bit(path, 0)


def cut(place):
    os.truncate(place.path("GEN/device.dat"), MIB)


def shrink(place):
    """Another size than the driver has, all else in order."""
    path = place.path("GEN/device.map")
    m = damaged_pages.load(damaged_stores.read(path))
    m.spaces[0]["object_bytes"] += 2 * MIB
    damaged_stores.write(path, m.bytes())
    place.reseal(path)


def move(place):
    path = place.path("GEN/device.map")
    m = damaged_pages.load(damaged_stores.read(path))
    m.spaces[0]["fd"] = 1
    damaged_stores.write(path, m.bytes())
    place.reseal(path)


DAMAGE = [
    (flip, "wake.failed", "device.dat is damaged: chunk", True),
    (cut, "wake.failed", "'device.dat' has 1048576 bytes, device.map says", True),
    (lambda place: os.unlink(place.path("GEN/device.dat")), "wake.failed", "'device.dat'", True),
    (lambda place: damaged_stores.flip_bit(place.path("GEN/device.map")), "wake.failed", "device.map", True),
    (lambda place: os.unlink(place.path("GEN/device.map")), "wake.refused", "device.map", True),
    (shrink, "wake.failed", "bytes on GPU 0, device.map has", False),
    (move, "wake.failed", "device.map: space 0: GPU 1, the manifest names 1", True),
]


def test_damage_boots_cold_and_names_the_file(box):
    engine, store, answer = box.captured("--device-mib", 16)
    assert box.snapctl("verify", store).returncode == 0
    for spoil, event, reason, verify_tells in DAMAGE:
        copy = box.workplace.store()
        subprocess.run(["cp", "-a", f"{store}/.", copy], check=True)
        spoil(damaged_stores.Place(copy, None, generation="gen-1"))
        told = box.snapctl("verify", copy)
        assert (told.returncode != 0) == verify_tells, told.stdout
        assert not verify_tells or "device." in told.stdout + told.stderr, told.stdout
        trace, env, extra = traced(box, "FAKECUDA_TRACE", "")
        with box.start(copy, engine, env={**env, "FAKECUDA_TRACE": trace}, extra=extra) as start:
            record = start.wait_record("wake.failed", "wake.refused", "wake.done", seconds=60)
            assert record["event"] == event and reason in record["msg"], record
            start.wait_record("boot.cold", seconds=60)
            assert engine.ask(start) == answer
            for pid in restored_pids(trace):
                assert_put_away(checkpoint_calls(trace), pid)


def test_archive_has_it_and_plain_criu_gets_none_of_it(box):
    engine, store, answer = box.captured(*ONE)
    path = os.path.join(box.workplace.folder("archive"), "made.tar")
    box.snapctl("export", "--tar", path, store, check=True)
    other = os.path.join(box.workplace.folder("archive"), "store")
    box.snapctl("import", path, other, check=True)
    assert box.snapctl("verify", other).returncode == 0
    with box.start(other, engine) as start:
        assert_wakes(start, engine, answer)
    refused = box.snapctl("export", "--criu", os.path.join(box.workplace.folder("archive"), "x"), store)
    assert refused.returncode != 0 and "CRIU has no place for device.dat" in refused.stderr


def test_full_disk_is_found_before_anything_is_begun(box):
    engine = cuda_engine(box.programs, "--device-mib", 320)
    store = box.workplace.store()
    namespaces.mount("tmpfs", store, "tmpfs", 0, "mode=700,size=200m")
    try:
        with box.start(store, engine, capture="first-boot", extra=STORAGE) as start:
            record = start.wait_record("capture.failed", "capture.done", seconds=60)
            assert record["event"] == "capture.failed" and "MiB free" in record["msg"], record
            assert start.wait_http(engine.port, "/check") == b"PASS\n"
            assert not start.records("engine.harmed")
    finally:
        namespaces.umount(store)


def test_disk_that_fills_up_in_between_costs_the_engine_and_not_the_service(box):
    """Where NVML does not tell how much there is no room can be taken before."""
    lib = os.path.join(box.workplace.folder("no-nvml"), "lib")
    os.mkdir(lib)
    shutil.copy2(os.path.join(box.env["LD_LIBRARY_PATH"], "libcuda.so.1"), lib)
    box.env["LD_LIBRARY_PATH"] = lib
    engine = cuda_engine(box.programs, "--device-mib", 256)
    store = box.workplace.store()
    namespaces.mount("tmpfs", store, "tmpfs", 0, "mode=700,size=128m")
    try:
        with box.start(store, engine, capture="first-boot", extra=STORAGE) as start:
            assert not goes_on(start)
            assert "device.dat" in start.wait_record("capture.failed")["msg"]
            wait_until("cold boot", lambda: len(start.records("boot.cold")) == 2, 60)
            settled(start)
            assert start.wait_http(engine.port, "/check", seconds=60) == b"PASS\n"
            assert os.listdir(store) == [] or "gen-1" not in os.listdir(store)
    finally:
        namespaces.umount(store)


# the point, and whether the same engine goes on after a worker was killed there, or failed
CAPTURE_POINTS = [
    ("kill", "begun-first", False), ("kill", "device-half", False), ("kill", "device-noted", False),
    ("kill", "completed-first", False), ("kill", "gpu", True), ("kill", "dropped", True),
    ("kill", "device-filled", False), ("kill", "resume", True),
    ("fail", "begun-first", True), ("fail", "begun-next", True), ("fail", "device-noted", True),
    ("fail", "device-filled", False),
]


def spin(condition, seconds=20):
    """As wait_until(), but without a pause: the moment is short."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "in vain"
    return value


def test_criu_that_is_killed_costs_no_engine(box):
    """What is checkpointed has its content in device.dat alone, and a recovery needs it."""
    engine, _, start = box.capturing(*TWO)
    with start:
        before = identity(start)
        spin(lambda: os.path.exists(f"/proc/{before[0]}") and any(
            status_field(before[0], "TracerPid") == str(tool[0]) for tool in start.tools("criu")))
        os.kill(start.tools("criu")[0][0], signal.SIGKILL)
        record = start.wait_record("capture.failed", "capture.done")
        if record["event"] == "capture.done":
            pytest.skip("SKIP: this dump was faster than that")
        record = start.wait_record("engine.recovered", "engine.harmed", "engine.unharmed", "engine.exited")
        assert "device.map" not in record["msg"], start.tail()
        assert_same_or_cold(start, engine, before, record["event"] in ("engine.recovered", "engine.unharmed"))


def assert_same_or_cold(start, engine, before, survives):
    wait_until(lambda: f"not booted cold:\n{start.tail()}",
               lambda: survives or len(start.records("boot.cold")) == 2, 60)
    wait_until(lambda: f"unsettled: {start.processes()}\n{start.tail()}",
               lambda: not start.tools() and start.try_http(engine.port, "/check", timeout=20), 60)
    settled(start)
    assert start.wait_http(engine.port, "/check") == b"PASS\n"
    assert (identity(start) == before) == survives, start.tail()
    assert bool(start.records("engine.harmed")) != survives, start.tail()


@pytest.mark.parametrize("how, point, survives", CAPTURE_POINTS)
def test_capture_that_is_broken_off(box, faults, how, point, survives):
    trace = os.path.join(box.workplace.folder("trace"), "calls")
    engine, _, start = box.capturing(*TWO, env={"SNAPINIT_FAULT": f"capture.{point}={how}",
                                                "FAKECUDA_TRACE": trace})
    with start:
        before = identity(start)
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed", start.tail()
        assert_same_or_cold(start, engine, before, survives)
        # what no worker can mend is not waited for: half a minute would be thousands
        assert read_text(trace).count("cuCheckpointProcessGetState") < 400
        assert start.terminate() in (0, 128 + signal.SIGTERM)


def test_one_that_the_driver_does_not_take_costs_nothing(box):
    """What was begun for the first goes the whole way round: there is no other way back."""
    engine, _, start = box.capturing(*TWO, env={FAULT: "checkpoint:unsupported:2"})
    with start:
        before = identity(start)
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed" and "NOT_SUPPORTED" in record["msg"]
        assert_same_or_cold(start, engine, before, True)


# the point, and how many are put away: what is begun cannot be by another worker
WAKE_POINTS = [
    ("kill", "device-fill-half", 0), ("kill", "returned-first", 1), ("fail", "returning-first", 1),
    ("fail", "device-filled", 2), ("fail", "returned-first", 2),
]


def test_wake_that_is_broken_off_boots_cold(box, faults):
    engine, store, answer = box.captured(*TWO)
    for how, point, n in WAKE_POINTS:
        trace, env, extra = traced(box, "SNAPINIT_FAULT", f"wake.{point}={how}")
        with box.start(store, engine, env=env, extra=extra) as start:
            record = start.wait_record("wake.failed", "wake.done", seconds=60)
            assert record["event"] == "wake.failed", start.tail()
            start.wait_record("boot.cold", seconds=60)
            assert engine.ask(start) == answer
            calls = checkpoint_calls(trace)
            away = [pid for pid in restored_pids(trace)
                    if ("Checkpoint", pid, 0) in calls]
            assert len(away) == n, (how, point, calls)
            for pid in away:
                assert_put_away(calls, pid)
            assert bool(start.records("gpu.open")) == (how == "kill"), (how, point, start.tail())
            assert len(start.records("boot.cold")) == 1
            settled(start)
            assert len(start.engine_roots()) == 1, start.processes()
