# SPDX-License-Identifier: Apache-2.0
"""
In crun, snapinit as PID 1: the first start captures while serving on, and start after start in
fresh containers wakes and answers as the first one did.
"""

import json
import os
import socket
import statistics
import subprocess
import threading
import time

import pytest

from lib import engines, namespaces, snaplog
from lib.containers import default_env
from lib.starts import read_text, status_field, wait_until

CLIENT_PAUSE_S = 0.05  # without a pause there is no moment at which setting B could dump
SERVING_GAP_S = 2.0  # the longest silence of an engine that is being captured


class Client(threading.Thread):
    """Asks all the time, one request after the other, and remembers what it got and when."""

    def __init__(self, start, engine):
        super().__init__()
        self.start_of = start
        self.engine = engine
        self.answers = []  # (when, answer or None)
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(CLIENT_PAUSE_S):
            self.answers.append((time.monotonic(), self.engine.try_ask(self.start_of)))

    def stop(self):
        self.over.set()
        self.join()
        return self.answers


def served(answers):
    return [(when, answer) for when, answer in answers if answer is not None]


def wakes_wanted(full, setting):
    return int(os.environ.get("SNAP_WAKES") or (20 if full or setting == "B" else 5))


def assert_wakes(start, engine, answer):
    record = start.wait_record("wake.done", "boot.cold", "wake.failed", "wake.refused")
    assert record["event"] == "wake.done", start.tail()
    assert engine.ask(start) == answer
    assert not start.records("boot.cold", "wake.failed", "wake.refused"), start.tail()
    assert len(start.engine_roots()) == 1, start.processes()
    return record


def capture_while_serving(boxes, engine, **options):
    """A store, and the answer that the engine gave before, during and after."""
    store = boxes.workplace.store(uid=options.get("uid", 0))
    with boxes.start(store, engine, capture="first-boot", **options) as start:
        answer = engine.ask(start)
        asked = time.monotonic()
        client = Client(start, engine)
        try:
            done = start.wait_record("capture.done", "capture.failed", seconds=90)
            when = time.monotonic()
            wait_until("answer to a request made after the capture",
                       lambda: any(at > when for at, _ in served(client.answers)), 5)
        finally:
            answers = client.stop()
        assert done["event"] == "capture.done", start.tail()
        good = served(answers)
        assert {text for _, text in good} == {answer}
        times = [asked, *(at for at, _ in good)]
        gaps = [b - a for a, b in zip(times, times[1:])]
        assert max(gaps) < SERVING_GAP_S, f"silent for {max(gaps):.2f} s"
        assert len(start.records("boot.cold")) == 1
    return store, answer


@pytest.mark.parametrize("setting", ["B", "A"])
@pytest.mark.parametrize("kind", ["llama", "pyservice"])
def test_first_start_captures_while_serving_and_later_starts_wake(boxes, full, kind, setting):
    engine = getattr(engines, kind)(boxes.programs)
    if engine is None:
        pytest.skip("no model file")
    store, answer = capture_while_serving(boxes, engine, setting=setting)
    hostnames, times = set(), []
    for _ in range(wakes_wanted(full, setting) if kind == "llama" else 3):
        # --capture stays on the command line of a container: it must not capture again
        with boxes.start(store, engine, capture="first-boot", setting=setting) as start:
            times.append(assert_wakes(start, engine, answer)["dur_ms"])
            hostnames.add(namespaces.hostname_of(start.engine_roots()[0][0]))
            assert not start.records("capture.done", "capture.failed")
    assert len(hostnames) == len(times)
    assert [name for name in os.listdir(store) if name.startswith("gen-")] == ["gen-1"]
    print(f"\n{engine.name} {setting}: {len(times)} wakes, median {statistics.median(times)} ms")


def test_network_of_the_host_will_do(boxes):
    engine = engines.pyservice(boxes.programs, port=8106)
    store, answer = boxes.captured(engine, net="host")
    with boxes.start(store, engine, net="host") as start:
        assert_wakes(start, engine, answer)


def create_on_host(boxes, engine, purpose):
    """snapctl create, without snapinit in a container."""
    programs = boxes.programs
    if not os.path.exists(programs.snapctl):
        pytest.skip(f"{programs.snapctl} is not built")
    store = boxes.workplace.store()
    os.rmdir(store)
    command = [programs.snapctl, "create", "--for", purpose, "--output", store,
               "--criu", programs.criu, "--snapinit", programs.snapinit]
    if engine.ready:
        command += ["--ready", engine.ready, "--oracle", engine.oracle]
    made = subprocess.run(command + ["--"] + list(engine.argv), env=default_env("maker"), cwd="/",
                          capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr + made.stdout
    return store


@pytest.mark.parametrize("kind", ["llama", "pyservice"])
def test_snapshot_made_on_the_host_wakes_in_a_container(boxes, kind):
    engine = getattr(engines, kind)(boxes.programs)
    if engine is None:
        pytest.skip("no model file")
    store = create_on_host(boxes, engine, "docker")
    with open(os.path.join(store, read_text(f"{store}/current").strip(), "manifest.json"),
              encoding="utf-8") as text:
        made = json.load(text)
    assert made["verified"] is True
    answers = set()
    for _ in range(3):
        with boxes.start(store, engine) as start:
            record = start.wait_record("wake.done", "boot.cold")
            assert record["event"] == "wake.done", start.tail()
            answers.add(engine.ask(start))
    assert len(answers) == 1
    # and what it answers is what it answers cold
    with boxes.start(boxes.workplace.store(), engine) as start:
        answers.add(engine.ask(start))
    assert len(answers) == 1


@pytest.mark.parametrize("kind", ["llama", "forktree"])
def test_snapshot_wakes_under_podmans_seccomp_profile(boxes, profile, kind):
    engine = getattr(engines, kind)(boxes.programs)
    if engine is None:
        pytest.skip("no model file")
    store, answer = boxes.captured(engine, setting="B")
    for _ in range(3):
        with boxes.start(store, engine, setting="C") as start:
            assert status_field(start.pid, "Seccomp") == "2"
            assert_wakes(start, engine, answer)


def test_capture_under_podmans_seccomp_profile_is_refused_by_name(boxes, profile):
    engine = engines.static_service(boxes.programs)
    with boxes.start(boxes.workplace.store(), engine, capture="first-boot", setting="C") as start:
        answer = engine.ask(start)
        record = start.wait_record("capture.done", "capture.failed")
        assert record["event"] == "capture.failed"
        assert "seccomp" in record["msg"] and "setting C" in record["msg"]
        assert len(start.records("capture.failed")) == 1
        assert engine.ask(start) == answer


@pytest.mark.parametrize("kind", ["llama", "forktree", "pyservice"])
def test_user_1000_captures_and_wakes(boxes, capable, kind):
    engine = getattr(engines, kind)(boxes.programs)
    if engine is None:
        pytest.skip("no model file")
    store, answer = capture_while_serving(boxes, engine, uid=1000, programs=capable)
    for _ in range(3):
        with boxes.start(store, engine, uid=1000, programs=capable) as start:
            assert_wakes(start, engine, answer)
            assert all(status_field(entry[0], "Uid").split()[0] == "1000"
                       for entry in start.processes())


def test_no_new_privs_without_root_is_told(boxes, capable):
    """File capabilities do not work then; the engine boots."""
    engine = engines.static_service(boxes.programs)
    store, answer = boxes.captured(engine, uid=1000, programs=capable)
    with boxes.start(store, engine, uid=1000, programs=capable, no_new_privs=True) as start:
        record = start.wait_record("wake.refused", "wake.failed", "wake.done")
        assert record["event"] == "wake.refused"
        assert "no_new_privs" in record["msg"]
        assert engine.ask(start) == answer


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("tmp", [True, False], ids=["tmpfs", "no tmpfs"])
def test_read_only_root_captures_and_wakes(boxes, capable, programs, tmp, uid):
    """Without a tmpfs nothing but the store can be written at the capture, and nothing at a wake."""
    engine = engines.threads16(boxes.programs)
    programs = capable if uid else programs
    options = {"readonly": True, "tmp": tmp, "shm": tmp, "uid": uid, "programs": programs}
    store, answer = boxes.captured(engine, **options)
    for _ in range(2):
        with boxes.start(store, engine, store_readonly=True, **options) as start:
            assert_wakes(start, engine, answer)


@pytest.mark.parametrize("woken", [False, True], ids=["cold", "woken"])
def test_term_ends_the_engine_in_grace_and_its_status_is_mirrored(boxes, woken):
    engine = engines.exit_status(boxes.programs, status=37, delay_ms=300)
    store, _ = boxes.captured(engine)
    with boxes.start(store if woken else boxes.workplace.store(), engine) as start:
        start.wait_record("wake.done" if woken else "boot.cold")
        engine.ask(start)
        started = time.monotonic()
        assert start.terminate() == 37
        assert 0.25 < time.monotonic() - started < 5
        assert start.stdout == "bye\n"


@pytest.mark.parametrize("woken", [False, True], ids=["cold", "woken"])
def test_engine_that_ignores_its_grace_is_killed(boxes, woken):
    engine = engines.exit_status(boxes.programs, status=37, delay_ms=60000)
    store, _ = boxes.captured(engine)
    with boxes.start(store if woken else boxes.workplace.store(), engine,
                     extra=["--grace", "500ms"]) as start:
        start.wait_record("wake.done" if woken else "boot.cold")
        engine.ask(start)
        started = time.monotonic()
        assert start.terminate() == 137
        assert 0.4 < time.monotonic() - started < 5
        assert start.records("grace.over")


def test_engine_that_ends_by_itself_is_mirrored_after_a_wake(boxes):
    engine = engines.exit_status(boxes.programs, status=0)
    store, answer = boxes.captured(engine)
    with boxes.start(store, engine) as start:
        assert_wakes(start, engine, answer)
        os.kill(start.engine_roots()[0][0], 11)
        assert start.wait_exit() == 128 + 11


def test_every_line_of_snapinit_is_a_record(boxes):
    engine = engines.threads16(boxes.programs)
    store, answer = boxes.captured(engine)
    with boxes.start(store, engine) as start:
        assert_wakes(start, engine, answer)
        start.terminate()
        lines = start.stderr.splitlines()
        assert snaplog.names(snaplog.parse(start.stderr))[0] == "init.start"
        assert len(snaplog.parse(start.stderr)) == len(lines), start.stderr


def test_trial_of_a_snapshot_tells_nobody_that_it_is_ready(bench):
    engine = engines.pyservice(bench.programs)
    store = bench.workplace.store()
    path = os.path.join(bench.workplace.folder("notify"), "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as upstream:
        upstream.bind(path)
        upstream.setblocking(False)
        with bench.start(store, engine, capture="first-boot", env={"NOTIFY_SOCKET": path}) as start:
            done = start.wait_record("capture.done", "capture.failed", seconds=60)
            assert done["event"] == "capture.done", start.tail()
            assert upstream.recv(100) == b"READY=1"  # the boot's, once
            with pytest.raises(BlockingIOError):
                print(upstream.recv(100))
        with bench.start(store, engine, env={"NOTIFY_SOCKET": path}) as start:
            record = start.wait_record("wake.done", "boot.cold")
            assert record["event"] == "wake.done", start.tail()
            assert upstream.recv(100) == b"READY=1"


def test_cold_boot_tells_upstream_when_it_answers(bench):
    engine = engines.pyservice(bench.programs)
    store = bench.workplace.store()
    path = os.path.join(bench.workplace.folder("notify-cold"), "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as upstream:
        upstream.bind(path)
        upstream.settimeout(60)
        with bench.start(store, engine, env={"NOTIFY_SOCKET": path}) as start:
            assert start.wait_record("boot.cold")["reason"] == "no-snapshot"
            assert upstream.recv(100) == b"READY=1"
            assert start.http(engine.port, "/health")[0] == 200


def test_wake_makes_no_temporary_folder(bench):
    """One that is killed in the middle of it would leave it."""
    engine, folders = engines.static_service(bench.programs), ("/dev/shm", "/tmp")
    store, answer = bench.captured(engine)

    def make_old():
        for folder in folders:
            os.utime(folder, (0, 0))

    with bench.start(store, engine, prepare=make_old) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer
        changed = [os.stat(f"/proc/{start.pid}/root{folder}").st_mtime for folder in folders]
        assert changed == [0, 0], start.tail()
    assert not [name for name in os.listdir(os.path.join(store, "gen-1", "criu"))
                if name.startswith("stats-restore")]
