# SPDX-License-Identifier: Apache-2.0
"""The fake libnvidia-ml: the machine of FAKECUDA_HOST in the words of nvml.h."""

import ctypes
import os
import pathlib
import subprocess
import sys

import pytest

FAKE = pathlib.Path(os.environ["SNAP_BUILD"]) / "tests/fixtures/fake_cuda"
HOST = """driver=580.65.06
cuda=13000
gpu=GPU-00112233-4455-6677-8899-aabbccddeeff,NVIDIA H100 80GB HBM3,0001:41:00.0,9.0,80000,79000
gpu=ffeeddccbbaa99887766554433221100,NVIDIA A100-SXM4-40GB,0000:c1:00.0,8.0,40000,1,mig=1,pci_id=20b010de
gpu=0123456789abcdef0123456789abcdef,Tesla V100,0000:02:00.0,7.0,16000,16000
"""
UNINITIALISED, INVALID, NOT_SUPPORTED, TOO_SMALL, NOT_LOADED = 1, 2, 3, 7, 9

nvml = ctypes.CDLL(str(FAKE / "libnvidia-ml.so.1"))
nvml.nvmlErrorString.restype = ctypes.c_char_p


class Pci(ctypes.Structure):
    _fields_ = [("legacy", ctypes.c_char * 16), ("domain", ctypes.c_uint), ("bus", ctypes.c_uint),
                ("device", ctypes.c_uint), ("device_id", ctypes.c_uint),
                ("subsystem", ctypes.c_uint), ("id", ctypes.c_char * 32)]


@pytest.fixture(name="host")
def initialised_host(tmp_path, monkeypatch):
    path = tmp_path / "host"
    path.write_text(HOST)
    monkeypatch.setenv("FAKECUDA_HOST", str(path))
    assert nvml.nvmlInit_v2() == 0
    yield
    assert nvml.nvmlShutdown() == 0


def device(index):
    handle = ctypes.c_void_p()
    assert nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0
    return handle


def text(function, *first, size=96):
    buffer = ctypes.create_string_buffer(size)
    r = getattr(nvml, function)(*first, buffer, size)
    return buffer.value.decode() if r == 0 else r


def numbers(function, *first, kind=ctypes.c_uint, count=2):
    out = [kind() for _ in range(count)]
    r = getattr(nvml, function)(*first, *map(ctypes.byref, out))
    return tuple(one.value for one in out) if r == 0 else r


def memory(index):
    got = (ctypes.c_ulonglong * 3)()
    assert nvml.nvmlDeviceGetMemoryInfo(device(index), got) == 0
    return [value >> 20 for value in got]


def test_system_and_devices_are_the_descriptions(host):
    assert text("nvmlSystemGetDriverVersion") == "580.65.06"
    assert numbers("nvmlSystemGetCudaDriverVersion_v2", count=1) == (13000,)
    assert numbers("nvmlDeviceGetCount_v2", count=1) == (3,)
    assert text("nvmlDeviceGetName", device(1)) == "NVIDIA A100-SXM4-40GB"
    assert text("nvmlDeviceGetUUID", device(0)) == "GPU-00112233-4455-6677-8899-aabbccddeeff"
    assert numbers("nvmlDeviceGetCudaComputeCapability", device(2), kind=ctypes.c_int) == (7, 0)
    assert memory(0) == [80000, 79000, 1000]
    assert [numbers("nvmlDeviceGetMigMode", device(i)) for i in range(3)] == \
        [(0, 0), (1, 1), NOT_SUPPORTED]


def test_pci_place(host):
    pci = Pci()
    assert nvml.nvmlDeviceGetPciInfo_v3(device(0), ctypes.byref(pci)) == 0
    assert (pci.legacy, pci.id) == (b"0001:41:00.0", b"00000001:41:00.0")
    assert (pci.domain, pci.bus, pci.device, pci.device_id) == (1, 0x41, 0, 0x233010de)
    assert nvml.nvmlDeviceGetPciInfo_v3(device(1), ctypes.byref(pci)) == 0
    assert (pci.bus, pci.device_id) == (0xc1, 0x20b010de)


def test_wrong_arguments(host):
    handle = ctypes.c_void_p()
    assert nvml.nvmlDeviceGetHandleByIndex_v2(3, ctypes.byref(handle)) == INVALID
    assert nvml.nvmlDeviceGetHandleByIndex_v2(0, None) == INVALID
    assert text("nvmlDeviceGetUUID", device(0), size=40) == TOO_SMALL
    assert text("nvmlDeviceGetUUID", device(0), size=41).startswith("GPU-")
    assert text("nvmlDeviceGetName", None) == INVALID
    assert nvml.nvmlInitWithFlags(8) == INVALID
    assert nvml.nvmlErrorString(NOT_LOADED) == b"Driver Not Loaded"


def test_calls_want_an_initialised_library(tmp_path, monkeypatch):
    assert text("nvmlSystemGetDriverVersion") == UNINITIALISED
    assert nvml.nvmlShutdown() == UNINITIALISED
    assert nvml.nvmlInitWithFlags(1) == 0
    assert nvml.nvmlInit_v2() == 0
    assert nvml.nvmlShutdown() == 0
    assert text("nvmlSystemGetDriverVersion") == "580.159.04"
    assert nvml.nvmlShutdown() == 0
    assert text("nvmlSystemGetDriverVersion") == UNINITIALISED
    monkeypatch.setenv("FAKECUDA_HOST", str(tmp_path / "nowhere"))
    assert nvml.nvmlInit_v2() == NOT_LOADED


def test_trace_has_each_call(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKECUDA_TRACE", str(tmp_path / "trace"))
    assert nvml.nvmlInit_v2() == 0
    assert numbers("nvmlDeviceGetMigMode", None) == INVALID
    assert nvml.nvmlShutdown() == 0
    lines = [line.split()[3:] for line in (tmp_path / "trace").read_text().splitlines()]
    assert lines == [["nvmlInit_v2", "0"], ["nvmlDeviceGetMigMode", "2"], ["nvmlShutdown", "0"]]


def run(code, *words):
    """the lines that code prints, with the fakes as nvml and cuda and n() for the device's handles"""
    head = f"""
import ctypes, os, sys
nvml = ctypes.CDLL({str(FAKE / "libnvidia-ml.so.1")!r})
cuda = ctypes.CDLL({str(FAKE / "libcuda.so.1")!r})
def n():
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass
    return sum("landlock" in l or "userfaultfd" in l or "perf_event" in l for l in links)
"""
    done = subprocess.run([sys.executable, "-c", head + code, *words], capture_output=True,
                          text=True, timeout=30, check=True)
    return done.stdout.split()


def test_device_is_open_between_init_and_shutdown():
    got = run("print(n()); nvml.nvmlInit_v2(); print(n()); nvml.nvmlShutdown(); print(n())")
    assert got == ["0", "1", "0"]


def test_checkpoint_closes_what_nvml_has_open():
    got = run("""
nvml.nvmlInit_v2(); cuda.cuInit(0); print(n())
for name in ("Lock", "Checkpoint", "Restore", "Unlock"):
    print(getattr(cuda, "cuCheckpointProcess" + name)(os.getpid(), None), n())
nvml.nvmlShutdown(); print(n())
""")
    assert got == ["2", "0", "2", "0", "0", "0", "2", "0", "2", "1"]


def test_process_with_nvml_alone_cannot_be_checkpointed():
    assert run("nvml.nvmlInit_v2(); print(cuda.cuCheckpointProcessLock(os.getpid(), None), n())") \
        == ["3", "1"]
