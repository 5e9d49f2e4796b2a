# SPDX-License-Identifier: Apache-2.0
"""
Damage that nobody can cause twice: every kind of tests/lib/damaged_stores.py is told by name, and
the engine comes up.

Each case spoils a copy of one store, starts the engine on it and asks snapctl. Around it: nothing
beside the store is touched, nor the store itself; worker and snapctl have MEMORY_KIB and not a
page more; no process is left; nothing takes longer than DEADLINE_S.
"""

import os
import shutil
import subprocess

import pytest

from lib import damaged_stores, engines
from lib.damaged_stores import NO_SNAPSHOT, NoDamage, Place
from lib.starts import wait_until

DEADLINE_S = 20
MEMORY_KIB = 128 << 10
DOCUMENTED = {0, NO_SNAPSHOT, damaged_stores.CORRUPT}
CARRIED = "/tmp/carried"


def make_carried():
    with open(CARRIED, "w", encoding="ascii") as out:
        out.write("carried\n" * 100)


def bounded(folder, program, kib=MEMORY_KIB):
    """The program under a limit of private memory; threads' stacks count, so they are small."""
    path = os.path.join(folder, os.path.basename(program))
    with open(path, "w", encoding="ascii") as out:
        out.write(f"#!/bin/sh\nulimit -S -d {kib}; ulimit -S -s 1024\nexec {program} \"$@\"\n")
    os.chmod(path, 0o755)
    return path


def bounded_programs(bench, kib=MEMORY_KIB):
    folder = bench.workplace.folder("bounded")
    made = type(bench.programs)()
    made.snapworker = bounded(folder, made.snapworker, kib)
    made.snapctl = bounded(folder, made.snapctl, kib)
    return made


class Base:
    """A store with two generations, each woken once, and what its engine answers."""

    def __init__(self, bench):
        self.programs = bounded_programs(bench)
        self.engine = engines.heap_engine(bench.programs, 8009, "--heap", "1M", "--shm", "1M")
        self.store = bench.workplace.store()
        self.capture(bench)
        os.unlink(os.path.join(self.store, "current"))
        self.answer = self.capture(bench)

    def capture(self, bench):
        with bench.start(self.store, self.engine, capture="first-boot", prepare=make_carried,
                         extra=["--include", CARRIED]) as start:
            done = start.wait_record("capture.done", "capture.failed", seconds=60)
            assert done["event"] == "capture.done", start.tail()
            answer = self.engine.ask(start)
        with bench.start(self.store, self.engine) as start:  # verified from now on
            assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        return answer


@pytest.fixture(name="base", scope="module")
def make_base(module_bench):
    return Base(module_bench)


def copy_of(base, box):
    """A store like the base's, and an outside that nobody may touch."""
    store, outside = os.path.join(box, "store"), os.path.join(box, "outside")
    shutil.copytree(base.store, store, symlinks=True)
    for folder, _, _ in os.walk(store):
        os.chmod(folder, 0o700)
    os.mkdir(outside)
    for name in ("canary", "gen-2", "current", "etc"):
        with open(os.path.join(outside, name), "w", encoding="ascii") as out:
            out.write(name)
        os.link(os.path.join(outside, name), os.path.join(box, name))
    return Place(store, outside)


def listing(box):
    """Everything below a folder: names, sizes, times, modes, owners, links."""
    found = {}
    for folder, folders, files in os.walk(box):
        for name in [".", *folders, *files]:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            found[path] = (st.st_size, st.st_mtime_ns, st.st_mode, st.st_uid, st.st_nlink)
    return found


def snapctl(programs, *words):
    """(exit status, all it says); TimeoutExpired when it hangs."""
    done = subprocess.run([programs.snapctl, *words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          timeout=DEADLINE_S)
    return done.returncode, done.stdout.decode(errors="replace")


def named(words, place, name):
    return words.replace("NAME", name).replace("GEN", place.generation)


def check_start(bench, base, place, damage, name):
    with bench.start(place.store, base.engine, programs=base.programs) as start:
        record = start.wait_record("wake.done", "boot.cold", seconds=DEADLINE_S)
        assert base.engine.ask(start, seconds=DEADLINE_S) == base.answer
        assert start.http(base.engine.port, "/check")[1] == b"PASS\n"
        found = start.records("wake.refused", "wake.failed", "wake.done")
        assert len(found) == 1, start.tail()
        assert found[0]["event"] in damage.event.split(" or "), found[0]
        assert (record["event"] == "boot.cold") is (damage.event != damaged_stores.WAKES)
        told = found[0].get("msg", "")
        if damage.says:
            assert damaged_stores.says(named(damage.says, place, name), told), told
        assert "\n" not in told and told.isprintable(), told
        wait_until(lambda: f"more than the engine: {start.processes()}",
                   lambda: len(start.processes()) == 1, DEADLINE_S)


def check_snapctl(programs, box, place, damage, name):
    to = os.path.join(box, "export")
    status, told = snapctl(programs, "verify", place.store)
    assert status == damage.verify, told
    assert damaged_stores.says(named(damage.verify_says, place, name), told), told
    status, told = snapctl(programs, "inspect", place.store)
    assert status == damage.inspect, told
    if damage.event != damaged_stores.WAKES and status == 0 and damage.name.endswith(
            ("others may write", "another owner", "a fifo", "a link to nothing")):
        assert "wakes here   no" in told, told
    if damage.inspect == 0:
        status, told = snapctl(programs, "inspect", "--verify-files", "--json", place.store)
        assert status == damage.verify, told
    status, told = snapctl(programs, "export", "--criu", to, place.store)
    assert status in ({damage.export} if damage.export is not None else DOCUMENTED), told
    assert os.path.exists(to) is (status == 0)
    shutil.rmtree(to, ignore_errors=True)


@pytest.mark.parametrize("damage", damaged_stores.DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_told_by_name(bench, base, full, damage):
    if damage.is_long and not full:
        pytest.skip("the same as with other images: SNAP_TEST_FULL=1")
    box = bench.workplace.folder("box")
    place = copy_of(base, box)
    name = ""
    try:
        if damage.what.startswith(("criu/", "files/", "pages.", "manifest.json")):
            pattern = damage.what.split(",")[0].replace("files/*", "files/f-*").split(" ")[0]
            name = place.name(place.path(f"GEN/{pattern}")) if "forged" not in damage.what else ""
        damage.spoil(place)
    except NoDamage as why:
        pytest.skip(f"no damage: {why}")
    before = listing(box)
    check_start(bench, base, place, damage, name)
    check_snapctl(base.programs, box, place, damage, name)
    after = listing(box)
    after[os.path.join(box, ".")] = before[os.path.join(box, ".")]  # the export came and went
    assert after == before
    shutil.rmtree(box)


@pytest.mark.parametrize("find", damaged_stores.FINDS, ids=lambda find: find.name)
def test_a_capture_that_finds_something(bench, base, find):
    """It is made, or refused by name; either way nothing outside is touched and nothing is left."""
    box = bench.workplace.folder("box")
    place = copy_of(base, box)
    os.unlink(place.path("current"))
    find.spoil(place)
    before = {path: what for path, what in listing(box).items() if not path.startswith(place.store)}
    kept = listing(place.store)
    with bench.start(place.store, base.engine, capture="first-boot", programs=base.programs,
                     prepare=make_carried, extra=["--include", CARRIED]) as start:
        record = start.wait_record("capture.done", "capture.failed", seconds=DEADLINE_S)
        assert base.engine.ask(start) == base.answer
        assert start.http(base.engine.port, "/check")[1] == b"PASS\n"
        wait_until(lambda: f"more than the engine: {start.processes()}",
                   lambda: len(start.processes()) == 1, DEADLINE_S)
    after = {path: what for path, what in listing(box).items() if not path.startswith(place.store)}
    if find.says:
        assert record["event"] == "capture.failed", record
        assert damaged_stores.says(find.says, record["msg"]), record["msg"]
        names = {os.path.relpath(path, place.store) for path in listing(place.store)}
        assert names == {os.path.relpath(path, place.store) for path in kept}
    else:
        assert record["event"] == "capture.done", record
        status, told = snapctl(base.programs, "verify", place.store)
        assert status == 0, told
        names = set(os.listdir(place.store)) - {"kdat"}
        made = damaged_stores.read(place.path("current")).decode().strip()
        assert names in ({"current", made, "gen-2"}, {"current", made, "gen-3"}), names
    assert after == before


def test_two_captures_at_once(bench, base):
    """One has the lease, the other is told so, or comes after it; the store is whole."""
    store = bench.workplace.store()
    options = {"capture": "first-boot", "programs": base.programs}
    with bench.start(store, base.engine, **options) as first, \
            bench.start(store, base.engine, **options) as second:
        ended = [start.wait_record("capture.done", "capture.failed", "wake.done",
                                   seconds=DEADLINE_S) for start in (first, second)]
        assert [base.engine.ask(start) for start in (first, second)] == [base.answer] * 2
        assert "capture.done" in [record["event"] for record in ended], ended
        for record in ended:
            if record["event"] == "capture.failed":
                assert "lease" in record["msg"], record
    assert snapctl(base.programs, "verify", store)[0] == 0
    assert "lease" not in os.listdir(store)
    with bench.start(store, base.engine) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert base.engine.ask(start) == base.answer


def test_the_bound_on_memory_bites(bench, base):
    """With less memory the same manifest is not refused for what is wrong with it."""
    place = copy_of(base, bench.workplace.folder("box"))
    damage = next(d for d in damaged_stores.DAMAGES if d.name.endswith("string-of-a-mebibyte"))
    damage.spoil(place)
    few = bounded_programs(bench, kib=3 << 10)
    with bench.start(place.store, base.engine, programs=few) as start:
        start.wait_record("boot.cold")
        assert not damaged_stores.says(damage.says, start.records("wake.failed")[0]["msg"])
    assert not damaged_stores.says(damage.says, snapctl(few, "verify", place.store)[1])


def test_every_file_of_a_store_is_damaged_in_every_way(base):
    """A kind of image that CRIU did not write before is missing in damaged_stores.py."""
    place = Place(base.store, "/nowhere")
    known = set()
    for what in {damage.what for damage in damaged_stores.DAMAGES}:
        if what.startswith(("criu/", "manifest.json", "pages.")) and " " not in what:
            try:
                known.add(place.path(f"GEN/{what}"))
            except NoDamage:
                pass
    found = {os.path.join(folder, name)
             for folder, _, names in os.walk(place.path("GEN")) for name in names
             if not folder.endswith("/files")}
    assert found <= known, found - known
