# SPDX-License-Identifier: Apache-2.0
"""
Snapshots that moved: what `snapctl export --tar` wrote and `snapctl import` took wakes as the
original does. And gc, while captures and wakes are at work.
"""

import json
import os
import socket
import subprocess
import threading

import pytest

from lib import engines
from lib.starts import wait_until


def make(programs, kind):
    if kind == "heap":
        return engines.heap_engine(programs, 8019, "--heap", "24M", "--shm", "8M", "--zero-half",
                                   "--threads", "4")
    return getattr(engines, kind)(programs)


def snapctl(programs, *words, status=0, **how):
    done = subprocess.run([programs.snapctl, *words], capture_output=True, timeout=120,
                          check=False, **how)
    assert done.returncode == status, (done.returncode, done.stdout[-2000:], done.stderr)
    return done.stdout


def move(programs, store, to, compress="zstd"):
    """Through a pipe, into a store that is absent or not."""
    packed = snapctl(programs, "export", "--tar", "-", "--compress", compress, store)
    return json.loads(snapctl(programs, "import", "--json", "-", to, input=packed))


def assert_wakes(boxes, store, engine, answer, **options):
    with boxes.start(store, engine, **options) as start:
        record = start.wait_record("wake.done", "boot.cold", "wake.failed", "wake.refused")
        assert record["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer


@pytest.mark.parametrize("kind, compress", [("heap", "zstd"), ("heap", "none"),
                                            ("shared_memory", "zstd"), ("forktree", "zstd"),
                                            ("pyservice", "none")])
def test_imported_store_wakes_like_the_original(boxes, kind, compress):
    engine = make(boxes.programs, kind)
    store, answer = boxes.captured(engine, setting="B")
    to = boxes.workplace.path + f"/moved-{kind}-{compress}"
    told = move(boxes.programs, store, to, compress)
    assert told["was"] == "gen-1" and told["generation"] == "gen-1"
    snapctl(boxes.programs, "verify", to)
    assert_wakes(boxes, store, engine, answer, setting="B")
    assert_wakes(boxes, to, engine, answer, setting="B")


def current_of(store):
    with open(f"{store}/current", encoding="ascii") as current:
        return current.read().strip()


def fates(programs, store, *words):
    told = json.loads(snapctl(programs, "gc", "--json", *words, store))
    return {item["name"]: item["fate"] for item in told["items"]}


def test_generation_that_a_wake_reads_is_neither_collected_nor_published_over(bench):
    engine = make(bench.programs, "heap")
    store, answer = bench.captured(engine)
    packed = snapctl(bench.programs, "export", "--tar", "-", store)
    for env in ({"SNAPINIT_FAULT": "wake.open=hang"}, {"SNAPINIT_FAULT": "wake.pages=hang"}):
        first = current_of(store)
        with bench.start(store, engine, env=env,
                         extra=("--wake-timeout", "60s", "--fallback", "none")):
            wait_until("the wake holds its generation", lambda: is_held(f"{store}/{first}"), 30)
            told = [json.loads(snapctl(bench.programs, "import", "--json", "-", store,
                                       input=packed))["generation"] for _ in range(3)]
            assert fates(bench.programs, store)[first] == "in-use"
            assert os.path.exists(f"{store}/{first}/manifest.json")
        wait_until("nobody holds it", lambda: not is_held(f"{store}/{first}"), 30)
        assert fates(bench.programs, store)[first] == "removed"
        assert sorted(os.listdir(store))[:2] == ["current", told[-1]]
    assert_wakes(bench, store, engine, answer)


def is_held(folder):
    """By the kernel's own list: asking with a lock would be in the way of who wants to hold it."""
    inode = os.stat(folder).st_ino
    with open("/proc/locks", encoding="ascii") as locks:
        return any(f":{inode} " in line and "FLOCK" in line and " READ " in line
                   for line in locks)


def test_gc_all_the_time_breaks_no_create(place, programs):
    store = place.path + "/created"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    over, seen = threading.Event(), set()

    def collect():
        while not over.is_set():
            done = subprocess.run([programs.snapctl, "gc", "--json", store], capture_output=True,
                                  check=False)
            seen.add(done.returncode)
            over.wait(0.02)

    for number in (1, 2):
        over.clear()
        collector = threading.Thread(target=collect)
        collector.start()
        try:
            snapctl(programs, "create", "--for", "full", "--output", store, "--ready",
                    f"http://127.0.0.1:{port}/", "--criu",
                    os.path.join(programs.prefix, "bin/criu"), "--", "/usr/bin/python3", "-m",
                    "http.server", str(port), "--bind", "127.0.0.1")
        finally:
            over.set()
            collector.join()
        snapctl(programs, "verify", store)
        assert current_of(store) == f"gen-{number}"
    # 4: there was no store yet; 3: the capture had the lease
    assert {0, 3} <= seen <= {0, 3, 4}, seen
