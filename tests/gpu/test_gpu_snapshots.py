# SPDX-License-Identifier: Apache-2.0
"""CUDA engines over the fake driver: they are captured and woken with their device memory."""

import json
import os
import subprocess

import pytest

from gpu_bench import library_path
from lib import engines, namespaces
from lib.starts import read_text

MIB = 1 << 20
USER = 1000
PORT = 8140
HUGE_HEAD_ROOM = 6 << 30  # a test of 2 GiB needs it thrice: device, copy, page cache


def cuda_engine(programs, *options, port=PORT):
    url = f"http://127.0.0.1:{port}"
    argv = (programs.fixture("cuda_engine"), "--port", str(port), *map(str, options))
    return engines.Engine("cuda_engine", argv, port, ready=f"{url}/health",
                          oracle=f"GET {url}/sum", path="/sum")


def generation(store):
    return os.path.join(store, read_text(f"{store}/current").strip())


def manifest(store):
    with open(os.path.join(generation(store), "manifest.json"), encoding="utf-8") as text:
        return json.load(text)


def image_bytes(store):
    folder = os.path.join(generation(store), "criu")
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def assert_wakes(start, engine, answer):
    record = start.wait_record("wake.done", "boot.cold", "wake.failed", "wake.refused", seconds=60)
    assert record["event"] == "wake.done", start.tail()
    assert engine.ask(start) == answer
    assert start.wait_http(engine.port, "/check") == b"PASS\n"


@pytest.mark.parametrize("options, wakes", [
    (("--device-mib", 64), 20),
    (("--device-mib", 64, "--pinned-mib", 8, "--children", 1, "--sync-loop"), 20),
    (("--device-mib", 256, "--zero-mib", 128), 2),
])
def test_sums_are_the_same_after_every_wake(gpu, options, wakes):
    engine = cuda_engine(gpu.programs, *options)
    # what it answers after the capture is asked by captured()
    store, answer = gpu.captured(engine)
    for _ in range(wakes):
        # memory is slow here when it is touched for the first time
        with gpu.start(store, engine, extra=("--wake-timeout", "60s")) as start:
            assert_wakes(start, engine, answer)


def test_pages_off_leaves_device_memory_to_criu(gpu):
    engine = cuda_engine(gpu.programs, "--device-mib", 64)
    store, answer = gpu.captured(engine, extra=("--pages", "off"))
    assert image_bytes(store) > 64 * MIB
    with gpu.start(store, engine) as start:
        assert_wakes(start, engine, answer)


def test_device_memory_is_in_the_page_files_without_its_zeros(gpu):
    engine = cuda_engine(gpu.programs, "--device-mib", 128, "--zero-mib", 96)
    store, _ = gpu.captured(engine)
    made = manifest(store)
    assert image_bytes(store) < 8 * MIB
    stored = os.path.getsize(os.path.join(generation(store), "pages.dat"))
    assert 32 * MIB <= stored <= 34 * MIB  # 2 MiB besides: a huge page of a mapping beside
    assert made["gpu"]["mode"] == "staging" and "gpu" in made["requires"]
    process, = made["gpu"]["processes"]
    assert 128 * MIB <= process["staging_bytes"] < 130 * MIB
    assert sum(int(part["end"], 16) - int(part["start"], 16)
               for part in made["gpu"]["staging"]) == process["staging_bytes"]
    assert len(made["gpu"]["devices"]) == 1


def test_inspect_tells_device_memory_and_where_it_was(gpu):
    engine = cuda_engine(gpu.programs, "--device-mib", 128, "--zero-mib", 96)
    store, _ = gpu.captured(engine)
    told = json.loads(gpu.snapctl("inspect", "--json", store, check=True).stdout)
    share, = told["gpu"]["processes"]
    assert 128 * MIB <= share["device_bytes"] < 130 * MIB
    # 2 MiB besides: a huge page of a mapping beside
    assert 96 * MIB <= share["zero_bytes"] <= 98 * MIB
    assert 32 * MIB <= share["stored_bytes"] <= 34 * MIB
    assert 0 < share["host_bytes"] < 32 * MIB
    lines = gpu.snapctl("inspect", store, check=True).stdout
    assert "NVIDIA H100 80GB HBM3 (9.0)" in lines and "of device memory, 96.0 MiB of it zero" in lines


def test_two_gibibytes_of_device_memory(gpu):
    available = int(next(line for line in read_text("/proc/meminfo").splitlines()
                         if line.startswith("MemAvailable:")).split()[1]) << 10
    if available < HUGE_HEAD_ROOM:
        pytest.skip(f"{available >> 20} MiB of memory are available, {HUGE_HEAD_ROOM >> 20} needed")
    engine = cuda_engine(gpu.programs, "--device-mib", 2048, "--zero-mib", 1920)
    store, answer = gpu.captured(engine)
    assert image_bytes(store) <= 8 * MIB
    with gpu.start(store, engine, extra=("--wake-timeout", "120s")) as start:
        assert_wakes(start, engine, answer)


def test_unprivileged_user(place, programs):
    """snapctl makes a user namespace, in which the driver's files belong to nobody it knows."""
    env = {**os.environ, "LD_LIBRARY_PATH": library_path(programs)}
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    done = subprocess.run([*command, "unshare", "-Ur", programs.snapctl, "version"], env=env,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no user namespace, or user {USER} cannot reach {programs.snapctl}: {done.stderr}")
    engine = cuda_engine(programs, "--device-mib", 32)
    store = os.path.join(place.store(uid=USER), "made")
    done = subprocess.run([*command, programs.snapctl, "create", "--criu", programs.criu, "--output",
                           store, "--ready", engine.ready, "--oracle", engine.oracle, "--",
                           *engine.argv], env=env, cwd="/", capture_output=True, text=True,
                          check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("verified")
    assert manifest(store)["gpu"]["processes"]


def test_a_child_that_keeps_the_device_is_named_and_the_engine_serves_on(gpu):
    engine = cuda_engine(gpu.programs, "--device-mib", 16, "--keep-device")
    store = gpu.workplace.store()
    with gpu.start(store, engine, capture="first-boot", extra=("--quiet-timeout", "300ms")) as start:
        answer = engine.ask(start)
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed" and record["code"] == "unsnapshotable"
        assert "cuda_engine" in record["msg"]
        assert engine.ask(start) == answer


def test_a_child_that_has_not_executed_its_program_yet_is_waited_for(gpu):
    engine = cuda_engine(gpu.programs, "--device-mib", 16, "--execute-ms", 3000)
    store, answer = gpu.captured(engine)
    with gpu.start(store, engine) as start:
        assert_wakes(start, engine, answer)


LAZY_ENGINE = """
import ctypes, http.server, sys
SIZE, WORDS = 4 << 20, b"0123456789abcdef"
def begin():
    cuda, context, memory = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_uint64()
    assert cuda.cuInit(0) == 0 and cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0
    assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(SIZE)) == 0
    assert cuda.cuMemcpyHtoD_v2(memory, WORDS * (SIZE // 16), ctypes.c_size_t(SIZE)) == 0
    return cuda, memory
class Handler(http.server.BaseHTTPRequestHandler):
    cuda = None
    def do_GET(self):
        copy, answer = ctypes.create_string_buffer(SIZE), b"PASS\\n"
        if self.path != "/health":
            Handler.cuda = Handler.cuda or begin()
            cuda, memory = Handler.cuda
            assert cuda.cuMemcpyDtoH_v2(copy, memory, ctypes.c_size_t(SIZE)) == 0
            answer = answer if copy.raw == WORDS * (SIZE // 16) else b"FAIL\\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_an_engine_that_loads_the_driver_at_its_first_request(gpu):
    url = f"http://127.0.0.1:{PORT}"
    engine = engines.Engine("lazy", (engines.PYTHON, "-c", LAZY_ENGINE, str(PORT)), PORT,
                            ready=f"{url}/health", oracle=f"GET {url}/check", path="/check")
    store, answer = gpu.captured(engine)
    assert manifest(store)["gpu"]["processes"]
    with gpu.start(store, engine) as start:
        assert_wakes(start, engine, answer)


def test_a_store_without_room_for_device_memory_is_told_before_the_freeze(gpu):
    engine = cuda_engine(gpu.programs, "--device-mib", 320)
    store = gpu.workplace.store()
    namespaces.mount("tmpfs", store, "tmpfs", 0, "mode=700,size=200m")
    try:
        with gpu.start(store, engine, capture="first-boot") as start:
            record = start.wait_record("capture.failed", "capture.done", seconds=60)
            assert record["event"] == "capture.failed" and "MiB free" in record["msg"], record
            assert engine.ask(start)
    finally:
        namespaces.umount(store)
