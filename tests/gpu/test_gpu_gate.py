# SPDX-License-Identifier: Apache-2.0
"""A host whose driver or GPUs do not fit is told so before CRIU is started, and boots cold."""

import copy
import datetime
import os
import shutil
import subprocess

import pytest

from gpu_bench import library_path
from test_gpu_snapshots import assert_wakes, cuda_engine

A, B = "a" * 32, "b" * 32
H100 = "NVIDIA H100 80GB HBM3"
DRIVER = "580.159.04"


def one(uuid=A, name=H100, pci="0000:00:04.0", cc="9.0", total=80000, free=79000, extra=""):
    return f"gpu={uuid},{name},{pci},{cc},{total},{free}{extra}\n"


def host(*gpus, driver=DRIVER):
    return f"driver={driver}\ncuda=13000\n" + "".join(gpus)


TWO_GPUS = host(one(), one(B, "NVIDIA L4", "0000:00:05.0", "8.9", 23000, 22000))

# what the host is then, what the refusal says, and whether the engine itself can run there
FOREIGN = {
    "newer-driver": (host(one(), driver="590.48.01"), "the driver is 590.48.01", True),
    "older-driver": (host(one(), driver="570.86.15"), "the driver is 570.86.15", True),
    "other-model": (host(one(name="NVIDIA H200", total=143000, free=142000)), "NVIDIA H200", True),
    "other-chip": (host(one(cc="10.0")), "(10.0)", True),
    "less-memory": (host(one(total=40000, free=39000)), "40000 MiB of memory", True),
    "two-gpus": (TWO_GPUS, "gpu: 2 here, captured with 1", True),
    "no-gpu": (host(), "gpu: 0 here, captured with 1", False),
    "little-free": (host(one(free=100)), "gpu 0 has 100 MiB free, 320 MiB are needed", False),
    "mig": (host(one(extra=",mig=1")), "(MIG)", True),
}


class Place:
    """A snapshot made on a host of one GPU, and starts on hosts of other descriptions."""

    def __init__(self, bench, gpus, *options, env=None, nvml=True):
        self.bench = bench
        folder = bench.workplace.folder("gpu-host")
        self.library = os.path.join(folder, "lib")
        self.description = os.path.join(folder, "host")
        self.criu_log = os.path.join(folder, "criu.log")
        self.used = os.path.join(folder, "used")
        os.mkdir(self.used)
        os.mkdir(self.library)
        for name in ("libcuda.so.1", "libnvidia-ml.so.1")[:2 if nvml else 1]:
            shutil.copy2(os.path.join(library_path(bench.programs), name), self.library)
        self.env = {"LD_LIBRARY_PATH": self.library, "FAKECUDA_HOST": self.description,
                    **(env or {})}
        self.describe(gpus)
        self.engine = cuda_engine(bench.programs, "--device-mib", 256, *options)
        self.store, self.answer = bench.captured(self.engine, env=self.env)
        # whoever starts this one leaves a trace
        self.programs = copy.copy(bench.programs)
        self.programs.criu = os.path.join(folder, "criu")
        with open(self.programs.criu, "w", encoding="utf-8") as script:
            script.write(f"#!/bin/sh\necho started >>{self.criu_log}\nexit 1\n")
        os.chmod(self.programs.criu, 0o755)

    def describe(self, text):
        with open(self.description, "w", encoding="utf-8") as file:
            file.write(f"state={self.used}\n{text}")

    def start(self, env=None, **options):
        return self.bench.start(self.store, self.engine, env={**self.env, **(env or {})}, **options)

    def assert_refused(self, reason, *, boots=True, env=None, extra=()):
        if os.path.exists(self.criu_log):
            os.unlink(self.criu_log)
        with self.start(env=env, extra=extra, programs=self.programs) as start:
            record = start.wait_record("wake.refused", "wake.done", "wake.failed")
            assert record["event"] == "wake.refused", start.tail()
            assert record["code"] == "incompatible" and reason in record["msg"], record["msg"]
            if boots:
                assert self.engine.ask(start) == self.answer
            first = start.records("init.start")[0]
            print(f"\n{reason}: refused {since(first, record)} ms after the start")
        assert not os.path.exists(self.criu_log), "CRIU was started"


    def assert_fails(self, reason, extra=()):
        """The driver says no, after the gate and CRIU: one line, and a cold boot."""
        with self.start(extra=extra) as start:
            record = start.wait_record("wake.failed", "wake.done", "wake.refused")
            assert record["event"] == "wake.failed", start.tail()
            assert record["code"] == "gpu-failed" and reason in record["msg"], record
            assert self.engine.ask(start) == self.answer
            assert len(start.records("boot.cold")) == 1 and len(start.engine_roots()) == 1, start.tail()


def since(first, record):
    begin, end = (datetime.datetime.fromisoformat(each["ts"]) for each in (first, record))
    return round((end - begin).total_seconds() * 1000, 1)


@pytest.fixture(scope="module")
def place_of_one(module_bench):
    return Place(module_bench, host(one()))


@pytest.fixture(autouse=True)
def usual_host(place_of_one):
    place_of_one.describe(host(one()))


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_host_is_refused(place_of_one, kind):
    text, reason, boots = FOREIGN[kind]
    place_of_one.describe(text)
    place_of_one.assert_refused(reason, boots=boots)


def test_the_same_host_is_not_refused(place_of_one):
    with place_of_one.start() as start:
        assert_wakes(start, place_of_one.engine, place_of_one.answer)


def test_multi_process_service_is_refused(place_of_one):
    place_of_one.assert_refused("Multi-Process Service",
                                env={"CUDA_MPS_PIPE_DIRECTORY": "/run/mps"},
                                extra=("--accept", "env:CUDA_MPS_PIPE_DIRECTORY"))


def test_missing_management_library_is_refused(place_of_one):
    path = os.path.join(place_of_one.library, "libnvidia-ml.so.1")
    os.rename(path, path + ".away")
    try:
        place_of_one.assert_refused("libnvidia-ml.so.1")
    finally:
        os.rename(path + ".away", path)


def test_other_build_of_the_driver_is_refused(place_of_one):
    path = os.path.join(place_of_one.library, "libcuda.so.1")
    os.rename(path, path + ".away")
    subprocess.run(["objcopy", "--remove-section", ".note.gnu.build-id", path + ".away", path],
                   check=True)
    try:
        place_of_one.assert_refused("another build of the CUDA driver")
    finally:
        os.rename(path + ".away", path)


def test_a_difference_that_is_accepted_is_tried(place_of_one):
    place_of_one.describe(host(one(total=90000, free=89000)))
    with place_of_one.start(extra=("--accept", "gpu:memory")) as start:
        assert_wakes(start, place_of_one.engine, place_of_one.answer)


def test_other_number_of_gpus_that_is_accepted_is_tried(place_of_one):
    place_of_one.describe(TWO_GPUS)
    with place_of_one.start(extra=("--accept", "gpu:count")) as start:
        assert_wakes(start, place_of_one.engine, place_of_one.answer)


def test_other_model_that_is_accepted_is_refused_by_the_driver(place_of_one):
    place_of_one.describe(host(one(name="NVIDIA H200")))
    place_of_one.assert_fails("NOT_SUPPORTED", extra=("--accept", "gpu:model"))


def test_other_gpu_that_nobody_could_pair_is_refused_by_the_driver(module_bench):
    """Captured where NVML was not: the gate knows no UUIDs of this host, and nor does the wake."""
    place = Place(module_bench, host(one()), nvml=False)
    place.describe(host(one(B)))
    place.assert_fails("INVALID_VALUE")


def test_inspect_loads_nothing_that_a_snapshot_names(place_of_one):
    """An archive may name a library that it has brought along itself."""
    trace = place_of_one.description + ".trace"
    for env, is_loaded in ({}, False), ({"LD_LIBRARY_PATH": place_of_one.library}, True):
        done = subprocess.run([place_of_one.programs.snapctl, "inspect", place_of_one.store],
                              env={"PATH": os.environ["PATH"], "FAKECUDA_TRACE": trace,
                                   "FAKECUDA_HOST": place_of_one.description, **env},
                              capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert os.path.exists(trace) == is_loaded
        assert ("cannot find libnvidia-ml.so.1" in done.stdout) == (not is_loaded)


def test_same_gpus_with_other_uuids_are_paired(place_of_one):
    """By what the gate has found: NVML is asked once."""
    place_of_one.describe(host(one(B)))
    trace = place_of_one.description + ".pairs"
    with place_of_one.start(env={"FAKECUDA_TRACE": trace}, extra=("--accept", "env:FAKECUDA_TRACE")) as start:
        assert_wakes(start, place_of_one.engine, place_of_one.answer)
    with open(trace, encoding="ascii") as lines:
        calls = [line.split()[3] for line in lines]
    assert calls.count("nvmlInitWithFlags") == 1 and "cuCheckpointProcessRestore" in calls


def test_visible_devices_are_part_of_the_environment_and_no_hindrance(module_bench):
    """The worker looks at all GPUs whatever the engine may see, and compares what the engine was given."""
    place = Place(module_bench, host(one(), one(B, pci="0000:00:05.0")),
                  env={"CUDA_VISIBLE_DEVICES": "0"})
    place.describe(host(one("c" * 32), one("d" * 32, pci="0000:00:05.0")))
    with place.start() as start:
        assert_wakes(start, place.engine, place.answer)
    with place.start(env={"CUDA_VISIBLE_DEVICES": "0,1"}) as start:
        record = start.wait_record("wake.refused", "wake.done", "wake.failed")
        assert record["event"] == "wake.refused" and "CUDA_VISIBLE_DEVICES" in record["msg"]


def test_order_of_different_gpus_must_be_the_same(module_bench):
    first, second = one(), one(B, "NVIDIA L4", "0000:00:05.0", "8.9", 23000, 22000)
    place = Place(module_bench, host(first, second))
    place.describe(host(one(B, "NVIDIA L4", "0000:00:04.0", "8.9", 23000, 22000),
                        one(pci="0000:00:05.0")))
    place.assert_refused("gpu 0 is NVIDIA L4")
