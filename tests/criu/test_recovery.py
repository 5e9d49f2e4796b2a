# SPDX-License-Identifier: Apache-2.0
"""
A capture that breaks while the engine stands still, with foreign registers or without its memory:
the same engine goes on, whole, or it is ended and booted cold. It never runs with holes.
"""

import contextlib
import fcntl
import os
import random
import re
import shutil
import signal
import time

import pytest

from lib import engines
from lib.processes import traced
from lib.starts import read_text, status_field, wait_until

STEPS = ("freeze", "evacuate", "dump", "resume", "seal", "verify", "publish")
POINTS = (
    "thread-noted", "injected", "planned", "pages-half", "pages-written", "map-written",
    "kept", "drop-noted", "drop-thread-noted", "drop-called", "drop-half", "dropped",
    "dump-begun", "dump-written", "fill-half", "refilled", "forgotten")
TRIES = 20


@pytest.fixture(autouse=True)
def faults(programs):
    if not programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")


def heap(programs):
    return engines.heap_engine(programs, 8009, "--heap", "24M", "--shm", "4M", "--threads", "8")


def start_ticks(pid):
    return read_text(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]


def identity(start):
    """The one engine: its pid and when it began."""
    # a worker that is being started has another name until its exec
    roots = wait_until(lambda: f"one engine: {start.processes()}",
                       lambda: one_or_none(start.engine_roots()), 10)
    return roots[0][0], start_ticks(roots[0][0])


def one_or_none(roots):
    return roots if len(roots) == 1 else None


def assert_whole(start, engine):
    """Nobody holds it, it runs, and its memory and threads are what they were at boot."""
    wait_until(lambda: f"workers stay: {start.tools()}", lambda: not start.tools(), 10)
    assert start.wait_http(engine.port, "/check") == b"PASS\n"
    pid = identity(start)[0]
    for tid in os.listdir(f"/proc/{pid}/task"):
        assert status_field(f"{pid}/task/{tid}", "TracerPid") == "0"
        assert status_field(f"{pid}/task/{tid}", "State")[0].upper() in "RSD"


def assert_same_engine(start, engine, before):
    assert_whole(start, engine)
    assert identity(start) == before, start.tail()
    assert len(start.records("boot.cold")) == 1, start.tail()
    assert not start.records("engine.harmed"), start.tail()


def assert_captures_again(bench, store, engine):
    """As after the expiry of a lease that a killed worker has left."""
    lease = os.path.join(store, "lease")
    if os.path.exists(lease):
        os.unlink(lease)
    with bench.start(store, engine, capture="first-boot") as start:
        record = start.wait_record("capture.done", "capture.failed", "wake.done")
        assert record["event"] != "capture.failed", start.tail()
        assert_whole(start, engine)
        assert start.terminate() in (0, 128 + signal.SIGTERM)


def engine_of(start, name="heap_engine"):
    start.wait_record("boot.cold")
    # a worker that is being started has another name until its exec
    wait_until("engine", lambda: [root[2] for root in start.engine_roots()] == [name], 10)
    return identity(start)


def wait_outcome(start):
    """The capture has failed, and what comes of the engine is settled."""
    record = start.wait_record("capture.failed", "capture.done")
    if record["event"] == "capture.failed":
        wait_until(lambda: f"unsettled: {start.processes()}\n{start.tail()}",
                   lambda: not start.tools(), 30)
    return record["event"]


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.parametrize("point", STEPS + POINTS)
def test_same_engine_goes_on(bench, point, how):
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot",
                     env={"SNAPINIT_FAULT": f"capture.{point}={how}"}) as start:
        before = engine_of(start)
        assert wait_outcome(start) == "capture.failed", start.tail()
        assert_same_engine(start, engine, before)
        # nobody needs the page files of a capture that was taken back
        if how == "fail" and point != "publish":
            assert not [name for name in os.listdir(store) if name.startswith("gen-")]
        assert start.terminate() in (0, 128 + signal.SIGTERM)
    assert_captures_again(bench, store, engine)


@pytest.mark.parametrize("point", ["injected", "drop-half", "dropped", "dump-written"])
def test_journal_is_what_brings_it_back(bench, point):
    """The test above must not pass because nothing was at stake."""
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot",
                     env={"SNAPINIT_FAULT": f"capture.{point}=kill"}) as start:
        before = engine_of(start)
        start.wait_record("engine.recovered")
        start.wait_record("engine.unharmed")
        assert_same_engine(start, engine, before)


@pytest.mark.parametrize("pages", ["auto", "off"])
@pytest.mark.parametrize("point", ["evacuate", "dump-written"])
def test_tiles_come_back(bench, point, pages):
    """
    A dump takes every thread's AMX tile configuration away. The engine configures its tiles once,
    for the oracle: a thread that has lost that is killed at its next product.
    """
    if not engines.has_amx():
        pytest.skip("this CPU has no AMX (amx_tile)")
    engine = engines.amx_engine(bench.programs)
    with bench.start(bench.workplace.store(), engine, capture="first-boot",
                     extra=("--pages", pages),
                     env={"SNAPINIT_FAULT": f"capture.{point}=kill"}) as start:
        before = engine_of(start, "amx_engine")
        start.wait_record("engine.recovered")
        assert wait_outcome(start) == "capture.failed", start.tail()
        assert_same_engine(start, engine, before)


@pytest.mark.parametrize("victim", ["worker", "criu"])
@pytest.mark.parametrize("image", ["seccomp", "fdinfo-", "core-", "mm-", "pagemap-", "pages-"])
def test_kill_in_mid_dump(bench, image, victim):
    """
    When CRIU has begun to write an image of that kind, its parasite is in the engine. Without its
    worker it leaves in good order. Killed itself it may leave a thread at a trap, which the kernel
    makes a deadly signal of: then nobody can help the engine, and it is booted cold.
    """
    engine = heap(bench.programs)
    store = bench.workplace.store()
    images = os.path.join(store, "gen-1/criu")
    with bench.start(store, engine, capture="first-boot") as start:
        before = engine_of(start)
        deadline = time.monotonic() + 20
        while not any(name.startswith(image) for name in listed(images)):
            assert time.monotonic() < deadline and not start.records("capture.done")
        tools = start.tools("snapworker" if victim == "worker" else "criu")
        if not tools:
            pytest.skip("this dump was faster than that")
        os.kill(tools[0][0], signal.SIGKILL)
        if wait_outcome(start) == "capture.done":
            pytest.skip("this dump was faster than that")
        if victim == "worker":
            assert_same_engine(start, engine, before)
        wait_until(lambda: start.tail(), lambda: len(start.engine_roots()) == 1, 10)
        assert_whole(start, engine)
        same = identity(start) == before
        print(image, "same" if same else "cold")
        assert same or len(start.records("boot.cold")) == 2
        assert start.terminate() in (0, 128 + signal.SIGTERM)


def listed(folder):
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def capture_seconds(bench, engine):
    with bench.start(bench.workplace.store(), engine, capture="first-boot") as start:
        start.wait_record("boot.cold")
        wait_until("worker", lambda: start.tools("snapworker"), 10)
        begun = time.monotonic()
        start.wait_record("capture.done")
        return time.monotonic() - begun


def test_worker_killed_at_any_moment(bench):
    engine = heap(bench.programs)
    seconds = capture_seconds(bench, engine)
    chance = random.Random(4711)
    outcomes = []
    for _ in range(TRIES):
        wait = chance.uniform(0, seconds)
        with bench.start(bench.workplace.store(), engine, capture="first-boot") as start:
            before = engine_of(start)
            workers = wait_until("worker", lambda: start.tools("snapworker"), 10)
            time.sleep(wait)
            try:
                os.kill(workers[0][0], signal.SIGKILL)
            except ProcessLookupError:
                pass
            assert start.wait_http(engine.port, "/check", seconds=30) == b"PASS\n"
            outcome = wait_outcome(start)
            assert_whole(start, engine)
            booted = len(start.records("boot.cold"))
            assert booted == 1 + len(start.records("engine.harmed")), start.tail()
            same = identity(start) == before
            assert same == (booted == 1)
            outcomes.append(f"{wait * 1000:.0f} ms: {outcome}, {'same' if same else 'cold'}")
    print("\n".join(outcomes))


def test_signals_wait_for_the_recovery(bench):
    """TERM comes while the engine has no memory: it is whole when it gets it."""
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot", extra=("--grace", "4s", "--log-level", "debug"),
                     env={"SNAPINIT_FAULT": "capture.dropped=hang"}) as start:
        engine_of(start)
        wait_until("the freeze", lambda: entered(start, "frozen"), 20)
        wait_until("the drop", lambda: os.path.exists(os.path.join(store, "gen-1/pages.map")), 20)
        start.signal(signal.SIGTERM)
        assert start.wait_exit(15) in (0, 128 + signal.SIGTERM)
        order = [record.get("to") for record in start.records("state.entered")]
        assert order.index("recovering") < order.index("stopping"), order
        assert not start.records("engine.harmed", "grace.over"), start.tail()


def entered(start, state):
    return any(record.get("to") == state for record in start.records("state.entered"))


def test_term_makes_the_worker_take_it_back(bench):
    """A worker that can is asked, not killed: it undoes what it has done."""
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot", extra=("--log-level", "debug")) as start:
        engine_of(start)
        while not entered(start, "frozen"):
            time.sleep(0.0005)
        start.signal(signal.SIGTERM)
        assert start.wait_exit(15) in (0, 128 + signal.SIGTERM)
        assert not start.records("engine.harmed", "grace.over"), start.tail()


def boots_cold(bench, point, harm):
    """What is left of the capture is spoilt by harm(store, start): the engine must not run on."""
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot",
                     env={"SNAPINIT_FAULT": f"capture.{point}"}) as start:
        before = engine_of(start)
        harm(store, start)
        record = start.wait_record("engine.harmed")
        assert "could not be brought back" in record["msg"], record
        wait_until(lambda: start.tail(), lambda: len(start.records("boot.cold")) == 2, 30)
        assert not start.records("engine.recovered")
        assert_whole(start, engine)
        assert identity(start) != before
        assert start.terminate() in (0, 128 + signal.SIGTERM)
    shutil.rmtree(os.path.join(store, "gen-1"), ignore_errors=True)
    assert_captures_again(bench, store, engine)


def kill_at_the_hang(store, start, spoil):
    wait_until("pages.map", lambda: os.path.exists(os.path.join(store, "gen-1/pages.map")), 20)
    root = start.engine_roots()[0][0]
    wait_until("the drop", lambda: int(status_field(root, "RssAnon").split()[0]) < 4096, 20)
    spoil(os.path.join(store, "gen-1/pages.dat"))
    os.kill(start.tools("snapworker")[0][0], signal.SIGKILL)


def flip(path):
    with open(path, "r+b") as data:
        data.seek(8 << 20)
        byte = data.read(1)
        data.seek(8 << 20)
        data.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("spoil", [lambda path: os.truncate(path, 4096), flip], ids=["cut", "damaged"])
def test_refill_that_fails_ends_the_engine(bench, spoil):
    boots_cold(bench, "dropped=hang", lambda store, start: kill_at_the_hang(store, start, spoil))


def held_at_the_drop(bench, engine, store):
    """A capture whose worker hangs where the memory of the engine is in the page files alone."""
    return bench.start(store, engine, capture="first-boot", env={"SNAPINIT_FAULT": "capture.dropped=hang"})


def wait_dropped(start, store):
    wait_until("pages.map", lambda: os.path.exists(os.path.join(store, "gen-1/pages.map")), 20)
    root = start.engine_roots()[0][0]
    wait_until("the drop", lambda: int(status_field(root, "RssAnon").split()[0]) < 4096, 20)


@contextlib.contextmanager
def nobody_at_work(start):
    """Between the death of the worker and the recovery: the worker is dead, and snapinit stands still."""
    start.signal(signal.SIGSTOP)
    worker = start.tools("snapworker")[0][0]
    os.kill(worker, signal.SIGKILL)
    wait_until("its death", lambda: status_field(worker, "State")[:1] in ("", "Z"), 10)
    try:
        yield
    finally:
        start.signal(signal.SIGCONT)


def recovers(start, engine, before):
    start.wait_record("engine.recovered", "engine.harmed")
    start.wait_record("engine.unharmed", "engine.harmed")
    assert wait_outcome(start) == "capture.failed"
    assert_same_engine(start, engine, before)


@pytest.mark.parametrize("when", ["before", "between"])
def test_store_that_is_removed_is_not_needed(bench, when):
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with held_at_the_drop(bench, engine, store) as start:
        before = engine_of(start)
        wait_dropped(start, store)
        if when == "before":
            shutil.rmtree(store)
        with nobody_at_work(start):
            shutil.rmtree(store, ignore_errors=True)
            # another one in its place, with a generation of the same name
            os.makedirs(os.path.join(store, "gen-1"), mode=0o700)
        recovers(start, engine, before)
        assert os.listdir(store) == ["gen-1"]
        assert start.terminate() in (0, 128 + signal.SIGTERM)


def test_generation_is_held_between_the_worker_and_the_recovery(bench):
    """Nobody who asks first removes it: gc, import, another capture."""
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with held_at_the_drop(bench, engine, store) as start:
        before = engine_of(start)
        wait_dropped(start, store)
        folder = os.open(os.path.join(store, "gen-1"), os.O_RDONLY)
        with nobody_at_work(start):
            os.unlink(os.path.join(store, "lease"))
            with pytest.raises(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in ("pages.dat", "criu", ""):
                os.utime(os.path.join(store, "gen-1", name), (0, 0))  # not fresh
            assert "in use" in bench.snapctl("gc", store, check=True).stdout
            assert os.path.exists(os.path.join(store, "gen-1/pages.dat"))
        os.close(folder)
        recovers(start, engine, before)
        # nobody needs it any more
        assert not [name for name in os.listdir(store) if name.startswith("gen-")]
        assert start.terminate() in (0, 128 + signal.SIGTERM)


def test_recovery_waits_for_a_debugger_to_go(bench):
    """Its threads cannot have their registers back while somebody else traces them."""
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with held_at_the_drop(bench, engine, store) as start:
        before = engine_of(start)
        wait_dropped(start, store)
        with contextlib.ExitStack() as debugger:
            with nobody_at_work(start):
                debugger.enter_context(traced(before[0]))
            wait_until("the recovery", lambda: start.tools("snapworker"), 10)
            time.sleep(0.5)
            assert start.tools("snapworker") and not start.records("engine.harmed"), start.tail()
        recovers(start, engine, before)
        assert start.terminate() in (0, 128 + signal.SIGTERM)


def test_generation_is_not_held_by_an_engine_that_runs(bench):
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot") as start:
        start.wait_record("capture.done")
        wait_until("its end", lambda: not start.tools(), 10)
        folder = os.open(os.path.join(store, "gen-1"), os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(folder)


@pytest.mark.parametrize("fault,records", [
    ("fill-half=fail", ["engine.recovered", "engine.unharmed"]),
    ("refilled=fail", []),
])
def test_refill_that_fails_once_is_tried_again(bench, fault, records):
    """The worker gives up with the tree stopped; another one has more luck."""
    engine = heap(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot",
                     env={"SNAPINIT_FAULT": f"capture.{fault}"}) as start:
        before = engine_of(start)
        assert wait_outcome(start) == "capture.failed"
        for record in records:
            start.wait_record(record)
        assert_same_engine(start, engine, before)
        failed = start.records("capture.failed")
        assert len(failed) == 1 and re.search("SNAPINIT_FAULT", failed[0]["msg"]), failed
    assert not [name for name in os.listdir(store) if name.startswith("gen-")]
