# SPDX-License-Identifier: Apache-2.0
"""Process trees of every kind wake and go on working, each checking its own state."""

import time

import pytest

from lib import engines

KINDS = ("threads16", "heap_engine", "forktree", "pipeline", "pyservice", "node_service", "llama")
WAKES = 2
# port and more arguments: memory of every kind, private, shared and zero, and threads that read it
MORE = {
    "heap_engine": (8009, "--heap", "16M", "--shm", "8M", "--zero-half", "--threads", "3"),
    "node_service": (8007, "--megabytes", "24"),
}


def make(programs, kind):
    engine = getattr(engines, kind)(programs, *MORE.get(kind, ()))
    if engine is None:
        pytest.skip(f"{kind} cannot run here")
    return engine


def check(engine, start):
    """The engine's own look at its state, where it has one."""
    if engine.name != "llama-server":
        assert start.wait_http(engine.port, "/check") == b"PASS\n"


def lasting(start):
    """(pid inside, name) of what is still there after a moment: the pipeline's sleeps come and go."""
    seen = None
    for _ in range(3):
        now = {entry[1:3] for entry in start.processes()}
        seen = now if seen is None else seen & now
        time.sleep(0.08)
    return seen


@pytest.mark.parametrize("setting", ["B", "A"])
@pytest.mark.parametrize("kind", KINDS)
def test_tree_wakes_and_goes_on_working(boxes, kind, setting):
    engine = make(boxes.programs, kind)
    store = boxes.workplace.store()
    with boxes.start(store, engine, capture="first-boot", setting=setting) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
        answer = engine.ask(start)
        check(engine, start)
        shape = lasting(start)
    for _ in range(WAKES):
        with boxes.start(store, engine, setting=setting) as start:
            record = start.wait_record("wake.done", "boot.cold")
            assert record["event"] == "wake.done", start.tail()
            assert engine.ask(start) == answer
            check(engine, start)
            assert engine.ask(start) == answer
            assert lasting(start) == shape
            assert not start.records("boot.cold")
