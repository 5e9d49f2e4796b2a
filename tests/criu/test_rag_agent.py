# SPDX-License-Identifier: Apache-2.0
"""
examples/rag-agent: an index that takes seconds to build and llama-server as its child wake as one
tree, and answer every question as they did before.
"""

import http.client
import json
import os
import statistics
import threading

import pytest

from lib import engines, namespaces
from lib.starts import wait_until

CAPTURE_LIMIT_S = 180  # a cold boot of seconds is in it
CLIENTS = 8


def make(programs):
    engine = engines.rag_agent(programs)
    if engine is None:
        pytest.skip("python3-scipy, python3-sklearn, python3-fastapi or python3-uvicorn is not "
                    "installed (./dev setup)")
    return engine


def wakes_wanted(full, setting):
    return int(os.environ.get("SNAP_WAKES") or (20 if full or setting == "B" else 3))


def answers(engine, start):
    """Every answer, asked twice over: none depends on the question before it."""
    asked = [start.wait_http(engine.port, engines.rag_path(question))
             for question in 2 * engines.RAG_QUESTIONS]
    half = len(engines.RAG_QUESTIONS)
    assert asked[:half] == asked[half:]
    return asked[:half]


def tree(start):
    """[(pid inside, name)] of the agent and of llama-server, which is its child."""
    roots = start.engine_roots()
    assert len(roots) == 1, start.processes()
    children = [entry for entry in start.processes() if entry[3] == roots[0][0]]
    assert len(children) == 1, start.processes()
    # nobody else: no worker, no CRIU, nothing a wake left behind
    assert len(start.processes()) == 2, start.processes()
    return [entry[1:3] for entry in roots + children]


def test_answers_come_from_the_index_and_from_llama(boxes):
    """Else every wake could agree about nothing."""
    engine = make(boxes.programs)
    with boxes.start(boxes.workplace.store(), engine) as start:
        health = json.loads(start.wait_http(engine.port, "/health", seconds=60))
        assert health["passages"] >= 5000
        bodies = [json.loads(body) for body in answers(engine, start)]
        assert len({body["answer"] for body in bodies}) == len(bodies)
        assert all(body["answer"] and len(body["passages"]) == 3 for body in bodies)
        assert bodies[0]["passages"][0]["id"].startswith("scipy.signal.")
        assert bodies[0]["passages"][0]["score"] > 0.5
        posted = start.wait_http(engine.port, engine.path, method="POST")
        assert json.loads(posted) == bodies[0]
        assert start.http(engine.port, "/ask")[0] == 422
        assert [name for _, name in tree(start)] == ["python3", "ld-linux-x86-64"]
        assert start.terminate() in (0, 143)


@pytest.mark.parametrize("setting", ["B", "A"])
def test_agent_and_its_llama_wake_as_one_tree(boxes, full, setting):
    engine = make(boxes.programs)
    store, times = boxes.workplace.store(), []
    with boxes.start(store, engine, capture="first-boot", setting=setting) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=CAPTURE_LIMIT_S)
        assert done["event"] == "capture.done", start.tail()
        expected, shape = answers(engine, start), tree(start)
    for _ in range(wakes_wanted(full, setting)):
        with boxes.start(store, engine, capture="first-boot", setting=setting) as start:
            record = start.wait_record("wake.done", "boot.cold", "wake.failed", "wake.refused")
            assert record["event"] == "wake.done", start.tail()
            times.append(record["dur_ms"])
            assert answers(engine, start) == expected
            assert tree(start) == shape
            assert not start.records("boot.cold", "wake.failed", "capture.failed"), start.tail()
    print(f"\nrag-agent {setting}: {len(times)} wakes, median {statistics.median(times)} ms")


def test_agent_ends_when_its_llama_does(boxes):
    """Woken too, the agent has the child that it waits for."""
    engine = make(boxes.programs)
    store, _ = boxes.captured(engine)
    with boxes.start(store, engine) as start:
        record = start.wait_record("wake.done", "boot.cold", "wake.failed", "wake.refused")
        assert record["event"] == "wake.done", start.tail()
        engine.ask(start)
        root = start.engine_roots()[0][0]
        llama = [entry[0] for entry in start.processes() if entry[3] == root]
        os.kill(llama[0], 9)
        assert start.wait_exit() in (0, 143)
        assert "llama-server has ended with -9" in start.stderr + start.stdout


class Load:
    """Clients that ask all the time, each over one connection that it keeps open."""

    def __init__(self, start, engine):
        self.start = start
        self.engine = engine
        self.over = threading.Event()
        self.answers = [[] for _ in range(CLIENTS)]
        self.faults = []
        self.threads = [threading.Thread(target=self.run, args=(mine,)) for mine in self.answers]
        for thread in self.threads:
            thread.start()

    def run(self, mine):
        try:
            namespaces.in_network_of(self.start.pid, lambda: self.ask(mine))
        except (OSError, http.client.HTTPException, AssertionError) as fault:
            self.faults.append(fault)

    def ask(self, mine):
        connection = http.client.HTTPConnection("127.0.0.1", self.engine.port, timeout=30)
        while not self.over.is_set():
            connection.request("GET", self.engine.path)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200
            mine.append(json.loads(body)["answer"])
        connection.close()

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def asked(self):
        return sum(len(mine) for mine in self.answers)

    def check(self):
        assert not self.faults
        assert all(self.answers), "a client was never answered"
        assert len({text for mine in self.answers for text in mine}) == 1


def test_capture_under_load_says_that_there_was_no_idle_moment(bench):
    engine = make(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request", extra=("--quiet-timeout", "2s")) as start:
        engine.ask(start, seconds=60)
        load = Load(start, engine)
        try:
            wait_until("load", lambda: load.asked() > 2 * CLIENTS, 60)
            result = bench.snapctl("capture", "--pid", str(start.pid))
            asked = load.asked()
            wait_until("answers after it", lambda: load.asked() > asked + 2 * CLIENTS, 60)
        finally:
            load.end()
        assert result.returncode == 7, result.stderr
        # a line holds a few of some twenty: those of the clients, or the agent's own to llama-server
        assert "is open, and no connection survives a wake" in result.stderr, result.stderr
        load.check()
        assert len(start.records("boot.cold")) == 1
        assert not os.path.exists(f"{store}/current")


def test_capture_under_load_waits_for_an_idle_moment(bench):
    engine = make(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="on-request",
                     extra=("--quiet-timeout", "60s")) as start:
        engine.ask(start, seconds=60)
        load = Load(start, engine)
        try:
            wait_until("load", lambda: load.asked() > 2 * CLIENTS, 60)
            bench.snapctl("capture", "--no-wait", "--pid", str(start.pid), check=True)
            asked = load.asked()
            wait_until("answers while it waits", lambda: load.asked() > asked + 4 * CLIENTS, 60)
            assert not start.records("capture.done", "capture.failed")
        finally:
            load.end()
        done = start.wait_record("capture.done", "capture.failed", seconds=CAPTURE_LIMIT_S)
        assert done["event"] == "capture.done", start.tail()
        load.check()
        expected = answers(engine, start)
    with bench.start(store, engine) as start:
        record = start.wait_record("wake.done", "boot.cold", "wake.failed", "wake.refused")
        assert record["event"] == "wake.done", start.tail()
        assert answers(engine, start) == expected
