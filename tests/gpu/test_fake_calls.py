# SPDX-License-Identifier: Apache-2.0
"""The rest of the fake libcuda: pointers, contexts, host memory, IPC, what the environment changes."""

import ctypes
import os
import pathlib
import subprocess
import sys
import time

import pytest

from fakes import (FAKE, HOST, LOCKED, MIB, UUID_A, UUID_B, Target, call, cuda, let_self_run,
                   restore_args, state)

u64 = ctypes.c_uint64
made = ctypes.c_void_p
CONTEXT, TYPE, DEVICE_POINTER, HOST_POINTER, MANAGED, START, SIZE = 1, 2, 3, 4, 8, 11, 12
ON_HOST, ON_DEVICE = 1, 2


@pytest.fixture(autouse=True, scope="module")
def context():
    one = made()
    assert cuda.cuInit(0) == 0
    assert cuda.cuCtxCreate_v2(ctypes.byref(one), 0, 0) == 0
    return one


@pytest.fixture(autouse=True)
def running():
    yield
    let_self_run()


def alloc(size):
    place = u64()
    assert cuda.cuMemAlloc_v2(ctypes.byref(place), u64(size)) == 0
    return place.value


def attribute(what, place):
    got = u64()
    r = cuda.cuPointerGetAttribute(ctypes.byref(got), what, u64(place))
    return got.value if r == 0 else -r


def test_pointers(context):
    place, pinned, plain, managed = alloc(1000), made(), ctypes.create_string_buffer(8192), u64()
    assert attribute(TYPE, place + 999) == ON_DEVICE
    assert attribute(START, place + 10) == place
    assert attribute(SIZE, place) == 1000
    assert attribute(CONTEXT, place) == context.value
    assert attribute(HOST_POINTER, place) == -1
    assert attribute(TYPE, place + 1000) == -1
    assert cuda.cuMemHostAlloc(ctypes.byref(pinned), u64(5000), 0) == 0
    assert attribute(TYPE, pinned.value) == ON_HOST
    assert attribute(HOST_POINTER, pinned.value + 8) == pinned.value + 8
    start = ctypes.addressof(plain)
    assert attribute(TYPE, start) == -1
    assert cuda.cuMemHostRegister_v2(plain, u64(8192), 0) == 0
    assert cuda.cuMemHostRegister_v2(plain, u64(8192), 0) == 712
    device = u64()
    assert cuda.cuMemHostGetDevicePointer_v2(ctypes.byref(device), plain, 0) == 0
    assert attribute(DEVICE_POINTER, start) == device.value == start
    assert cuda.cuMemHostUnregister(plain) == 0
    assert cuda.cuMemHostUnregister(plain) == 713
    assert cuda.cuMemAllocManaged(ctypes.byref(managed), u64(4096), 1) == 0
    assert (attribute(TYPE, managed.value), attribute(MANAGED, managed.value)) == (ON_DEVICE, 1)
    kinds, out = (ctypes.c_int * 2)(TYPE, SIZE), [u64(), u64(99)]
    where = (ctypes.c_void_p * 2)(*map(ctypes.addressof, out))
    assert cuda.cuPointerGetAttributes(2, kinds, where, u64(place)) == 0
    assert [value.value for value in out] == [ON_DEVICE, 1000]
    assert cuda.cuPointerGetAttributes(2, kinds, where, u64(1)) == 0
    assert [value.value for value in out] == [0, 0]
    assert cuda.cuMemFree_v2(managed) == cuda.cuMemFree_v2(u64(place)) == 0
    assert cuda.cuMemFreeHost(pinned) == 0
    assert call("Lock", os.getpid()) == call("Checkpoint", os.getpid()) == 0
    assert call("Restore", os.getpid()) == call("Unlock", os.getpid()) == 0


def test_any_copy_and_words():
    place, data, back = alloc(64), ctypes.create_string_buffer(b"x" * 64, 64), ctypes.create_string_buffer(64)
    assert cuda.cuMemcpy(u64(place), u64(ctypes.addressof(data)), u64(64)) == 0
    assert cuda.cuMemsetD32_v2(u64(place + 4), 0x44332211, u64(2)) == 0
    assert cuda.cuMemsetD32_v2(u64(place + 1), 0, u64(1)) == 1
    assert cuda.cuMemcpy_ptds(u64(ctypes.addressof(back)), u64(place), u64(64)) == 0
    assert back.raw == b"xxxx" + b"\x11\x22\x33\x44" * 2 + b"x" * 52
    assert cuda.cuStreamSynchronize_ptsz(None) == 0
    assert cuda.cuMemFree_v2(u64(place)) == 0


def test_contexts_are_stacked(context):
    other, got = made(), made()
    assert cuda.cuCtxCreate_v2(ctypes.byref(other), 0, 0) == 0
    assert cuda.cuCtxPushCurrent_v2(context) == 0
    assert cuda.cuCtxPopCurrent_v2(ctypes.byref(got)) == 0
    assert got.value == context.value
    assert cuda.cuCtxGetCurrent(ctypes.byref(got)) == 0
    assert got.value == other.value
    assert cuda.cuCtxDestroy_v2(other) == 0
    assert cuda.cuCtxPushCurrent_v2(other) == 201
    assert cuda.cuCtxSetCurrent(context) == 0


def test_memory_shared_with_another_process_forbids_its_checkpoint():
    place, handle = alloc(4096), (ctypes.c_char * 64)()
    assert cuda.cuMemcpyHtoD_v2(u64(place), b"seen by both", u64(12)) == 0
    assert cuda.cuIpcGetMemHandle(handle, u64(place)) == 0
    importer = f"""
import ctypes, os
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 64)]
c, place, context, back = (ctypes.CDLL({str(FAKE / 'libcuda.so.1')!r}), ctypes.c_uint64(),
                           ctypes.c_void_p(), ctypes.create_string_buffer(12))
handle = Handle.from_buffer_copy({bytes(bytearray(handle))!r})
c.cuInit(0); c.cuCtxCreate_v2(ctypes.byref(context), 0, 0)
print(c.cuIpcOpenMemHandle_v2(ctypes.byref(place), handle, 1))
print(c.cuMemcpyDtoH_v2(back, place, ctypes.c_uint64(12)), back.raw.decode())
print(c.cuCheckpointProcessLock(os.getpid(), None), c.cuCheckpointProcessCheckpoint(os.getpid(), None),
      c.cuCheckpointProcessUnlock(os.getpid(), None), c.cuIpcCloseMemHandle(place))
print(c.cuCheckpointProcessLock(os.getpid(), None), c.cuCheckpointProcessCheckpoint(os.getpid(), None))
"""
    got = subprocess.check_output([sys.executable, "-c", importer], text=True, timeout=20)
    assert got.splitlines() == ["0", "0 seen by both", "0 801 0 0", "0 0"]
    pid = os.getpid()
    assert call("Lock", pid) == 0
    assert call("Checkpoint", pid) == 801
    assert state(pid) == LOCKED
    assert call("Unlock", pid) == 0
    assert cuda.cuMemFree_v2(u64(place)) == 0
    assert call("Lock", pid) == call("Checkpoint", pid) == 0
    assert call("Restore", pid) == call("Unlock", pid) == 0


def test_faults_of_a_checkpoint(monkeypatch):
    target = Target()
    assert call("Lock", target.pid) == 0
    monkeypatch.setenv("FAKECUDA_FAULT", "checkpoint:ipc")
    assert call("Checkpoint", target.pid) == 801
    monkeypatch.setenv("FAKECUDA_FAULT", f"checkpoint:bw_mib_s={MIB * 2},restore:bw_mib_s={MIB * 4}")
    start = time.monotonic()
    assert call("Checkpoint", target.pid) == 0
    assert time.monotonic() - start > 0.4
    start = time.monotonic()
    assert call("Restore", target.pid) == 0
    assert time.monotonic() - start > 0.2
    monkeypatch.setenv("FAKECUDA_FAULT", "checkpoint:other=3")
    assert call("Lock", target.pid) == 999
    target.close()


def test_visible_devices(tmp_path):
    path = tmp_path / "host"
    text = HOST.format(driver="580.1", uuid=UUID_A, name="H100", free=100)
    path.write_text(text + f"gpu={UUID_B},H200,0000:00:05.0,9.0,1000,500\n")
    code = f"""
import ctypes
c, n, name = ctypes.CDLL({str(FAKE / 'libcuda.so.1')!r}), ctypes.c_int(), ctypes.create_string_buffer(64)
print(c.cuInit(0), c.cuDeviceGetCount(ctypes.byref(n)), n.value, c.cuDeviceGetName(name, 64, 0),
      name.value.decode())
"""
    def see(devices):
        return subprocess.check_output(
            [sys.executable, "-c", code], text=True,
            env=os.environ | {"FAKECUDA_HOST": str(path)} |
            ({} if devices is None else {"CUDA_VISIBLE_DEVICES": devices})).split()

    assert see(None) == ["0", "0", "2", "0", "H100"]
    assert see("1,0") == ["0", "0", "2", "0", "H200"]
    assert see("GPU-bbbb") == see("1,7,0") == ["0", "0", "1", "0", "H200"]
    assert see("") == ["100", "3", "0", "3"]


def test_driver_before_580_takes_no_pairs(tmp_path, monkeypatch):
    path = tmp_path / "host"
    path.write_text(HOST.format(driver="575.57.08", uuid=UUID_A, name="H100", free=100))
    monkeypatch.setenv("FAKECUDA_HOST", str(path))
    target = Target()
    assert call("Lock", target.pid) == call("Checkpoint", target.pid) == 0
    assert call("Restore", target.pid, restore_args((UUID_A, UUID_A))) == 1
    assert call("Restore", target.pid) == 0
    target.close()


def test_names_and_threads():
    text = ctypes.c_char_p()
    assert cuda.cuGetErrorName(401, ctypes.byref(text)) == 0
    assert text.value == b"CUDA_ERROR_ILLEGAL_STATE"
    assert cuda.cuGetErrorString(12345, ctypes.byref(text)) == 1
    names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    assert "cuda-EvtHandlr" in names
    assert sum(len(name) == 15 and name.startswith("cuda") for name in names) == 1
