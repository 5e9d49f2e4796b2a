# SPDX-License-Identifier: Apache-2.0
"""What processes of the fake libcuda take of one GPU adds up, where the description has a folder."""

import ctypes

import pytest

from fakes import (CHECKPOINTED, FAKE, HOST, MIB, UUID_A, UUID_B, Target, call, checkpoint, cuda,
                   restore_args, state)

FREE = 100

nvml = ctypes.CDLL(str(FAKE / "libnvidia-ml.so.1"))


@pytest.fixture(autouse=True, scope="module")
def caller_is_initialised():
    assert cuda.cuInit(0) == 0


@pytest.fixture(name="folder")
def folder_of_a_machine(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    folder.mkdir()
    describe(tmp_path, monkeypatch, UUID_A, FREE)
    assert nvml.nvmlInit_v2() == 0
    yield folder
    assert nvml.nvmlShutdown() == 0


def describe(tmp_path, monkeypatch, uuid, free, more=""):
    path = tmp_path / f"host-{uuid}-{free}"
    path.write_text(HOST.format(driver="580.159.04", uuid=uuid, name="H100", free=free) +
                    f"state={tmp_path / 'state'}\n" + more)
    monkeypatch.setenv("FAKECUDA_HOST", str(path))


def free_mib():
    device, memory = ctypes.c_void_p(), (ctypes.c_ulonglong * 3)()
    assert nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0
    assert nvml.nvmlDeviceGetMemoryInfo(device, memory) == 0
    return memory[1] >> 20


def test_memory_falls_with_each_process_and_comes_back(folder):
    one, other = Target(), Target()
    assert free_mib() == FREE - 2 * MIB
    assert one.ask("free") == other.ask("free") == str(FREE - 2 * MIB)
    other.close()
    assert free_mib() == FREE - MIB
    assert len(list(folder.iterdir())) == 1
    checkpoint(one.pid)
    assert free_mib() == FREE
    assert not list(folder.iterdir())
    assert call("Restore", one.pid) == 0
    assert free_mib() == FREE - MIB
    one.close()
    assert free_mib() == FREE


def test_allocation_beyond_what_others_left_is_refused(folder):
    one = Target()
    assert Target.fails(FREE - MIB + 2) == "cuMemAlloc_v2: CUDA 2"
    two = Target(mib=FREE - MIB)
    assert free_mib() == 0
    one.close()
    two.close()


def test_restore_that_finds_too_little_keeps_it_until_the_end(folder):
    one = Target(mib=60)
    checkpoint(one.pid)
    two = Target(mib=50)
    assert call("Restore", one.pid) == 2
    assert free_mib() == 0
    two.close()
    # what it got of the 50 that were left is lost
    assert free_mib() == 50
    assert call("Restore", one.pid) == 304
    assert state(one.pid) == CHECKPOINTED
    one.close()
    assert free_mib() == FREE


def test_migrated_process_takes_of_the_new_gpu(folder, tmp_path, monkeypatch):
    one = Target()
    checkpoint(one.pid)
    describe(tmp_path, monkeypatch, UUID_B, FREE)
    assert call("Restore", one.pid, restore_args((UUID_A, UUID_B))) == 0
    assert free_mib() == FREE
    assert nvml.nvmlShutdown() == 0 and nvml.nvmlInit_v2() == 0
    assert free_mib() == FREE - MIB
    one.close()


def test_context_takes_of_the_gpu_too(folder, tmp_path, monkeypatch):
    describe(tmp_path, monkeypatch, UUID_A, FREE, "context_mib=10\n")
    one = Target()
    assert free_mib() == FREE - MIB - 10
    assert one.ask("free") == str(FREE - MIB - 10)
    checkpoint(one.pid)
    two = Target(mib=FREE - MIB - 10)
    # its memory would fit, with its context it does not
    assert free_mib() == MIB
    assert call("Restore", one.pid) == 2
    one.close()
    two.close()
    assert free_mib() == FREE
