# SPDX-License-Identifier: Apache-2.0
"""Snapshots as one archive: what comes out is what went in, and nothing else gets into a store."""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests"))

from lib import damaged_manifests, generations, namespaces  # noqa: E402  (needs the path above)

BUILD = pathlib.Path(os.environ.get("SNAP_BUILD", SOURCE / "build" / "dev"))
SNAPCTL = str(BUILD / "cli" / "snapctl")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users need root")


def snapctl(*args, **how):
    how = {"capture_output": True, "timeout": 60, "check": False, **how}
    return subprocess.run([SNAPCTL, *map(str, args)], **how)


def told(done, status=0):
    assert done.returncode == status, (done.returncode, done.stdout[:500], done.stderr)
    return done.stdout


@pytest.fixture(name="place")
def make_place():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="test_archive."))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(name="whole", params=["pages", "plain"])
def make_whole(request):
    return generations.Generation(generations.CHUNKS if request.param == "pages" else None)


def tree(store):
    """{path: (mode, bytes)} of all that is below."""
    found = {}
    for folder, folders, files in os.walk(store):
        for name in folders + files:
            path = os.path.join(folder, name)
            data = b""
            if name in files:
                with open(path, "rb") as file:
                    data = file.read()
            found[os.path.relpath(path, store)] = (os.lstat(path).st_mode & 0o7777, data)
    return found


def pack(place, generation, *options, store="from"):
    store = generation.put(str(place / store))
    path = place / "snap.tar"
    path.unlink(missing_ok=True)
    told(snapctl("export", "--tar", path, *options, store))
    return path


def without_gaps(data, generation):
    """pages.dat as an archive has it: what no chunk names is zero."""
    return data.replace(b"\xee", b"\0") if generation.pages_bytes else data


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_imported_generation_is_the_exported_one(place, whole, compress):
    path = pack(place, whole, "--compress", compress)
    assert path.stat().st_mode & 0o7777 == 0o600
    result = json.loads(told(snapctl("import", "--json", path, place / "to")))
    assert (result["schema"], result["generation"], result["was"]) == \
        ("snapctl.import/v1", "gen-1", "gen-3")
    assert result["archive_bytes"] == path.stat().st_size
    before, after = tree(place / "from"), tree(place / "to")
    assert after.pop("current")[1] == b"gen-1\n"
    assert not [name for name in after if not name.startswith("gen-1")]
    for name, (mode, data) in after.items():
        assert mode == (0o700 if os.path.isdir(place / "to" / name) else 0o600), name
        there = before.pop(name.replace("gen-1", "gen-3"))[1]
        if name == "gen-1/manifest.json":
            there = damaged_manifests.seal({**json.loads(there), "generation": "gen-1"})
        if name == "gen-1/pages.dat":
            there = without_gaps(there, whole)
        assert data == there, name
    assert set(before) == {"current"}
    told(snapctl("verify", place / "to"))


def test_equal_generations_are_equal_archives_and_tar_reads_them(place, whole):
    one = pack(place, whole).read_bytes()
    os.utime(place / "from" / "gen-3" / "criu" / "inventory.img", (1, 1))
    assert pack(place, whole).read_bytes() == one
    plain = pack(place, whole, "--compress", "none")
    with tarfile.open(plain) as tar:
        infos = tar.getmembers()
        assert [info.name for info in infos] == [name for name, _ in whole.members()]
        assert {(info.mode, info.uid, info.gid, info.uname, info.isreg()) for info in infos} == \
            {(0o600, 0, 0, "", True)}
        assert tar.extractfile("criu/inventory.img").read() == b"inventory"


def test_archive_goes_through_a_pipe(place, whole):
    whole.put(str(place / "from"))
    with subprocess.Popen([SNAPCTL, "export", "--tar", "-", place / "from"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sender:
        done = snapctl("import", "-", place / "to", stdin=sender.stdout)
        sender.stdout.close()
        said = sender.stderr.read()
    assert sender.returncode == 0 and b"gen-3 - " in said, said
    told(done)
    told(snapctl("verify", place / "to"))


def test_result_is_json_beside_the_archive_on_stdout(place, whole):
    done = snapctl("export", "--tar", "-", "--json", "--compress", "none",
                   whole.put(str(place / "from")))
    assert told(done)[257:262] == b"ustar"
    result = json.loads(done.stderr)
    assert result["tar"] == "-" and result["archive_bytes"] == len(done.stdout)


def test_members_of_a_later_version_stay(place):
    whole = generations.Generation(generations.CHUNKS, of_tomorrow={"a": [1, "ü"]})
    told(snapctl("import", pack(place, whole), place / "to"))
    with open(place / "to" / "gen-1" / "manifest.json", encoding="utf-8") as text:
        assert json.load(text)["of_tomorrow"] == {"a": [1, "ü"]}


def test_store_that_is_there_gets_one_more_generation(place, whole):
    path = pack(place, whole)
    store = generations.Generation().put(str(place / "to"), "gen-7")
    before = tree(store)
    told(snapctl("import", path, store))
    after = tree(store)
    assert after.pop("current")[1] == b"gen-8\n"
    before.pop("current")
    assert all(after[name] == value for name, value in before.items())
    assert "gen-8/manifest.json" in after


def test_nothing_is_overwritten(place, whole):
    path = pack(place, whole)
    before = path.read_bytes()
    done = snapctl("export", "--tar", path, place / "from")
    assert done.returncode == 2 and b"exists" in done.stderr
    assert path.read_bytes() == before


def test_damaged_generation_is_not_exported(place):
    whole = generations.Generation(generations.CHUNKS)
    store = pathlib.Path(whole.put(str(place / "from")))
    for name in whole.files:
        data = whole.files[name]
        if not data:
            continue
        damaged = bytearray(data)
        damaged[-1] ^= 1
        (store / "gen-3" / name).write_bytes(damaged)
        done = snapctl("export", "--tar", place / "x.tar", store)
        assert done.returncode == 5 and name.encode() in done.stderr, done.stderr
        assert not (place / "x.tar").exists()
        (store / "gen-3" / name).write_bytes(data)
    told(snapctl("export", "--tar", place / "x.tar", store))


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_export_that_failed_half_way_is_no_archive(place, compress):
    whole = generations.Generation(generations.CHUNKS)
    store = pathlib.Path(whole.put(str(place / "from")))
    with open(store / "gen-3" / "pages.dat", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    sent = snapctl("export", "--tar", "-", "--compress", compress, store)
    assert sent.returncode == 5 and sent.stderr.count(b"\n") == 1
    assert snapctl("import", "-", place / "to", input=sent.stdout).returncode == 5
    assert not (place / "to").exists()


# --- what is no archive of ours -----------------------------------------------------------------


def refused(place, data, *words, status=5):
    """Says why in one line, and leaves nothing, in a store that was absent and in one that was
    not."""
    path = place / "hostile.tar"
    path.write_bytes(data)
    store = place / "absent"
    done = snapctl("import", path, store)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.count(b"\n") == 1
    for word in words:
        assert word.encode() in done.stderr, done.stderr
    assert not store.exists()
    there = place / "there"
    if not there.exists():
        generations.Generation().put(str(there), "gen-2")
    before = tree(there)
    assert snapctl("import", "-", there, input=data).returncode == status
    assert tree(there) == before
    assert sorted(os.listdir(place)) == sorted(
        {"hostile.tar", "there"} | ({"from", "snap.tar"} & set(os.listdir(place))))


def members_of(generation):
    return [generations.entry(name, data) for name, data in generation.members()]


@pytest.mark.parametrize("data, word", [
    (b"", "none of ours"), (b"hello\n" * 1000, "none of ours"),
    (b"\x28\xb5\x2f\xfd" + b"\0" * 100, "archive"), (b"PK\x03\x04" + b"\0" * 600, "none of ours"),
    (b"\0" * 10240, "manifest.json")])
def test_foreign_file_is_refused(place, data, word):
    refused(place, data, word)


@pytest.mark.parametrize("info, words", [
    (generations.entry("../evil", b"x"), ("'../evil'", "leads out")),
    (generations.entry("criu/../../evil", b"x"), ("leads out",)),
    (generations.entry("criu/..", b"x"), ("leads out",)),
    (generations.entry("/etc/evil", b"x"), ("leads out",)),
    (generations.entry("criu/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
     ("'criu/link'", "symbolic link")),
    (generations.entry("criu/hard", type=tarfile.LNKTYPE, linkname="manifest.json"),
     ("hard link",)),
    (generations.entry("criu/empty.img", type=tarfile.LNKTYPE, linkname="manifest.json"),
     ("hard link",)),
    (generations.entry("criu", type=tarfile.DIRTYPE), ("folder",)),
    (generations.entry("criu/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), ("device",)),
    (generations.entry("criu/disk", type=tarfile.BLKTYPE, devmajor=8), ("device",)),
    (generations.entry("criu/fifo", type=tarfile.FIFOTYPE), ("fifo",)),
    (generations.entry("criu/stranger", b"x"), ("'criu/stranger'", "belongs")),
    (generations.entry("current", b"gen-9\n"), ("'current'", "belongs")),
    (generations.entry("manifest.json", b"{}"), ("'manifest.json'", "belongs")),
    (generations.entry("./criu/empty.img", b""), ("belongs",)),
    (generations.entry("criu/\x1b[31m", b"x"), ("criu/?[31m",))])
@pytest.mark.parametrize("where", ["second", "last"])
def test_hostile_member_is_refused_by_name(place, info, words, where):
    members = members_of(generations.Generation())
    members.insert(1 if where == "second" else len(members), info)
    if where == "last":
        words = [word for word in words if word != "belongs"]
    refused(place, generations.archive(members), *words)


def test_every_missing_double_or_moved_member_is_refused(place):
    members = members_of(generations.Generation(generations.CHUNKS))
    for i, (info, data) in enumerate(members):
        refused(place, generations.archive(members[:i] + members[i + 1:]), info.name)
        refused(place, generations.archive(members[:i] + [members[i]] + members[i:]))
        if i > 0:
            refused(place, generations.archive(
                members[:i - 1] + [members[i], members[i - 1]] + members[i + 1:]))
        for other in (data[:-2], data + b"x"):
            if other != data:
                refused(place, generations.archive(
                    members[:i] + [generations.entry(info.name, other)] + members[i + 1:]))


def test_every_damaged_member_is_refused(place):
    members = members_of(generations.Generation(generations.CHUNKS))
    for i, (info, data) in enumerate(members[1:], 1):
        if not data:
            continue
        damaged = bytearray(data)
        damaged[-1] ^= 1
        refused(place, generations.archive(
            members[:i] + [generations.entry(info.name, bytes(damaged))] + members[i + 1:]),
            info.name)


def test_manifest_with_names_of_its_own_is_refused(place):
    for name, word in (("manifest.json", "images["), ("kdat/x", "images["),
                       ("criu/a/b", "images["), ("criu", "images["),
                       ("pages.dat", "images["), ("../x", "manifest.json")):
        whole = generations.Generation()
        whole.manifest["images"].append({"name": name, "size": 1,
                                         "digest": generations.digest(b"x")})
        whole.manifest["images"].sort(key=lambda image: image["name"])
        whole.files[name] = b"x"
        refused(place, generations.archive(members_of(whole)), word)
    whole = generations.Generation()
    whole.manifest["images"].reverse()
    refused(place, generations.archive(members_of(whole)), "ascending order")
    whole = generations.Generation()
    whole.manifest["images"].append(whole.manifest["images"][-1])
    refused(place, generations.archive(members_of(whole)), "ascending order")


def test_manifest_of_a_later_schema_is_told_as_incompatible(place):
    whole = generations.Generation(schema=2)
    refused(place, generations.archive(members_of(whole)), "schema 2", status=4)
    whole = generations.Generation(requires=["of-tomorrow"])
    refused(place, generations.archive(members_of(whole)), "of-tomorrow", status=4)


def test_announced_sizes_are_bounded_before_anything_is_written(place):
    whole = generations.Generation()
    image = whole.manifest["images"][-1]
    image["size"] = 1 << 60
    refused(place, generations.archive(members_of(whole)), "MiB free", status=3)
    whole.manifest["images"][0]["size"] = 2**63 - 1
    refused(place, generations.archive(members_of(whole)), "larger than any disk")
    whole = generations.Generation(snapshot_bytes=0)
    whole.manifest["snapshot_bytes"] = 2**63 - 1
    refused(place, generations.archive(members_of(whole)), "MiB free", status=3)
    huge = generations.entry("manifest.json", b"")
    huge[0].size = 17 << 20
    data = tarfile.TarInfo.tobuf(huge[0], tarfile.USTAR_FORMAT) + b" " * 100000
    refused(place, data, "more than")


def test_cut_short_anywhere_is_refused_or_whole(place):
    """What is cut behind the last member lacks nothing."""
    whole = generations.Generation(generations.CHUNKS)
    for compress in ("none", "zstd"):
        data = pack(place, whole, "--compress", compress).read_bytes()
        end = len(data) - 1024 if compress == "none" else len(data) - 64
        for size in list(range(0, end, max(1, end // 37))) + [end - 513]:
            refused(place, data[:max(0, size)])
    for size in (len(data) - 1, len(data)):
        done = snapctl("import", "-", place / f"cut-{size}", input=data[:size])
        assert done.returncode in (0, 5)
        if done.returncode == 0:
            told(snapctl("verify", place / f"cut-{size}"))
    assert (place / f"cut-{len(data)}").exists()


def put_lease(store, pid):
    """Of a process that lives, in our pid namespace."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    ticks = stat[stat.rindex(")") + 2:].split()[19]
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with open(f"{store}/lease", "w", encoding="ascii") as lease:
        lease.write(f"pid {pid}\nstart_ticks {ticks}\nboot_id {boot}\n"
                    f"pid_ns {os.stat('/proc/self/ns/pid').st_ino}\n"
                    f"expires_ms {int(time.time() * 1000) + 100000}\ntoken {'0' * 32}\n")


def test_store_of_others_and_busy_store_are_refused(place, whole):
    path = pack(place, whole)
    store = generations.Generation().put(str(place / "to"))
    os.chmod(store, 0o777)
    assert snapctl("import", path, store).returncode == 5
    os.chmod(store, 0o700)
    put_lease(store, os.getpid())
    before = tree(store)
    done = snapctl("import", path, store)
    assert done.returncode == 3 and str(os.getpid()).encode() in done.stderr
    assert tree(store) == before


@needs_root
def test_full_disk_leaves_nothing(place):
    whole = generations.Generation([(0x10000000, 1, 512)] * 1)
    path = pack(place, whole)
    small = place / "small"
    small.mkdir()
    namespaces.mount("tmpfs", str(small), "tmpfs", 0, "size=1M")
    try:
        done = snapctl("import", path, small / "store")
        assert done.returncode == 3 and b"MiB free" in done.stderr
        assert os.listdir(small) == []
        done = snapctl("export", "--tar", small / "x.tar", "--compress", "none", place / "from")
        assert done.returncode == 3 and b"No space left" in done.stderr
        assert os.listdir(small) == []
    finally:
        namespaces.umount(str(small))


def test_import_does_not_claim_what_was_verified_elsewhere(place):
    whole = generations.Generation(generations.CHUNKS)
    for verified, told in (True, b"verified where it was made and not here"), (False, b"not verified"):
        whole.manifest["verified"] = verified
        done = snapctl("import", pack(place, whole, store=f"from-{verified}"), place / f"to-{verified}")
        assert done.returncode == 0 and done.stdout.strip().endswith(b", " + told), done


@needs_root
def test_store_of_the_engines_user_stays_theirs(place, whole):
    path = pack(place, whole)
    os.mkdir(place / "to", 0o700)
    os.chown(place / "to", 65534, 65534)
    told(snapctl("import", path, place / "to"))
    for folder, folders, files in os.walk(place / "to"):
        for name in folders + files:
            assert os.lstat(os.path.join(folder, name)).st_uid == 65534, name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_interrupted_import_publishes_nothing(place, whole, number):
    data = pack(place, whole, "--compress", "none").read_bytes()
    store = pathlib.Path(generations.Generation().put(str(place / "to"), "gen-2"))
    with subprocess.Popen([SNAPCTL, "import", "-", store], stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE, bufsize=0) as reader:
        reader.stdin.write(data[:len(data) - 3000])
        end = time.monotonic() + 30
        while not (store / "gen-3" / "criu" / "inventory.img").exists():
            assert time.monotonic() < end and reader.poll() is None
            time.sleep(0.01)
        # gc has the lease and lets be what somebody holds
        told(snapctl("gc", store))
        assert (store / "gen-3").exists() and not (store / "lease").exists()
        reader.send_signal(number)
        reader.wait(30)
    assert reader.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert (store / "current").read_text() == "gen-2\n"
    if number == signal.SIGKILL:
        assert (store / "gen-3").exists()
        assert not (store / "gen-3" / "manifest.json").exists()
        for folder in ("", "criu", "files", "pages.dat"):
            if (store / "gen-3" / folder).exists():
                os.utime(store / "gen-3" / folder, (1, 1))
        told(snapctl("gc", store))
    assert sorted(os.listdir(store)) == ["current", "gen-2"]


def begin_import(data, store):
    """An import whose input has given so much and then nothing; it has begun to write."""
    reader = subprocess.Popen([SNAPCTL, "import", "-", store],  # pylint: disable=consider-using-with
                              stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    reader.stdin.write(data)
    end = time.monotonic() + 30
    while not list(store.glob("gen-3/criu/inventory.img")):
        assert time.monotonic() < end and reader.poll() is None
        time.sleep(0.01)
    return reader


def test_stalled_import_blocks_nobody(place, whole):
    path = pack(place, whole, "--compress", "none")
    data = path.read_bytes()
    store = pathlib.Path(generations.Generation().put(str(place / "to"), "gen-2"))
    with begin_import(data[:-3000], store) as reader:
        # whoever publishes collects what is half made, but for what is held
        assert told(snapctl("import", path, store)).split()[1] == b"gen-4"
        assert (store / "current").read_text() == "gen-4\n" and (store / "gen-3").exists()
        reader.stdin.write(data[-3000:])
        reader.stdin.close()
        assert reader.wait(30) == 0, reader.stderr.read()
    assert (store / "current").read_text() == "gen-3\n"
    assert sorted(os.listdir(store)) == ["current", "gen-3", "gen-4"]
    told(snapctl("verify", store))


@contextlib.contextmanager
def waiting_import(place, whole):
    """(process, store): all is read, and somebody else holds the lease."""
    data = pack(place, whole, "--compress", "none").read_bytes()
    store = pathlib.Path(generations.Generation().put(str(place / "to"), "gen-2"))
    with begin_import(data[:-3000], store) as reader:
        put_lease(store, os.getpid())
        reader.stdin.write(data[-3000:])
        reader.stdin.close()
        end = time.monotonic() + 30
        while not (store / "gen-3" / "manifest.json").exists():
            assert time.monotonic() < end and reader.poll() is None
            time.sleep(0.01)
        yield reader, store


def test_import_waits_with_what_it_has_for_who_holds_the_lease(place, whole):
    with waiting_import(place, whole) as (reader, store):
        time.sleep(0.3)  # some tries
        assert reader.poll() is None and (store / "current").read_text() == "gen-2\n"
        (store / "lease").unlink()
        assert reader.wait(30) == 0, reader.stderr.read()
        assert (store / "current").read_text() == "gen-3\n"


def test_waiting_import_can_be_stopped(place, whole):
    with waiting_import(place, whole) as (reader, store):
        reader.terminate()
        assert reader.wait(30) == 128 + signal.SIGTERM
    assert sorted(os.listdir(store)) == ["current", "gen-2", "lease"]


def zstd(data):
    library = ctypes.CDLL("libzstd.so.1")
    room = library.ZSTD_compressBound
    room.restype, room.argtypes = ctypes.c_size_t, [ctypes.c_size_t]
    compress = library.ZSTD_compress
    compress.restype = ctypes.c_size_t
    compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
                         ctypes.c_int]
    out = ctypes.create_string_buffer(room(len(data)))
    size = compress(out, len(out), data, len(data), 3)
    return out.raw[:size]


def test_archive_compressed_twice_is_refused(place, whole):
    once = zstd(pack(place, whole, "--compress", "none").read_bytes())
    refused(place, zstd(once), "compressed more than once")
    refused(place, zstd(zstd(once)), "compressed more than once")
    (place / "once.tar").write_bytes(once)
    told(snapctl("import", place / "once.tar", place / "to"))


def test_reader_that_goes_is_a_failure_not_a_death(place):
    whole = generations.Generation([(0x10000000, i, 500) for i in range(1)])
    store = whole.put(str(place / "from"))
    with subprocess.Popen([SNAPCTL, "export", "--tar", "-", "--compress", "none", store],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sender:
        sender.stdout.read(10)
        sender.stdout.close()
        said = sender.stderr.read()
    assert sender.returncode == 1 and b"Broken pipe" in said
