# SPDX-License-Identifier: Apache-2.0
"""The control socket: a running snapinit is looked at, and captured when somebody asks for it."""

import json
import os
import re
import signal
import socket
import time

import pytest

from lib import engines, namespaces, oci
from lib.starts import HostStart, read_text, wait_until

SOCKET = "/run/snapinit.sock"


@pytest.fixture(name="engine")
def one_engine(programs):
    return engines.pyservice(programs)


def told(bench, start, *words):
    """What snapctl VERB --pid … --json says."""
    result = bench.snapctl(*words, "--pid", str(start.pid), "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def state_of(bench, start):
    return told(bench, start, "state")


def wait_serving(bench, start):
    start.wait_record("init.start")
    wait_until("its socket", lambda: os.path.exists(f"/proc/{start.pid}/root{SOCKET}"), 10)
    wait_until("a serving engine", lambda: state_of(bench, start)["state"] == "serving", 30)


def test_capture_is_made_when_asked_for_and_again_after_a_wake(bench, engine):
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request") as start:
        answer = engine.ask(start)
        wait_serving(bench, start)
        before = state_of(bench, start)
        assert before["origin"] == "cold" and before["capturable"]
        assert before["capture"] == {"result": "none"}
        assert before["command"] == list(engine.argv)
        assert not os.path.exists(f"{store}/current")
        assert told(bench, start, "capture")["capture"] == {"result": "done", "snapshot": "gen-1"}
        assert engine.ask(start) == answer
    with bench.start(store, engine) as start:
        start.wait_record("wake.done")
        wait_serving(bench, start)
        woken = state_of(bench, start)
        assert woken["origin"] == "wake" and woken["generation"] == "gen-1"
        assert engine.ask(start) == answer
        # what was woken can be captured too
        assert told(bench, start, "capture")["capture"] == {"result": "done", "snapshot": "gen-2"}
        assert engine.ask(start) == answer
    assert read_text(f"{store}/current").strip() == "gen-2"
    with bench.start(store, engine) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer


def clocks_of(start, engine):
    """The engine's clocks, and ours of the same kind beside them."""
    told = json.loads(start.wait_http(engine.port, "/clocks"))
    assert told.pop("went_back") == 0, told
    return told, time.monotonic()


PAUSE_S = 1.0  # between a capture and the wake


@pytest.mark.parametrize("setting", ["A", "B"])
def test_generation_after_generation(bench, engine, setting):
    """
    Boot, capture, wake, capture, wake, capture, wake. In setting A CRIU wakes the engine in a time
    namespace, where its clocks go on from where they were: not back, and not on by the pause.
    """
    engine = engines.with_argv(engine, ("--clocks",))
    rights = {"caps": oci.possible(oci.SETTINGS[setting][0])}
    store = bench.workplace.store()
    answer = before = None
    for generation in (1, 2, 3, 4):
        with bench.start(store, engine, capture="on-request", **rights) as start:
            start.wait_record("wake.done" if generation > 1 else "boot.cold")
            wait_serving(bench, start)
            answer = answer or engine.ask(start)
            assert engine.ask(start) == answer
            clocks, here = clocks_of(start, engine)
            if before:
                passed = {name: clocks[name] - before[0][name] for name in clocks}
                assert min(passed.values()) > 0, passed
                if setting == "A":
                    assert max(passed.values()) < here - before[1] - PAUSE_S / 2, passed
            if generation == 4:
                break
            assert state_of(bench, start)["capturable"]
            before = clocks_of(start, engine)
            assert told(bench, start, "capture")["capture"] == {
                "result": "done", "snapshot": f"gen-{generation}"}, start.tail()
            assert engine.ask(start) == answer
        time.sleep(PAUSE_S)


def cold_boot_of(store, generation):
    return json.loads(read_text(f"{store}/{generation}/manifest.json"))["cold_boot_ms"]


@pytest.mark.parametrize("ready", ["http", "notify"])
def test_cold_boot_is_what_the_boot_took_whenever_the_capture_is_made(bench, programs, ready):
    """Neither the uptime of an engine that has served for long, nor that of one just woken."""
    engine = engines.pyservice(programs)
    if ready == "notify":
        engine = engines.notifying(programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request") as start:
        began = time.monotonic()
        engine.ask(start)
        wait_serving(bench, start)
        booted_ms = (time.monotonic() - began) * 1000
        time.sleep(2 * booted_ms / 1000 + 2)
        told(bench, start, "capture")
    cold_boot_ms = cold_boot_of(store, "gen-1")
    assert 0 < cold_boot_ms < booted_ms + 1000, (cold_boot_ms, booted_ms)
    with bench.start(store, engine) as start:
        start.wait_record("wake.done")
        wait_serving(bench, start)
        told(bench, start, "capture")
    assert cold_boot_of(store, "gen-2") == cold_boot_ms


def test_cold_boot_is_timed_by_a_capture_that_is_asked_for_while_it_lasts(bench, programs):
    engine = engines.with_argv(engines.pyservice(programs), ("--wait", "2"))
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request") as start:
        wait_serving(bench, start)
        told(bench, start, "capture")
    assert 2000 <= cold_boot_of(store, "gen-1") < 30000


def test_what_cannot_be_captured_is_told_with_its_exit_status(bench, engine):
    store = bench.workplace.store()
    with bench.start(store, engine) as start:  # --capture never, and booted cold
        engine.ask(start)
        wait_serving(bench, start)
        result = bench.snapctl("capture", "--pid", str(start.pid))
        assert result.returncode == 2
        assert "--capture on-request" in result.stderr
        assert engine.ask(start)
        # nobody of that name listens
        result = bench.snapctl("capture", "--pid", "1")
        assert result.returncode == 3, result.stderr


def test_what_is_not_now_or_takes_longer_says_what_to_do(bench, engine):
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request",
                     extra=("--quiet-timeout", "60s")) as start:
        engine.ask(start)
        wait_serving(bench, start)
        with namespaces.in_network_of(
                start.pid, lambda: socket.create_connection(("127.0.0.1", engine.port))):
            # it is waited for
            result = bench.snapctl("capture", "--timeout", "300ms", "--pid", str(start.pid))
            assert result.returncode == 11
            assert "goes on" in result.stderr and "snapctl state" in result.stderr
            result = bench.snapctl("capture", "--pid", str(start.pid))
            assert result.returncode == 6
            assert "'capturing'" in result.stderr and "ask again when" in result.stderr
            assert state_of(bench, start)["capture"] == {"result": "running"}
        wait_until("the end of the capture",
                   lambda: state_of(bench, start)["capture"]["result"] != "running", 60)
        assert state_of(bench, start)["capture"] == {"result": "done", "snapshot": "gen-1"}


def test_failed_capture_tells_why_and_the_engine_serves(bench, engine):
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request",
                     extra=("--oracle", f"GET http://127.0.0.1:{engine.port}/nowhere")) as start:
        engine.ask(start)
        wait_serving(bench, start)
        result = bench.snapctl("capture", "--pid", str(start.pid))
        assert result.returncode not in (0, 1, 2), result.stderr
        assert "no snapshot was made" in result.stderr
        capture = state_of(bench, start)["capture"]
        assert capture["result"] == "failed" and capture["why"] in result.stderr
        assert engine.ask(start)


def test_engine_that_ignores_its_end_serves_and_is_told_to(bench, programs):
    """Without a grace nobody ends it: it does not stop, however long ago it was asked to."""
    engine = engines.with_argv(engines.pyservice(programs), ("--ignore-term",))
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request") as start:
        answer = engine.ask(start)
        wait_serving(bench, start)
        assert "asked_to_end_ms" not in state_of(bench, start)
        assert "asked to end" not in bench.snapctl("state", "--pid", str(start.pid)).stdout
        start.signal(signal.SIGTERM)
        wait_until("the wish", lambda: "asked_to_end_ms" in state_of(bench, start), 10)
        first = state_of(bench, start)
        assert first["state"] == "serving" and engine.ask(start) == answer
        time.sleep(0.05)
        assert state_of(bench, start)["asked_to_end_ms"] > first["asked_to_end_ms"]
        text = bench.snapctl("state", "--pid", str(start.pid)).stdout
        assert re.search(r"^asked to end [0-9.]+ m?s ago$", text, re.MULTILINE), text
        assert told(bench, start, "capture")["capture"] == {"result": "done", "snapshot": "gen-1"}
        assert engine.ask(start) == answer


def test_log_level_changes_while_it_runs(bench, engine):
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request") as start:
        wait_serving(bench, start)
        assert not start.records("state.entered")
        assert told(bench, start, "log-level", "debug") == {"log_level": "debug"}
        told(bench, start, "capture")
        assert start.records("state.entered")
        assert bench.snapctl("log-level", "--pid", str(start.pid), "loud").returncode == 2


def test_ps_lists_it_and_the_socket_goes_with_it(bench, engine):
    with bench.start(bench.workplace.store(), engine) as start:
        wait_serving(bench, start)
        rows = json.loads(bench.snapctl("ps", "--json").stdout)["snapinits"]
        mine = [row for row in rows if row["pid"] == start.pid]
        assert len(mine) == 1 and mine[0]["state"]["state"] == "serving"
        assert str(start.pid) in bench.snapctl("ps").stdout
        path = f"/proc/{start.pid}/root{SOCKET}"
        assert os.stat(path).st_mode & 0o777 == 0o600
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with raw:
            raw.connect(path)
            raw.sendall(b"nonsense\n")
            assert "error" in json.loads(raw.recv(4096))


def test_there_is_none_when_none_is_wanted(bench, engine):
    with bench.start(bench.workplace.store(), engine, extra=("--control", "none")) as start:
        engine.ask(start)
        assert not os.path.exists(f"/proc/{start.pid}/root{SOCKET}")
        result = bench.snapctl("state", "--pid", str(start.pid))
        assert result.returncode == 3 and SOCKET in result.stderr


@pytest.mark.parametrize("words", [("--", "sleep", "60"), ("--pause",)])
def test_it_listens_without_a_snapshot_too(bench, words):
    folder = bench.workplace.folder("plain")
    path = f"{folder}/socket"
    with HostStart(folder, [bench.programs.snapinit, "--control", path, *words]) as start:
        wait_until("its socket", lambda: os.path.exists(path), 10)
        time.sleep(0.3)  # the command runs: what is not needed for it has been let go
        result = bench.snapctl("state", "--socket", path, "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["state"] in ("serving", "paused")
        start.terminate()
    assert not os.path.exists(path)
