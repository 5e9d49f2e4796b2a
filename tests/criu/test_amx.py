# SPDX-License-Identifier: Apache-2.0
"""Engines that compute with AMX tiles: CRIU restores neither the permission nor the configuration."""

import json
import os
import subprocess

import pytest

from lib import damaged_manifests, engines
from lib.starts import read_text

WAKES = 2


@pytest.fixture(autouse=True)
def amx():
    if not engines.has_amx():
        pytest.skip("this CPU has no AMX (amx_tile)")


def manifest_of(store):
    with open(os.path.join(store, read_text(f"{store}/current").strip(), "manifest.json"),
              encoding="utf-8") as text:
        return json.load(text)


def capture(boxes, engine, setting, **options):
    store = boxes.workplace.store()
    with boxes.start(store, engine, capture="first-boot", setting=setting, **options) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
        answer = engine.ask(start)
        # the engine that was captured goes on with its tiles as well
        assert engine.ask(start) == answer
    return store, answer


def assert_wakes(boxes, store, engine, setting, answer):
    for _ in range(WAKES):
        with boxes.start(store, engine, setting=setting) as start:
            record = start.wait_record("wake.done", "boot.cold", "wake.failed")
            assert record["event"] == "wake.done", start.tail()
            assert engine.ask(start) == answer
            assert engine.ask(start) == answer
            assert not start.records("boot.cold", "wake.failed"), start.tail()


@pytest.mark.parametrize("setting", ["B", "A"])
def test_tiles_work_after_the_wake(boxes, setting):
    engine = engines.amx_engine(boxes.programs)
    store, answer = capture(boxes, engine, setting)
    assert answer == b"PASS\n"
    manifest = manifest_of(store)
    assert "xcomp" in manifest["requires"]
    assert [entry["permissions"] for entry in manifest["xcomp"]] == ["0x40000"]
    assert manifest["xcomp"][0]["pid"] == manifest["root_pid"]
    # both threads have configured their tiles for the oracle
    assert len(manifest["tile_configs"]) == 2
    assert_wakes(boxes, store, engine, setting, answer)


def test_tiles_work_under_podmans_seccomp_profile(boxes, profile):
    engine = engines.amx_engine(boxes.programs)
    store, answer = capture(boxes, engine, "B")
    assert_wakes(boxes, store, engine, "C", answer)


@pytest.mark.parametrize("setting", ["B", "A"])
def test_thread_that_computes_with_tiles_is_named(boxes, setting):
    engine = engines.amx_engine(boxes.programs, 8011, "--busy")
    with boxes.start(boxes.workplace.store(), engine, capture="first-boot",
                     setting=setting) as start:
        record = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert record["event"] == "capture.failed", start.tail()
        assert "(amx_engine) computes with AMX tiles in thread" in record["msg"]
        assert engine.ask(start) == b"PASS\n"


def test_snapshot_of_tiles_that_cannot_be_given_back_boots_cold(boxes):
    """A component that this kernel does not know stands for a permission that it denies."""
    engine = engines.amx_engine(boxes.programs)
    store, answer = capture(boxes, engine, "B")
    path = os.path.join(store, read_text(f"{store}/current").strip(), "manifest.json")
    manifest = manifest_of(store)
    manifest["xcomp"][0]["permissions"] = "0x8000000000040000"
    with open(path, "wb") as text:
        text.write(damaged_manifests.seal(manifest))
    with boxes.start(store, engine) as start:
        record = start.wait_record("wake.done", "wake.failed", seconds=60)
        assert record["event"] == "wake.failed", start.tail()
        assert "permission to use AMX" in record["msg"]
        start.wait_record("boot.cold")
        assert engine.ask(start) == answer


def maps_amx_backend(start):
    pid = start.engine_roots()[0][0]
    return "libggml-cpu-sapphirerapids" in read_text(f"/proc/{pid}/maps")


@pytest.mark.parametrize("setting", ["B", "A"])
def test_llama_server_that_repacks_for_amx_answers_the_same(boxes, tmp_path_factory, setting):
    engine = engines.llama(boxes.programs)
    store = boxes.workplace.store()
    with boxes.start(store, engine, capture="first-boot", setting=setting) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=90)
        assert done["event"] == "capture.done", start.tail()
        if not maps_amx_backend(start):
            pytest.skip("this llama-server has no back end with AMX")
        answer = engine.ask(start)
    assert_wakes(boxes, store, engine, setting, answer)
