# SPDX-License-Identifier: Apache-2.0
"""
Whatever breaks in the middle of a capture or a wake: the engine answers, there is one of it, and
one line names the cause. Afterwards the store still serves: the next start wakes from it or makes
a snapshot.
"""

import os
import random
import re
import resource
import signal
import stat
import time
from dataclasses import replace

import pytest

from lib import engines, namespaces
from lib.starts import read_text, status_field, wait_until

CAPTURE_STEPS = ("rights", "ready", "warm-up", "oracle", "store", "quiet", "release", "freeze",
                 "evacuate", "dump", "resume", "reclaim", "seal", "verify", "publish")
WAKE_STEPS = ("criu-start", "open", "budget", "host", "gate", "digests-start", "pages", "files", "criu",
              "fill", "digests", "resume", "reclaim", "answer")
FILL_POINTS = ("pages", "files", "criu", "fill-half", "fill", "digests", "resume")
CAUSES = {"fail": "SNAPINIT_FAULT", "kill": "signal 9|killed|died|ended", "hang": "longer|time|late"}


@pytest.fixture(autouse=True)
def faults(programs):
    if not programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")


@pytest.fixture(scope="module")
def good(module_bench, programs):
    """A good snapshot, its engine, and what that answers."""
    engine = engines.forktree(programs)
    store, answer = module_bench.captured(engine)
    return store, engine, answer


def assert_one_engine_and_no_tools(start, engine):
    wait_until(lambda: f"workers stay: {start.tools()}", lambda: not start.tools(), 30)
    # what was killed may take a moment to be gone
    wait_until(lambda: f"not one engine: {start.processes()}",
               lambda: len(start.engine_roots()) == 1, 30)
    roots = start.engine_roots()
    assert roots[0][2] == os.path.basename(engine.argv[0])[:15], roots
    everyone = start.processes()
    assert all(not status_field(entry[0], "State").lower().startswith("t") for entry in everyone)
    return roots[0][1]


def assert_capture_failed(start, engine, answer, cause):
    records = start.records("capture.failed", "capture.done")
    assert [record["event"] for record in records] == ["capture.failed"], start.tail()
    assert re.search(cause, records[0]["msg"]), records[0]["msg"]
    assert engine.ask(start) == answer
    assert_one_engine_and_no_tools(start, engine)
    assert start.http(engine.port, "/check")[1] == b"PASS\n"
    # a cold boot only if the engine was found harmed, or died
    lost = start.records("engine.harmed", "engine.exited")
    assert len(start.records("boot.cold")) == 1 + bool(lost), start.tail()


def assert_cold_after(start, engine, answer, cause):
    start.wait_record("boot.cold", "wake.done", seconds=40)
    assert engine.ask(start) == answer
    records = start.records("wake.failed", "wake.refused", "wake.done")
    assert [record["event"] for record in records] == ["wake.failed"], start.tail()
    assert re.search(cause, records[0]["msg"]), records[0]["msg"]
    assert len(start.records("boot.cold")) == 1, start.tail()
    assert_one_engine_and_no_tools(start, engine)


def assert_store_serves(bench, store, engine, answer, *, killed=False):
    """
    No half-made generation and no lock stands in the way of the next start. A killed worker's
    lease does until it expires: from another container nobody can tell that it is dead.
    """
    with bench.start(store, engine, capture="first-boot") as start:
        record = start.wait_record("wake.done", "capture.done", "capture.failed")
        assert engine.ask(start) == answer
        if killed and record["event"] == "capture.failed":
            assert "lease" in record["msg"], record
            return
        assert record["event"] != "capture.failed", start.tail()
        made = [name for name in os.listdir(store) if name.startswith("gen-")]
        assert len(made) == 1 or killed, made


# --- at every step


@pytest.mark.parametrize("how", ["fail", "kill", "hang"])
@pytest.mark.parametrize("step", CAPTURE_STEPS)
def test_capture_that_breaks_at_a_step_leaves_the_engine_be(bench, step, how):
    engine = engines.forktree(bench.programs)
    store = bench.workplace.store()
    extra = ["--capture-timeout", "700ms"] if how == "hang" else []
    with bench.start(store, engine, capture="first-boot", extra=extra,
                     env={"SNAPINIT_FAULT": f"capture.{step}={how}"}) as start:
        start.wait_record("capture.failed", "capture.done")
        answer = engine.ask(start)
        assert_capture_failed(start, engine, answer, CAUSES[how])
    assert_store_serves(bench, store, engine, answer, killed=how != "fail")


@pytest.mark.parametrize("how", ["fail", "kill", "hang"])
@pytest.mark.parametrize("step", WAKE_STEPS)
def test_wake_that_breaks_at_a_step_ends_in_an_engine(bench, good, full, step, how):
    store, engine, answer = good
    if (step, how) == ("answer", "hang") and not full:
        pytest.skip("takes 10 s: SNAP_TEST_FULL=1")
    extra = ["--wake-timeout", "1s"] if how == "hang" else []
    with bench.start(store, engine, extra=extra,
                     env={"SNAPINIT_FAULT": f"wake.{step}={how}"}) as start:
        if step == "answer" and how != "fail":
            # the engine answers already: it is kept, and what became of the worker is told
            record = start.wait_record("worker.lost", "boot.cold", seconds=20)
            assert record["event"] == "worker.lost", start.tail()
            assert engine.ask(start) == answer
            assert not start.records("boot.cold")
            assert_one_engine_and_no_tools(start, engine)
        else:
            assert_cold_after(start, engine, answer, CAUSES[how])
    with bench.start(store, engine) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()


# who hangs before CRIU is asked to restore -> what is said
EARLY_HANGS = {
    "worker": ("over-budget", "has not read the snapshot's manifest within 5 s"),
    "store": ("over-budget", "has not read the snapshot's manifest within 5 s"),
    "criu": ("preflight", "CRIU did not answer before its deadline"),
    "gate": ("over-budget", "the wake took longer than it may"),
}


def put_script(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="ascii") as out:
        out.write(text)
    os.chmod(path, 0o755)
    return path


@pytest.mark.parametrize("who", EARLY_HANGS)
def test_wake_that_hangs_early_costs_seconds_and_not_a_minute(bench, good, who):
    """No --wake-timeout: what stands in for a limit before the worker tells one."""
    store, engine, answer = good
    folder = bench.workplace.folder("hangs")
    extra, env = [], {}
    if who == "worker":
        extra = ["--worker", put_script(folder, "snapworker",
                                        "#!/bin/sh\n[ $1 = wake ] && kill -STOP $$\n"
                                        f'exec {bench.programs.snapworker} "$@"\n')]
    elif who == "criu":
        extra = ["--criu", put_script(folder, "criu", "#!/bin/sh\nexec sleep 1000\n")]
    else:
        env = {"SNAPINIT_FAULT": "wake.open=hang" if who == "store" else "wake.gate=hang"}
    with bench.start(store, engine, extra=extra, env=env) as start:
        record = start.wait_record("wake.failed", "wake.refused", "wake.done", seconds=30)
        assert record["event"] == "wake.failed", start.tail()
        assert (record["code"], EARLY_HANGS[who][1] in record["msg"]) == (EARLY_HANGS[who][0], True)
        assert start.wait_record("boot.cold", seconds=30)
        assert engine.ask(start) == answer
        assert_one_engine_and_no_tools(start, engine)


@pytest.fixture(scope="module")
def good_heap(module_bench, programs):
    """A good snapshot whose memory is in page files."""
    engine = engines.heap_engine(programs, 8009, "--heap", "24M", "--shm", "4M", "--threads", "8")
    store, answer = module_bench.captured(engine)
    assert os.path.getsize(os.path.join(store, "gen-1/pages.dat")) >= 24 << 20
    return store, engine, answer


@pytest.mark.parametrize("how", ["fail", "kill"])
@pytest.mark.parametrize("point", FILL_POINTS)
def test_wake_that_breaks_around_the_fill_leaves_nothing(bench, good_heap, point, how):
    """A tree that has only half of its memory is never let run."""
    store, engine, answer = good_heap
    kept = sorted(os.listdir(store))
    with bench.start(store, engine, env={"SNAPINIT_FAULT": f"wake.{point}={how}"}) as start:
        assert_cold_after(start, engine, answer, CAUSES[how])
        assert start.http(engine.port, "/check")[1] == b"PASS\n"
        assert len(start.processes()) == 1, start.processes()
    assert sorted(os.listdir(store)) == kept
    with bench.start(store, engine) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert start.http(engine.port, "/check")[1] == b"PASS\n"


# --- CRIU


def criu_at_work(start):
    """The CRIU that traces the engine, caught in the act; the worker does so before it."""
    roots, tools = start.engine_roots(), start.tools("criu")
    if roots and tools and status_field(roots[0][0], "TracerPid") == str(tools[0][0]):
        return tools[0][0]
    return None


def spin(what, condition, seconds=20):
    """As wait_until(), but without a pause: the moment is short."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
    raise AssertionError(f"no {what} within {seconds} s")


@pytest.mark.parametrize("number,cause,delay_ms", [
    (signal.SIGKILL, "CRIU.*(ended|killed|without)", 0),
    (signal.SIGKILL, "CRIU.*(ended|killed|without)", 8),
    (signal.SIGKILL, "CRIU.*(ended|killed|without)", 25),
    (signal.SIGSTOP, "longer|deadline|time", 0),
    (signal.SIGSTOP, "longer|deadline|time", 15),
])
def test_criu_that_breaks_in_mid_dump(bench, number, cause, delay_ms):
    engine = engines.pyservice(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot",
                     extra=["--capture-timeout", "2500ms"]) as start:
        answer = engine.ask(start)
        criu = spin("CRIU at work", lambda: criu_at_work(start))
        time.sleep(delay_ms / 1000)
        try:
            os.kill(criu, number)
        except ProcessLookupError:
            pytest.skip("this dump was faster than that")
        record = start.wait_record("capture.failed", "capture.done")
        if record["event"] == "capture.done":
            pytest.skip("this dump was faster than that")
        # a thread that just runs CRIU's code may die of it, before anybody can stop it
        record = start.wait_record("engine.unharmed", "engine.harmed", "engine.exited", seconds=30)
        if record["event"] == "engine.exited":
            cause = "engine died in mid-capture"
        assert engine.ask(start) == answer
        assert_capture_failed(start, engine, answer, cause)
    assert_store_serves(bench, store, engine, answer, killed=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
@pytest.mark.parametrize("delay_ms", [0, 5, 15, 30])
def test_criu_that_breaks_in_mid_wake(bench, good, number, delay_ms):
    store, engine, answer = good
    with bench.start(store, engine, extra=["--wake-timeout", "1s"]) as start:
        criu = spin("CRIU", lambda: start.tools("criu"))[0][0]
        time.sleep(delay_ms / 1000)
        try:
            os.kill(criu, number)
        except ProcessLookupError:
            pytest.skip("this wake was faster than that")
        record = start.wait_record("boot.cold", "wake.done", seconds=20)
        if record["event"] == "wake.done":
            assert engine.ask(start) == answer
            assert_one_engine_and_no_tools(start, engine)
        else:
            assert_cold_after(start, engine, answer, "CRIU|deadline|longer|time")
    with bench.start(store, engine) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()


def script(folder, text):
    path = os.path.join(folder, "criu-wrapper")
    with open(path, "w", encoding="utf-8") as out:
        out.write(f"#!/bin/sh\n{text}")
    os.chmod(path, 0o755)
    return path


@pytest.mark.parametrize("text,cause", [
    ("exit 3", "CRIU"),
    ("echo rubbish >&2; kill -SEGV $$", "CRIU"),
    ("exec /bin/cat", "CRIU"),
], ids=["exits", "crashes", "talks nonsense"])
def test_capture_with_a_criu_that_is_none(bench, text, cause):
    engine = engines.static_service(bench.programs)
    store = bench.workplace.store()
    programs = type(bench.programs)()
    programs.criu = script(bench.workplace.folder("wrapper"), text)
    with bench.start(store, engine, capture="first-boot", programs=programs) as start:
        start.wait_record("capture.failed", "capture.done")
        assert_capture_failed(start, engine, engine.ask(start), cause)


# --- the disk


@pytest.fixture
def small_store(workplace):
    path = workplace.folder("small")
    namespaces.mount("tmpfs", path, "tmpfs", 0, "mode=700,size=160m")
    yield path
    namespaces.umount(path)


def test_disk_that_is_too_small_is_told_before_the_freeze(bench, small_store):
    engine = engines.static_service(bench.programs)
    namespaces.mount(None, small_store, None, namespaces.MS_REMOUNT, "mode=700,size=2m")
    with bench.start(small_store, engine, capture="first-boot") as start:
        answer = engine.ask(start)
        start.wait_record("capture.failed", "capture.done")
        assert_capture_failed(start, engine, answer, "space|MiB|full")
        assert not [name for name in os.listdir(small_store) if name.startswith("gen-")]


@pytest.mark.parametrize("words, cause", [
    ("--pages auto", "cannot write 'pages.dat': File too large .remedy: .*ulimit -f"),
    ("--pages off", "CRIU dump failed: .*(File too large|pages-1.img)")])
def test_limit_of_a_files_size_is_told(bench, words, cause):
    """The signal that comes with it (SIGXFSZ) would kill the worker, or CRIU in mid-dump."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    engine = engines.heap_engine(bench.programs, 8009, "--heap", "24M")
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot", extra=words.split(),
                     prepare=limit) as start:
        answer = engine.ask(start)
        record = start.wait_record("capture.failed", "capture.done")
        assert_capture_failed(start, engine, answer, cause)
        if words == "--pages auto":
            assert record["code"] == "preflight", record
        assert not start.records("engine.harmed")
    assert_store_serves(bench, store, engine, answer)


def test_disk_that_fills_in_mid_dump(bench, small_store):
    """The one CRIU that is started when its images folder exists is the one that dumps."""
    engine = engines.pyservice(bench.programs)
    programs = type(bench.programs)()
    programs.criu = script(
        bench.workplace.folder("wrapper"),
        f"[ \"$1\" != swrk ] || [ ! -d {small_store}/gen-1/criu ] ||"
        f" mount -o remount,size=8m {small_store}\n"
        f"exec {bench.programs.prefix}/bin/criu \"$@\"\n")
    with bench.start(small_store, engine, capture="first-boot", programs=programs,
                     caps=None) as start:
        answer = engine.ask(start)
        start.wait_record("capture.failed", "capture.done")
        assert_capture_failed(start, engine, answer, "No space left|space|ENOSPC|28")
        assert not [name for name in os.listdir(small_store) if name.startswith("gen-")]
    namespaces.mount(None, small_store, None, namespaces.MS_REMOUNT, "mode=700,size=160m")
    assert_store_serves(bench, small_store, engine, answer)


def test_store_that_cannot_be_written(bench):
    engine = engines.static_service(bench.programs)
    store = bench.workplace.store()
    namespaces.mount(store, store, None, namespaces.MS_BIND)
    try:
        namespaces.mount(None, store, None,
                         namespaces.MS_REMOUNT | namespaces.MS_BIND | namespaces.MS_RDONLY)
        with bench.start(store, engine, capture="first-boot") as start:
            answer = engine.ask(start)
            start.wait_record("capture.failed", "capture.done")
            assert_capture_failed(start, engine, answer, "[Rr]ead-only")
    finally:
        namespaces.umount(store)


# --- the worker, at any moment


def kill_worker_after(start, seconds):
    """True when there was one to kill."""
    worker = spin("worker", lambda: start.tools("snapworker"))[0][0]
    time.sleep(seconds)
    try:
        os.kill(worker, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait_serving(bench, start):
    """Between a broken capture and that, nobody may be at work for a moment, and the tree stand still."""
    wait_until(lambda: f"it does not serve: {start.processes()}\n{start.tail()}",
               lambda: '"serving"' in bench.snapctl("state", "--json", "--pid", str(start.pid)).stdout, 90)


@pytest.mark.parametrize("seed", range(20))
def test_worker_killed_at_any_moment_of_a_capture(bench, seed):
    engine = engines.forktree(bench.programs)
    store = bench.workplace.store()
    wait = random.Random(seed).uniform(0, 0.25)
    with bench.start(store, engine, capture="first-boot") as start:
        start.wait_record("boot.cold")  # the worker before was for the wake that was not to be
        kill_worker_after(start, wait)
        answer = engine.ask(start)
        record = start.wait_record("capture.failed", "capture.done")
        if record["event"] == "capture.failed":
            wait_serving(bench, start)
            assert_capture_failed(start, engine, engine.ask(start), "worker|signal 9")
        assert engine.ask(start) == answer
        assert_one_engine_and_no_tools(start, engine)
    assert_store_serves(bench, store, engine, answer, killed=True)


@pytest.mark.parametrize("seed", range(20))
def test_worker_killed_at_any_moment_of_a_wake(bench, good, seed):
    store, engine, answer = good
    wait = random.Random(seed).uniform(0, 0.12)
    with bench.start(store, engine) as start:
        kill_worker_after(start, wait)
        record = start.wait_record("boot.cold", "wake.done", "worker.lost")
        assert engine.ask(start) == answer
        if record["event"] == "boot.cold":
            assert_cold_after(start, engine, answer, "worker|signal 9")
        assert_one_engine_and_no_tools(start, engine)
    assert stat.S_ISREG(os.stat(os.path.join(store, "current")).st_mode)
    assert read_text(os.path.join(store, "current")) == "gen-1\n"


def test_capture_of_an_engine_whose_readiness_nobody_told(bench):
    engine = replace(engines.threads16(bench.programs), ready=None, oracle=None)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot") as start:
        record = start.wait_record("capture.failed", "capture.done")
        assert record["event"] == "capture.failed" and record["code"] == "usage", record
        assert "--ready" in record["msg"] and "threads16" in record["msg"]
        start.wait_http(engine.port, "/check")
        assert len(start.records("boot.cold")) == 1
    assert not os.path.exists(os.path.join(store, "current"))


def test_capture_does_not_take_a_foreign_answer_for_ready(bench):
    engine = engines.threads16(bench.programs)
    other = engines.exit_status(bench.programs)
    elsewhere = replace(engine, ready=f"tcp:127.0.0.1:{other.port}")
    store = bench.workplace.store()
    with bench.start(bench.workplace.store("other"), other, own_net=False) as first:
        first.wait_http(other.port, "/health")
        with bench.start(store, elsewhere, capture="first-boot", own_net=False) as start:
            record = start.wait_record("capture.failed", "capture.done")
            assert record["event"] == "capture.failed" and record["code"] == "not-ready", record
            assert "outside the engine" in record["msg"]


def in_state(start, state):
    return any(record.get("to") == state for record in start.records("state.entered"))


@pytest.mark.parametrize("grace, patience", [("0", 10), ("2s", 8)])
def test_term_does_not_wait_for_a_dump_that_hangs(bench, grace, patience):
    if not bench.programs.has_faults():
        pytest.skip("this build has no fault points")
    engine = engines.exit_status(bench.programs, status=7)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot", env={"SNAPINIT_FAULT": "capture.freeze=hang"},
                     extra=("--log-level", "debug", "--grace", grace)) as start:
        wait_until("the freeze", lambda: in_state(start, "frozen"), 20)
        begun = time.monotonic()
        start.signal(signal.SIGTERM)
        assert start.wait_exit(patience) == 7
        assert time.monotonic() - begun < patience
        assert len(start.records("capture.failed")) == 1, start.tail()


@pytest.mark.parametrize("turn", range(6))
def test_term_in_a_capture_takes_back_what_is_half_made(bench, turn):
    """Whenever it comes: the snapshot is there, or neither lease nor generation is."""
    engine = engines.exit_status(bench.programs, status=7)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot") as start:
        wait_until("the lease", lambda: os.path.exists(os.path.join(store, "lease"))
                   or start.records("capture.done"), 20)
        time.sleep(0.03 * turn)
        start.signal(signal.SIGTERM)
        assert start.wait_exit(10) == 7
        failed, done = start.records("capture.failed"), start.records("capture.done")
        assert len(failed) + len(done) == 1, start.tail()
    left = set(os.listdir(store)) - {"kdat"}
    assert left in (set(), {"current", "gen-1"}), left
    assert left or not done
