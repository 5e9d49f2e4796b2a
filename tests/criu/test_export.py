# SPDX-License-Identifier: Apache-2.0
"""
No lock-in: what `snapctl export` makes of a snapshot is restored by CRIU alone, which nobody of
ours helps, in a fresh container with the same rights, and answers as before.
"""

import dataclasses
import json
import os
import struct
import subprocess

import pytest

from lib import containers, engines, namespaces
from lib.damaged_stores import flip_bit

MIB = 1 << 20


def make(programs, kind):
    if kind == "heap":
        return engines.heap_engine(programs, 8019, "--heap", "24M", "--shm", "8M", "--zero-half",
                                   "--threads", "4")
    if kind == "pair":  # two processes with page files
        second = engines.heap_engine(programs, 8020, "--heap", "6M", "--shm", "2M")
        first = engines.heap_engine(programs, 8019, "--heap", "4M", "--shm", "3M")
        script = " ".join(second.argv) + " & exec " + " ".join(first.argv)
        return dataclasses.replace(first, argv=("/bin/sh", "-c", script))
    return getattr(engines, kind)(programs)


def export(programs, store, to, *more):
    return subprocess.run([programs.snapctl, "export", "--json", "--criu", to, *more, store],
                          capture_output=True, text=True, timeout=120, check=False)


def exported(programs, store, to):
    done = export(programs, store, to)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def manifest_of(store):
    with open(f"{store}/gen-1/manifest.json", encoding="utf-8") as text:
        return json.load(text)


def restore_command(programs, told):
    """What export says, with the images where the container has them and the prefix's CRIU."""
    assert told["criu_program"][-1] == os.path.join(programs.prefix, "usr/sbin/criu")
    words = ["/snapshot" if word == told["criu"] else word for word in told["restore"]]
    assert words[0] == "criu" and "/snapshot" in words
    return [os.path.join(programs.prefix, "bin/criu"), *words[1:]]


class ByHand(containers.Container):
    """A container in which CRIU alone restores; PID 1 only reaps and passes signals on."""

    def __init__(self, boxes, told, **options):
        super().__init__(boxes.workplace,
                         [boxes.programs.snapinit, "--", *restore_command(boxes.programs, told)],
                         store=told["criu"], **options)


def ask_twice(engine, start, answer):
    assert engine.ask(start) == answer
    assert start.wait_http(engine.port, "/check") == b"PASS\n"
    assert engine.ask(start) == answer


def captured(boxes, engine, *options):
    store = boxes.workplace.store()
    with boxes.start(store, engine, capture="first-boot", extra=options, setting="B") as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
        return store, engine.ask(start)


@pytest.mark.parametrize("compress", ["none", "zstd"])
@pytest.mark.parametrize("kind", ["heap", "pair", "shared_memory", "pyservice", "forktree"])
def test_criu_alone_restores_what_was_exported(boxes, kind, compress):
    engine = make(boxes.programs, kind)
    store, answer = captured(boxes, engine, "--compress", compress)
    to = boxes.workplace.path + f"/images-{kind}-{compress}"
    told = exported(boxes.programs, store, to)
    with ByHand(boxes, told, setting="B") as start:
        ask_twice(engine, start, answer)
        if kind == "pair":
            assert start.wait_http(8020, "/check") == b"PASS\n"
    stored = manifest_of(store).get("pages_bytes", 0)  # forktree is small: all is with CRIU
    assert (stored > MIB) is (kind != "forktree")
    assert told["merged_bytes"] >= stored


def test_images_without_the_pages_do_not_answer_the_same(boxes):
    """What the test above can see: CRIU restores holes without a complaint."""
    engine = make(boxes.programs, "heap")
    store, _ = boxes.captured(engine, setting="B")
    to = boxes.workplace.path + "/images-holes"
    told = exported(boxes.programs, store, to)
    for name in os.listdir(f"{store}/gen-1/criu"):
        if name.startswith("page"):
            subprocess.run(["cp", f"{store}/gen-1/criu/{name}", to], check=True)
    with ByHand(boxes, told, setting="B") as start:
        try:
            answer = start.wait_http(engine.port, "/check", seconds=10)
        except AssertionError:
            answer = None  # the engine ended, or answers nothing
        assert answer != b"PASS\n"


def entries_of(path):
    """[(address or offset, pages)] of a pagemap image, by a reader that is not ours in C."""
    with open(path, "rb") as image:
        data = image.read()
    assert struct.unpack_from("<II", data) == (0x54564319, 0x56084025)
    at, records = 8, []
    while at < len(data):
        size = struct.unpack_from("<I", data, at)[0]
        record, fields = data[at + 4:at + 4 + size], {}
        at += 4 + size
        while record:
            key, value, shift, n = record[0], 0, 0, 1
            while True:
                value |= (record[n] & 0x7f) << shift
                shift, n = shift + 7, n + 1
                if not record[n - 1] & 0x80:
                    break
            fields[key >> 3] = value
            record = record[n:]
        records.append(fields)
    return records[0][1], [(fields[1], fields[5]) for fields in records[1:]]


def test_images_hold_exactly_the_pages_that_their_entries_name(boxes):
    engine = make(boxes.programs, "heap")
    store, _ = boxes.captured(engine, setting="B")
    to = boxes.workplace.path + "/images-exact"
    exported(boxes.programs, store, to)
    assert os.stat(to).st_mode & 0o777 == 0o700
    before = {name for name in os.listdir(f"{store}/gen-1/criu")}
    assert set(os.listdir(to)) >= before
    ids = set()
    for name in os.listdir(to):
        assert os.stat(f"{to}/{name}").st_mode & 0o777 == 0o600
        if not name.startswith("pagemap-"):
            continue
        pages_id, entries = entries_of(f"{to}/{name}")
        assert pages_id not in ids
        ids.add(pages_id)
        assert os.path.getsize(f"{to}/pages-{pages_id}.img") == 4096 * sum(n for _, n in entries)
        ends = [address + 4096 * n for address, n in entries]
        assert all(0 < n <= 256 for _, n in entries)
        assert all(end <= entry[0] for end, entry in zip(ends, entries[1:]))
    assert {name for name in os.listdir(to) if name.startswith("pagemap-shmem-")}


@pytest.fixture(name="snapshot", scope="module")
def make_snapshot(workplace, programs):
    engine = make(programs, "heap")
    store = workplace.store("damaged")
    with containers.Container(workplace,
                              programs.snapinit_args("/snapshot", engine, capture="first-boot"),
                              store=store) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
    return store


def test_damaged_pages_are_refused_and_nothing_is_left(place, programs, snapshot):
    path, to = f"{snapshot}/gen-1/pages.dat", place.path + "/images-damaged"
    flip_bit(path, MIB + 5)
    try:
        done = export(programs, snapshot, to)
        assert done.returncode == 5
        assert "pages.dat: chunk " in done.stderr and " is damaged" in done.stderr
        assert not os.path.exists(to)
        checked = subprocess.run([programs.snapctl, "verify", snapshot], capture_output=True,
                                 text=True, timeout=60, check=False)
        assert checked.returncode == 5
        assert "gen-1/pages.dat chunk " in checked.stdout, checked.stdout
    finally:
        flip_bit(path, MIB + 5)
    exported(programs, snapshot, to)


def test_damaged_image_is_refused(place, programs, snapshot):
    to = place.path + "/images-damaged-image"
    name = next(name for name in os.listdir(f"{snapshot}/gen-1/criu") if name.startswith("mm-"))
    path = f"{snapshot}/gen-1/criu/{name}"
    flip_bit(path, 20)
    try:
        done = export(programs, snapshot, to)
        assert done.returncode == 5 and name in done.stderr
        assert not os.path.exists(to)
    finally:
        flip_bit(path, 20)


def test_folder_that_holds_something_is_refused_and_untouched(place, programs, snapshot):
    to = place.folder("images-full")
    with open(f"{to}/mine", "w", encoding="ascii") as out:
        out.write("mine")
    done = export(programs, snapshot, to)
    assert done.returncode == 2 and "not empty" in done.stderr
    assert os.listdir(to) == ["mine"]
    assert export(programs, snapshot, f"{to}/mine").returncode == 2
    assert export(programs, snapshot, f"{to}/no/such").returncode == 2


def test_full_disk_leaves_nothing(place, programs, snapshot):
    small = place.folder("images-small")
    namespaces.mount("tmpfs", small, "tmpfs", 0, "size=2M")
    try:
        for to in (small, f"{small}/inside"):
            done = export(programs, snapshot, to)
            assert done.returncode == 3 and "No space left" in done.stderr, done.stderr
            assert os.listdir(small) == []
    finally:
        namespaces.umount(small)


def test_empty_folder_is_taken(place, programs, snapshot):
    to = place.folder("images-empty")
    assert exported(programs, snapshot, to)["files"] == len(os.listdir(to))
