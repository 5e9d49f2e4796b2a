# SPDX-License-Identifier: Apache-2.0
"""
Memory that means nothing is not in a snapshot: engines give it back before their capture and take
it again after it and after a wake. vLLM and SGLang are stand-ins (tests/fixtures/sleeping_engine.py);
llama-server is real.
"""

import json
import os
import threading
import time
from dataclasses import replace

import pytest

from lib import engines
from lib.starts import wait_until

MIB = 1 << 20
KV = 48 * MIB  # sleeping_engine.py's
FLAG = {"vllm": "--enable-sleep-mode", "sglang": "--enable-memory-saver"}
DEV = {"VLLM_SERVER_DEV_MODE": "1"}
RELEASE = {"vllm": "POST /sleep?level=1",
           "sglang": 'POST /release_memory_occupation {"tags":["kv_cache"]}'}
RECLAIM = {"vllm": "POST /wake_up",
           "sglang": 'POST /resume_memory_occupation {"tags":["kv_cache"]}'}
PORTS = {"vllm": 8061, "sglang": 8062}

kinds = pytest.mark.parametrize("kind", ["vllm", "sglang"])


def engine_of(bench, kind, *more):
    return engines.sleeping(bench.programs, kind, PORTS[kind], *(more or (FLAG[kind],)))


def log_of(start, engine):
    return start.wait_http(engine.port, "/log").decode().splitlines()


def manifest_of(store):
    with open(os.path.join(store, "gen-1", "manifest.json"), encoding="utf-8") as text:
        return json.load(text)


def memory_of(start):
    """Of the engine's tree."""
    total = 0
    for entry in start.processes():
        with open(f"/proc/{entry[0]}/status", encoding="ascii") as text:
            total += sum(int(line.split()[1]) << 10 for line in text if line.startswith("VmRSS:"))
    return total


def first_boot(bench, store, engine, *, env=None, extra=()):
    return bench.start(store, engine, capture="first-boot", env={**DEV, **(env or {})},
                       extra=extra)


def captured(start):
    done = start.wait_record("capture.done", "capture.failed", seconds=60)
    assert done["event"] == "capture.done", start.tail()


@kinds
def test_snapshot_is_smaller_and_what_wakes_from_it_has_its_memory(bench, kind):
    engine, store = engine_of(bench, kind), bench.workplace.store()
    with first_boot(bench, store, engine) as start:
        captured(start)
        answer = engine.ask(start)
        asked = log_of(start, engine)
        assert start.records("capture.released"), start.tail()
    # nothing is left of it: the one that serves on has it again, and the trial wake was another
    assert [line for line in asked if line.startswith("POST")] == [RELEASE[kind], RECLAIM[kind]]
    manifest = manifest_of(store)
    assert manifest["snapshot_bytes"] < KV, manifest["snapshot_bytes"]
    assert "reclaim" in manifest["requires"]

    with bench.start(store, engine, env=DEV) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        # ready means that it can: the first request of all
        status, body = start.http(engine.port, "/answer")
        assert (status, body) == (200, answer)
        assert log_of(start, engine) == [RELEASE[kind], RECLAIM[kind]]
        assert memory_of(start) > KV


@kinds
def test_without_its_option_the_engine_is_not_asked_and_the_log_names_it(bench, kind):
    engine, store = engine_of(bench, kind, "--host", "127.0.0.1"), bench.workplace.store()
    with first_boot(bench, store, engine) as start:
        captured(start)
        assert log_of(start, engine) == []
        assert FLAG[kind] in start.records("capture.unreleased")[0]["msg"]
        engine.ask(start)
    manifest = manifest_of(store)
    assert manifest["snapshot_bytes"] > KV
    assert "reclaim_request" not in manifest


def test_sleep_mode_that_is_not_served_is_told_with_its_variable(bench):
    engine, store = engine_of(bench, "vllm"), bench.workplace.store()
    with first_boot(bench, store, engine, env={"VLLM_SERVER_DEV_MODE": "0"}) as start:
        captured(start)
        assert log_of(start, engine) == [RELEASE["vllm"]]
        assert "VLLM_SERVER_DEV_MODE=1" in start.records("capture.unreleased")[0]["msg"]
        engine.ask(start)
    assert "reclaim_request" not in manifest_of(store)


@pytest.fixture
def breaks(bench):
    """A file of paths that the engine answers with 500."""
    return os.path.join(bench.workplace.store(), "breaks")


def note(path, *words):
    with open(path, "w", encoding="utf-8") as out:
        out.write("".join(word + "\n" for word in words))
    os.chmod(path, 0o644)


def path_of(request):
    return request.split()[1].split("?")[0]


@kinds
def test_refused_release_leaves_a_whole_snapshot(bench, kind, breaks):
    engine, store = engine_of(bench, kind, FLAG[kind], "--breaks", breaks), bench.workplace.store()
    note(breaks, path_of(RELEASE[kind]))
    with first_boot(bench, store, engine) as start:
        captured(start)
        answer = engine.ask(start)
        assert [line for line in log_of(start, engine) if "POST" in line] == [RELEASE[kind]]
        assert "status 500" in start.records("capture.unreleased")[0]["msg"]
    assert manifest_of(store)["snapshot_bytes"] > KV
    with bench.start(store, engine, env=DEV) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer


def test_release_none_asks_nothing(bench):
    engine, store = engine_of(bench, "vllm"), bench.workplace.store()
    with first_boot(bench, store, engine, extra=["--release", "none"]) as start:
        captured(start)
        assert log_of(start, engine) == []
        assert not start.records("capture.released", "capture.unreleased")


def test_users_own_requests_are_asked_of_any_engine(bench):
    """vLLM's level 2, whose weights the stand-in loads again itself."""
    url = f"http://127.0.0.1:{PORTS['vllm']}"
    store = bench.workplace.store()
    engine = replace(engine_of(bench, "vllm"), ready=f"{url}/health")
    with first_boot(bench, store, engine,
                    extra=["--engine", "http", "--release", f"POST {url}/sleep?level=2",
                           "--reclaim", f"POST {url}/wake_up"]) as start:
        captured(start)
        answer = engine.ask(start)
        assert log_of(start, engine) == ["POST /sleep?level=2", "POST /wake_up"]
    # the request is the snapshot's: nobody needs to say it again
    assert manifest_of(store)["reclaim_request"] == f"POST {url}/wake_up"
    with bench.start(store, engine, env=DEV, extra=["--engine", "http"]) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert start.http(engine.port, "/answer") == (200, answer)


def test_engine_that_is_busy_is_not_asked(bench):
    """
    SGLang ends itself when it is. With the right to dump open connections captures do not wait for
    their end.
    """
    store, ready = bench.workplace.store(), os.path.join(bench.workplace.store(), "ready")
    engine = replace(engine_of(bench, "sglang"), ready=f"exec:test -e {ready}")
    with bench.start(store, engine, capture="first-boot", caps=None,
                     extra=["--quiet-timeout", "300ms"]) as start:
        engine.ask(start)
        busy = threading.Thread(
            target=lambda: start.try_http(engine.port, "/answer?slow=4", timeout=20))
        busy.start()
        time.sleep(0.5)
        note(ready)
        record = start.wait_record("capture.done", "capture.failed", seconds=60)
        busy.join()
        assert log_of(start, engine) == []
        assert record["event"] == "capture.done", start.tail()
        assert "open connections" in start.records("capture.unreleased")[0]["msg"]


@kinds
def test_wake_whose_engine_cannot_take_its_memory_boots_cold(bench, kind, breaks):
    engine, store = engine_of(bench, kind, FLAG[kind], "--breaks", breaks), bench.workplace.store()
    with first_boot(bench, store, engine) as start:
        captured(start)
    note(breaks, path_of(RECLAIM[kind]))
    with bench.start(store, engine, env=DEV) as start:
        start.wait_record("boot.cold", "wake.done", seconds=40)
        failed = start.records("wake.failed", "wake.done")
        assert [record["event"] for record in failed] == ["wake.failed"], start.tail()
        assert "did not take its memory again" in failed[0]["msg"]
        engine.ask(start)
        assert log_of(start, engine) == []


@kinds
def test_engine_that_stays_without_its_memory_is_booted_again(bench, kind, breaks):
    """Its capture fails, and its health, which knows nothing of it, is not believed."""
    engine, store = engine_of(bench, kind, FLAG[kind], "--breaks", breaks), bench.workplace.store()
    note(breaks, path_of(RECLAIM[kind]))
    with first_boot(bench, store, engine) as start:
        record = start.wait_record("capture.failed", "capture.done", seconds=60)
        assert record["event"] == "capture.failed", start.tail()
        assert "did not take its memory again" in record["msg"]
        start.wait_record("engine.harmed", seconds=30)
        wait_until(start.tail, lambda: len(start.records("boot.cold")) == 2, 30)
        engine.ask(start)


AFTER_RELEASE = ("release", "freeze", "evacuate", "dump", "resume")


@pytest.mark.parametrize("how", ["fail", "kill"])
@pytest.mark.parametrize("step", AFTER_RELEASE)
def test_capture_that_breaks_after_the_release_gives_it_back(bench, programs, step, how):
    if not programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")
    engine, store = engine_of(bench, "vllm"), bench.workplace.store()
    with first_boot(bench, store, engine, env={"SNAPINIT_FAULT": f"capture.{step}={how}"}) as start:
        start.wait_record("capture.failed", "capture.done", seconds=60)
        if how == "kill":
            start.wait_record("engine.unharmed", "engine.harmed", seconds=30)
        engine.ask(start)
        assert [line for line in log_of(start, engine) if "POST" in line] == [RELEASE["vllm"],
                                                                            RECLAIM["vllm"]]
        assert not start.records("engine.harmed"), start.tail()
        assert len(start.records("boot.cold")) == 1


def test_sglang_whose_capture_died_is_booted_again(bench, programs):
    """It cannot be asked whether it has its memory, and ends itself when it is told so twice."""
    if not programs.has_faults():
        pytest.skip("this build has no fault points (CMAKE_BUILD_TYPE=Debug has)")
    engine, store = engine_of(bench, "sglang"), bench.workplace.store()
    with first_boot(bench, store, engine, env={"SNAPINIT_FAULT": "capture.release=kill"}) as start:
        assert start.wait_record("engine.harmed", "engine.unharmed",
                                 seconds=60)["event"] == "engine.harmed", start.tail()
        wait_until(start.tail, lambda: len(start.records("boot.cold")) == 2, 30)
        engine.ask(start)
        assert log_of(start, engine) == []


@pytest.mark.parametrize("more", [[], ["--slot-save-path", "/tmp"]])
def test_llama_server_forgets_the_prompts_in_its_slots(bench, more):
    """Without the option, which it wants for erasing, they are there after the wake."""
    plain = engines.llama(bench.programs)
    engine = engines.with_argv(plain, ["--cache-ram", "0", *more])
    store = bench.workplace.store()
    body = json.dumps({"prompt": "Lily and her mum went to the park to see the big red ball, and",
                       "n_predict": 1, "temperature": 0, "cache_prompt": True})
    ready = os.path.join(bench.workplace.store(), "ready")
    engine = replace(engine, ready=f"exec:test -e {ready}")
    with bench.start(store, engine, capture="first-boot", extra=["--warmup", "0", "--oracle", "none"]) as start:
        start.wait_http(engine.port, "/health")
        start.wait_http(engine.port, "/completion", method="POST", body=body)
        note(ready)
        captured(start)
        assert bool(start.records("capture.released")) == bool(more), start.tail()
    with bench.start(store, engine, extra=["--warmup", "0", "--oracle", "none"]) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        answer = json.loads(start.http(engine.port, "/completion", method="POST", body=body)[1])
        cached = answer["timings"]["cache_n"]
        assert cached == 0 if more else cached > 5, answer["timings"]
