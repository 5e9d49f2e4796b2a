# SPDX-License-Identifier: Apache-2.0
"""Work that is left to the device of the fake libcuda: order, waiting, and what a lock makes of it."""

import ctypes
import os
import threading

import pytest

from fakes import call, cuda, let_self_run, lock_args, state

NON_BLOCKING = 1
NOT_READY, UNSUPPORTED_IN_CAPTURE = 600, 900
N = 100_000
u64 = ctypes.c_uint64
made = ctypes.c_void_p


@pytest.fixture(autouse=True, scope="module")
def context():
    one = made()
    assert cuda.cuInit(0) == 0
    assert cuda.cuCtxCreate_v2(ctypes.byref(one), 0, 0) == 0
    return one


@pytest.fixture(name="kernels", scope="module")
def built_in_kernels(context):
    module, kernels = made(), {}
    assert cuda.cuModuleLoadData(ctypes.byref(module), b"anything") == 0
    for name in ("fill", "xorshift", "checksum", "spin"):
        kernels[name] = made()
        assert cuda.cuModuleGetFunction(ctypes.byref(kernels[name]), module, name.encode()) == 0
    assert cuda.cuModuleGetFunction(ctypes.byref(made()), module, b"other") == 500
    return kernels


@pytest.fixture(name="launch")
def launcher(kernels):
    def launch(stream, name, *words):
        numbers = [u64(word) for word in words]
        parameters = (ctypes.c_void_p * 3)(*map(ctypes.addressof, numbers))
        assert cuda.cuLaunchKernel(kernels[name], 1, 1, 1, 1, 1, 1, 0, stream, parameters, None) == 0
    return launch


def new_stream(flags=NON_BLOCKING):
    one = made()
    assert cuda.cuStreamCreate(ctypes.byref(one), flags) == 0
    return one


@pytest.fixture(name="stream")
def a_stream():
    one = new_stream()
    yield one
    let_self_run()
    assert cuda.cuStreamDestroy_v2(one) == 0


@pytest.fixture(name="place")
def device_words():
    one = u64()
    assert cuda.cuMemAlloc_v2(ctypes.byref(one), u64(N * 8)) == 0
    assert cuda.cuMemsetD8_v2(one, 0, u64(N * 8)) == 0
    yield one.value
    assert cuda.cuMemFree_v2(one) == 0


@pytest.fixture(name="hold")
def holder():
    """keeps a stream busy until the returned function is called"""
    kept = []

    def hold(stream):
        go_on = threading.Event()
        function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: go_on.wait(60))
        kept.append((function, go_on))
        assert cuda.cuLaunchHostFunc(stream, function, None) == 0
        return go_on.set

    yield hold
    for _, go_on in kept:
        go_on.set()
    assert cuda.cuCtxSynchronize() == 0


def word(place):
    got = u64()
    assert cuda.cuMemcpyDtoH_v2(ctypes.byref(got), u64(place), u64(8)) == 0
    return got.value


def mix(x):
    mask = (1 << 64) - 1
    x ^= x << 13 & mask
    x ^= x >> 7
    x ^= x << 17 & mask
    return x * 0x9E3779B97F4A7C15 & mask


def test_kernels_do_what_their_names_say(stream, launch, place):
    launch(stream, "xorshift", place, N, 5)
    assert cuda.cuStreamSynchronize(stream) == 0
    assert [word(place), word(place + (N - 1) * 8)] == [mix(5), mix(5 + N - 1)]
    total = u64()
    assert cuda.cuMemAlloc_v2(ctypes.byref(total), u64(8)) == 0
    assert cuda.cuMemsetD8_v2(total, 0, u64(8)) == 0
    launch(stream, "checksum", place, 3, total.value)
    launch(stream, "fill", place, N, 77)
    assert cuda.cuStreamSynchronize(stream) == 0
    assert word(total.value) == sum(mix(mix(5 + i) ^ mix(i)) for i in range(3)) % (1 << 64)
    assert word(place + (N - 1) * 8) == 77
    assert cuda.cuMemFree_v2(total) == 0


def test_stream_works_in_order_while_the_program_goes_on(stream, launch, hold, place):
    go_on = hold(stream)
    launch(stream, "fill", place, N, 1)
    launch(stream, "fill", place, 1, 2)
    assert cuda.cuStreamQuery(stream) == NOT_READY
    # not a blocking stream: a synchronous copy does not wait for it
    assert word(place) == 0
    go_on()
    assert cuda.cuStreamSynchronize(stream) == 0
    assert cuda.cuStreamQuery(stream) == 0
    assert [word(place), word(place + 8)] == [2, 1]


def test_synchronous_copy_waits_for_blocking_streams(launch, place):
    stream = new_stream(0)
    launch(stream, "spin", 200)
    launch(stream, "fill", place, 1, 3)
    assert word(place) == 3
    launch(None, "fill", place, 1, 4)
    assert word(place) == 4
    assert cuda.cuStreamDestroy_v2(stream) == 0
    assert cuda.cuStreamSynchronize(stream) == 400


def test_event_holds_another_stream(stream, launch, hold, place):
    other, begin, end, ms = new_stream(), made(), made(), ctypes.c_float()
    for event in (begin, end):
        assert cuda.cuEventCreate(ctypes.byref(event), 0) == 0
    assert cuda.cuEventRecord(begin, stream) == 0
    go_on = hold(stream)
    launch(stream, "spin", 100)
    launch(stream, "fill", place, 1, 5)
    assert cuda.cuEventRecord(end, stream) == 0
    assert cuda.cuStreamWaitEvent(other, end, 0) == 0
    launch(other, "fill", place + 8, 1, 6)
    assert cuda.cuEventQuery(end) == NOT_READY
    assert cuda.cuEventElapsedTime_v2(ctypes.byref(ms), begin, end) == NOT_READY
    go_on()
    assert cuda.cuStreamSynchronize(other) == 0
    assert [word(place), word(place + 8)] == [5, 6]
    assert cuda.cuEventSynchronize(end) == 0
    assert cuda.cuEventElapsedTime_v2(ctypes.byref(ms), begin, end) == 0
    assert ms.value > 90
    for event in (begin, end):
        assert cuda.cuEventDestroy_v2(event) == 0
    assert cuda.cuStreamDestroy_v2(other) == 0


def test_pageable_memory_may_be_used_again_at_once(stream, launch, place):
    data = ctypes.create_string_buffer(b"first, then other", 17)
    launch(stream, "spin", 100)
    assert cuda.cuMemcpyHtoDAsync_v2(u64(place), data, u64(17), stream) == 0
    data.raw = b"x" * 17
    back = ctypes.create_string_buffer(17)
    assert cuda.cuMemcpyDtoHAsync_v2(back, u64(place), u64(17), stream) == 0
    assert back.raw == b"first, then other"


def test_pinned_memory_is_read_when_the_stream_comes_to_it(stream, hold, place):
    pinned = made()
    assert cuda.cuMemHostAlloc(ctypes.byref(pinned), u64(8), 0) == 0
    ctypes.memmove(pinned, b"too soon", 8)
    go_on = hold(stream)
    assert cuda.cuMemcpyHtoDAsync_v2(u64(place), pinned, u64(8), stream) == 0
    ctypes.memmove(pinned, b"just now", 8)
    go_on()
    assert cuda.cuStreamSynchronize(stream) == 0
    assert word(place).to_bytes(8, "little") == b"just now"
    assert cuda.cuMemFreeHost(pinned) == 0
    assert cuda.cuMemFreeHost(pinned) == 1


def test_graph_repeats_what_was_captured(stream, launch, place):
    graph, runs = made(), made()
    assert cuda.cuStreamBeginCapture_v2(stream, 0) == 0
    launch(stream, "fill", place, 2, 9)
    assert cuda.cuMemcpyDtoDAsync_v2(u64(place + 16), u64(place), u64(16), stream) == 0
    assert cuda.cuStreamSynchronize(stream) == UNSUPPORTED_IN_CAPTURE
    assert cuda.cuStreamEndCapture(stream, ctypes.byref(graph)) == 0
    assert cuda.cuStreamSynchronize(stream) == 0
    assert word(place) == 0
    assert cuda.cuGraphInstantiateWithFlags(ctypes.byref(runs), graph, u64(0)) == 0
    assert cuda.cuGraphDestroy(graph) == 0
    for _ in range(2):
        assert cuda.cuMemsetD8_v2(u64(place), 0, u64(32)) == 0
        assert cuda.cuGraphLaunch(runs, stream) == 0
        assert cuda.cuStreamSynchronize(stream) == 0
        assert [word(place), word(place + 24)] == [9, 9]
    assert cuda.cuGraphExecDestroy(runs) == 0


def test_contexts_of_streams(stream, context):
    got, green, primary = made(), made(1), made()
    assert cuda.cuStreamGetCtx(stream, ctypes.byref(got)) == 0
    assert got.value == context.value
    assert cuda.cuStreamGetCtx_v2(stream, ctypes.byref(got), ctypes.byref(green)) == 0
    assert (got.value, green.value) == (context.value, None)
    flags, active = ctypes.c_uint(), ctypes.c_int()
    for want, change in ((0, lambda: cuda.cuDevicePrimaryCtxRetain(ctypes.byref(primary), 0)),
                         (1, lambda: cuda.cuDevicePrimaryCtxRelease_v2(0)), (0, lambda: 0)):
        assert cuda.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active)) == 0
        assert active.value == want
        assert change() == 0


def test_lock_waits_for_queued_work_or_times_out(stream, hold):
    pid = os.getpid()
    go_on = hold(stream)
    assert call("Lock", pid, lock_args(200)) == NOT_READY
    assert state(pid) == 0
    assert cuda.cuStreamQuery(stream) == NOT_READY
    threading.Timer(0.2, go_on).start()
    assert call("Lock", pid) == 0
    # what was queued is done: synchronising returns while locked
    assert cuda.cuStreamSynchronize(stream) == 0
    assert call("Unlock", pid) == 0


def test_synchronising_thread_sees_its_work_end_across_a_lock(stream, launch, context):
    pid, results, is_ready = os.getpid(), [], threading.Event()

    def wait():
        results.append(cuda.cuCtxSetCurrent(context))
        is_ready.set()
        results.append(cuda.cuStreamSynchronize(stream))

    launch(stream, "spin", 500)
    waiting = threading.Thread(target=wait)
    waiting.start()
    assert is_ready.wait(10)
    assert call("Lock", pid) == 0
    waiting.join(10)
    assert results == [0, 0]
    assert call("Unlock", pid) == 0


# the last one: the error stays in this process
def test_bad_address_shows_where_the_program_waits(stream, launch):
    launch(stream, "fill", 4096, 1, 1)
    assert cuda.cuStreamSynchronize(stream) == 700
    assert cuda.cuCtxSynchronize() == 700
