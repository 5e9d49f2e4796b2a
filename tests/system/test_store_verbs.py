# SPDX-License-Identifier: Apache-2.0
"""snapctl diff and snapctl gc, on stores that nobody could wake."""

import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests"))

from lib import generations  # noqa: E402  (needs the path above)

BUILD = pathlib.Path(os.environ.get("SNAP_BUILD", SOURCE / "build" / "dev"))
SNAPCTL = str(BUILD / "cli" / "snapctl")
HOUR = 3600


def snapctl(*args, **how):
    how = {"capture_output": True, "text": True, "timeout": 60, "check": False, **how}
    return subprocess.run([SNAPCTL, *map(str, args)], **how)


@pytest.fixture(name="place")
def make_place():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="test_store_verbs."))
    yield folder
    shutil.rmtree(folder)


# --- diff ---------------------------------------------------------------------------------------


def diff(*words, status, **how):
    done = snapctl("diff", "--json", *words, **how)
    assert done.returncode == status, (done.returncode, done.stdout[-500:], done.stderr)
    return json.loads(done.stdout)


def two(place, change):
    """What diff says of a generation and of one that `change` has changed."""
    one = generations.Generation(generations.CHUNKS)
    other = one.copy()
    change(other.manifest)
    one.put(str(place / "a"), "gen-1")
    other.put(str(place / "b"), "gen-4")
    return snapctl("diff", "--json", place / "a", place / "b")


def test_same_snapshot_does_not_differ(place):
    store = generations.Generation(generations.CHUNKS).put(str(place / "a"), "gen-1")
    told = diff(store, store, status=0)
    assert told["schema"] == "snapctl.diff/v1" and told["same"] is True
    assert told["differences"] == [] and told["unknown_env"] == []
    pages = sum(count for _, _, count in generations.CHUNKS)
    assert told["identical"]["chunks"] == 3
    assert told["identical"]["memory_bytes"] == pages * 4096
    assert told["identical"]["images"] == 5
    text = snapctl("diff", store, store)
    assert text.returncode == 0 and "matters for a wake: 0\n" in text.stdout


def change_file(number, **fields):
    return lambda m: m["files"][number].update(fields)


@pytest.mark.parametrize("name, change", [
    ("argv:3", lambda m: m["identity"]["argv"].__setitem__(3, "--other")),
    ("argv:5", lambda m: m["identity"]["argv"].append("more")),
    ("cwd", lambda m: m["identity"].update(cwd="/other")),
    ("uid", lambda m: m["identity"].update(uid=5)),
    ("gid", lambda m: m["identity"].update(gid=5)),
    ("groups", lambda m: m["identity"].update(groups=[27])),
    ("adapter", lambda m: m["identity"].update(adapter="http")),
    ("env:HOME", lambda m: m["identity"]["env"][0].update(digest="c" * 64)),
    ("env:NEW", lambda m: m["identity"]["env"].insert(1, {"name": "NEW", "digest": "c" * 64})),
    ("env:PATH", lambda m: m["identity"]["env"].pop()),
    ("machine", lambda m: m["host"].update(machine="aarch64")),
    ("kernel", lambda m: m["host"].update(kernel_release="6.19")),
    ("cpu:fma", lambda m: m["host"]["cpu_flags"].remove("fma")),
    ("criu", lambda m: m["host"].update(criu_version="4.3")),
    ("criu:build-id", lambda m: m["host"].update(criu_build_id="")),
    ("setting", lambda m: m["host"].update(setting="A")),
    ("caps", lambda m: m["host"].update(caps_effective="0x1")),
    ("caps:bounding", lambda m: m["host"].update(caps_bounding="0x1")),
    ("no_new_privs", lambda m: m["host"].update(no_new_privs=True)),
    ("nofile", lambda m: m["host"].update(nofile=1)),
    ("page_size", lambda m: m["host"].update(page_size=16384)),
    ("filter", lambda m: m.update(tree_has_filter=True)),
    ("privileged", lambda m: m.update(unprivileged=False)),
    ("file:/models/stories260K.gguf", change_file(0, size=1)),
    ("file:/models/stories260K.gguf", change_file(0, mtime_ns=-1)),
    ("file:/models/stories260K.gguf", change_file(0, path="/zzz")),
    ("file:/var/log/engine.log", change_file(1, mode=0o644)),
    ("listener:", lambda m: m["listeners"].clear())])
def test_what_matters_is_told_by_the_gates_name(place, name, change):
    done = two(place, change)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    found = [item["name"] for item in told["differences"] if item["matters"]]
    assert any(item.startswith(name) for item in found), found
    assert len(found) == told["matter"] <= 2 and told["same"] is False


@pytest.mark.parametrize("name, change", [
    ("created", lambda m: m.update(created="2026-11-25T04:01:23Z")),
    ("verified", lambda m: m.update(verified=False)),
    ("cpus", lambda m: m["host"].update(cpus=64)),
    ("kernel_version", lambda m: m["host"].update(kernel_version="#2")),
    ("file:/models/stories260K.gguf", change_file(0, mode=0o600)),
    ("oracle_answer", lambda m: m.update(oracle_answer="else"))])
def test_what_does_not_matter_is_told_and_is_no_difference(place, name, change):
    done = two(place, change)
    assert done.returncode == 0, (done.stdout, done.stderr)
    told = json.loads(done.stdout)
    assert [(item["name"], item["matters"]) for item in told["differences"]] == [(name, False)]


def digest(salt, name, value):
    return hashlib.sha256(f"{salt}\0{name}\0{value}\0".encode()).hexdigest()


def test_variables_under_two_salts_are_compared_with_those_at_hand(place):
    one = generations.Generation()
    other = one.copy()
    values = {"BOTH": ("here", "here"), "FIRST": ("here", "secret-2"), "LAST": ("secret-1", "here"),
              "NEITHER": ("secret-1", "secret-1")}
    for number, made in enumerate((one, other)):
        salt = str(number) * 32
        made.manifest["identity"].update(env_salt=salt, env=[
            {"name": name, "digest": digest(salt, name, value[number])}
            for name, value in sorted(values.items())])
    one.put(str(place / "a"))
    other.put(str(place / "b"))
    done = snapctl("diff", "--json", place / "a", place / "b",
                   env={name: "here" for name in values})
    told = json.loads(done.stdout)
    assert [item["name"] for item in told["differences"]] == ["env:FIRST", "env:LAST"]
    assert told["unknown_env"] == ["NEITHER"]
    assert "secret" not in done.stdout and "here" not in done.stdout
    assert done.returncode == 1
    told = diff(place / "a", place / "b", status=0, env={})
    assert told["unknown_env"] == sorted(values)


def test_memory_that_did_not_change_is_counted(place):
    generations.Generation([(0x10000000, 1, 5), (0x10010000, 2, 40), (0x10100000, 3, 1)]).put(
        str(place / "a"), "gen-1")
    generations.Generation([(0x10000000, 1, 5), (0x10010000, 9, 40), (0x10900000, 3, 1),
                            (0x10a00000, 3, 1)]).put(str(place / "a"), "gen-2")
    for words in ((place / "a" / "gen-1", place / "a"), (place / "a" / "gen-1",),
                  ("--generation", "gen-1", place / "a"),
                  (place / "a" / "gen-1", place / "a" / "gen-2")):
        told = diff(*words, status=0)
        assert (told["a"]["generation"], told["b"]["generation"]) == ("gen-1", "gen-2")
        same = told["identical"]
        # the compressed one has another neighbour in each, and its memory is the same
        assert same["chunks"] == 2 and same["memory_bytes"] == 6 * 4096
        assert same["chunks_of"] == [3, 4]
        assert told["sizes"]["stored_bytes"] == [46 * 4096, 47 * 4096]
    assert diff("gen-1", status=0, cwd=place / "a")["identical"]["chunks"] == 2


def test_absent_and_damaged_ones_are_no_difference(place):
    store = generations.Generation(generations.CHUNKS).put(str(place / "a"), "gen-1")
    assert snapctl("diff", store, place / "absent").returncode == 4
    assert snapctl("diff", store, store + "/gen-2").returncode == 4
    assert snapctl("diff").returncode == 2
    with open(f"{store}/gen-1/pages.map", "r+b") as file:
        file.truncate(100)
    assert snapctl("diff", store, store).returncode == 5


# --- gc -----------------------------------------------------------------------------------------


def grow_old(store, seconds=2 * HOUR):
    for folder, folders, files in os.walk(store):
        for name in folders + files:
            path = os.path.join(folder, name)
            then = os.stat(path).st_mtime - seconds
            os.utime(path, (then, then))


def make_store(place, *names, current):
    for name in names:
        generations.Generation(generations.CHUNKS).put(str(place / "s"), name, current=False)
    with open(place / "s" / "current", "w", encoding="ascii") as out:
        out.write(current + "\n")
    os.chmod(place / "s" / "current", 0o600)
    grow_old(place / "s")
    return place / "s"


def gc(*words, status=0):
    done = snapctl("gc", "--json", *words)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_gc_tells_what_it_frees_and_frees_it(place):
    store = make_store(place, "gen-1", "gen-2", "gen-3", current="gen-2")
    on_disk = sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
                  for top in ("gen-1", "gen-3") for folder, folders, files in
                  os.walk(store / top) for name in folders + files)
    plan = gc("--dry-run", store)
    assert sorted(os.listdir(store)) == ["current", "gen-1", "gen-2", "gen-3"]
    told = gc(store)
    assert plan["items"] == told["items"] and plan["freed_bytes"] == told["freed_bytes"]
    assert {item["name"]: item["fate"] for item in told["items"]} == {
        "gen-1": "removed", "gen-2": "current", "gen-3": "removed"}
    assert told["freed_bytes"] >= on_disk > 0
    assert sorted(os.listdir(store)) == ["current", "gen-2"]
    assert snapctl("verify", store).returncode == 0
    assert gc(store)["removed"] == 0


def test_gc_keeps_as_many_as_it_is_told(place):
    store = make_store(place, "gen-1", "gen-2", "gen-3", "gen-4", current="gen-4")
    assert gc("--keep", 2, store)["removed"] == 1
    assert sorted(os.listdir(store)) == ["current", "gen-2", "gen-3", "gen-4"]
    assert snapctl("gc", "--keep", "-1", store).returncode == 2


def test_gc_leaves_what_somebody_holds(place):
    store = make_store(place, "gen-1", "gen-2", current="gen-2")
    fd = os.open(store / "gen-1", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        told = gc(store)
        assert told["removed"] == 0
        assert [item["fate"] for item in told["items"]] == ["in-use", "current"]
        assert "in use" in snapctl("gc", store).stdout
    finally:
        os.close(fd)
    assert gc(store)["removed"] == 1


def test_export_holds_what_it_reads(place):
    """It waits at a full pipe, with its generation open."""
    store = make_store(place, "gen-1", "gen-2", current="gen-2")
    big = generations.Generation([(0x10000000, 5, 512), (0x20000000, 6, 512), (0x30000000, 7, 512)])
    shutil.rmtree(store / "gen-1")
    big.put(str(store), "gen-1", current=False)
    grow_old(store / "gen-1")
    with subprocess.Popen([SNAPCTL, "export", "--generation", "gen-1", "--compress", "none",
                           "--tar", "-", store], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as export:
        export.stdout.read(1)
        assert [item["fate"] for item in gc(store)["items"]] == ["in-use", "current"]
        assert len(export.stdout.read()) > 1 << 20
        said = export.stderr.read()
    assert export.returncode == 0, said
    assert gc(store)["removed"] == 1


def test_gc_without_a_current_generation_looks_at_ages_alone(place):
    store = make_store(place, "gen-1", "gen-2", current="gen-2")
    os.unlink(store / "current")
    os.utime(store / "gen-2" / "manifest.json")
    told = gc(store)
    assert [item["fate"] for item in told["items"]] == ["removed", "fresh"]


def test_gc_refuses_what_is_no_store(place):
    assert snapctl("gc", place / "absent").returncode == 4
    (place / "other").mkdir(mode=0o700)
    assert snapctl("gc", place / "other").returncode == 0  # nothing in it: one to come
    (place / "other" / "file").touch()
    done = snapctl("gc", place / "other")
    assert done.returncode == 4 and "there is no snapshot in it" in done.stderr
    store = make_store(place, "gen-1", "gen-2", current="../gen-1")
    done = snapctl("gc", store)
    assert done.returncode == 5 and "names no generation" in done.stderr
    assert sorted(os.listdir(store)) == ["current", "gen-1", "gen-2"]


def test_links_lead_gc_nowhere(place):
    store = make_store(place, "gen-1", "gen-2", current="gen-2")
    (place / "precious").mkdir()
    (place / "precious" / "file").write_text("mine")
    os.symlink(place / "precious", store / "gen-1" / "criu" / "link")
    os.symlink(place / "precious", store / "gen-7")
    grow_old(store / "gen-1")
    os.utime(store / "gen-7", (1, 1), follow_symlinks=False)
    gc(store)
    assert (place / "precious" / "file").read_text() == "mine"
    assert not (store / "gen-1").exists()
