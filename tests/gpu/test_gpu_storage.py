# SPDX-License-Identifier: Apache-2.0
"""
CustomStorage (--gpu-mode storage): device memory goes past the processes, into device.dat and back.
"""

import json
import os
import re
import signal
import subprocess

import pytest

from fakes import assert_put_away, checkpoint_calls
from lib import namespaces
from lib.starts import read_text, wait_until
from test_gpu_faults import FAULT, identity, restored_pids, settled, traced
from test_gpu_gate import A, B, host, one
from test_gpu_snapshots import (MIB, assert_wakes, cuda_engine, generation, image_bytes, library_path,
                                manifest)

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


def path_in(store, name):
    return os.path.join(generation(store), name)


@pytest.mark.parametrize("options, wakes", [(ONE, 20), ((*TWO, "--pinned-mib", 4), 5)])
def test_sums_are_the_same_after_every_wake(box, options, wakes):
    engine, store, answer = box.captured(*options)
    made = manifest(store)
    assert made["gpu"]["mode"] == "storage" and made["gpu"]["staging"] == []
    assert image_bytes(store) < 8 * MIB
    for _ in range(wakes):
        with box.start(store, engine) as start:
            assert_wakes(start, engine, answer)
