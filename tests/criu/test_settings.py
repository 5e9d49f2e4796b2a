# SPDX-License-Identifier: Apache-2.0
"""
What a place may deny, and where a store may lie: an engine with page files is captured and woken
there, has every byte it had, and the log names what filled its memory and what read the files.
The table of docs/containers.md is this file's.
"""

import contextlib
import errno
import os
import shutil
import subprocess

import pytest

from lib import engines, namespaces, oci
from lib.containers import Container, default_env
from lib.starts import Start, descendants_of, status_field, wait_until

MIB = 1 << 20
HEAP, SHM = 24 * MIB, 8 * MIB
IO_URING_DISABLED = "/proc/sys/kernel/io_uring_disabled"
UNPRIVILEGED_UFFD = "/proc/sys/vm/unprivileged_userfaultfd"
IO_URING = ("io_uring_setup", "io_uring_enter", "io_uring_register")
USER = 1000

# what a container's own calls are answered with: errno, 0 for a descriptor
PROBE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
params = ctypes.create_string_buffer(120)
for call in ((425, 1, params), (323, 0), (323, 1)):
    print(0 if libc.syscall(*call) >= 0 else ctypes.get_errno())
"""

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls by number of x86-64")


def engine_for(programs, *more, threads=2):
    return engines.heap_engine(programs, 8041, "--heap", str(HEAP), "--shm", str(SHM), "--threads",
                               str(threads), *more)


def answers_of(start, engine):
    """A digest of every byte, and the engine's own word that none has changed since its boot."""
    assert start.wait_http(engine.port, "/check") == b"PASS\n"
    return engine.ask(start)


def captured(where, store, engine, **options):
    with where.start(store, engine, capture="first-boot", **options) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
        return answers_of(start, engine)


def woken(where, store, engine, answer, *words, **options):
    """The record of the fill."""
    with where.start(store, engine, extra=words, **options) as start:
        record = start.wait_record("wake.done", "boot.cold", seconds=60)
        assert record["event"] == "wake.done", start.tail()
        assert answers_of(start, engine) == answer
        assert not start.records("boot.cold", "wake.failed", "wake.refused"), start.tail()
        fills = start.records("wake.fill")
        assert len(fills) == 1, start.tail()
        return fills[0]


def assert_fill(fill, filler, reader, *, bytes_min=HEAP + SHM - 2 * MIB):
    assert fill["bytes"] >= bytes_min, fill
    assert (fill["filler"], fill["reader"]) == (filler, reader), fill
    assert (fill["ring_bytes"] > 0) == (filler == "ring"), fill


def answered(boxes, **options):
    """What a container with these options is answered: io_uring, userfaultfd, that of user mode."""
    with Container(boxes.workplace, [engines.PYTHON, "-c", PROBE], **options) as box:
        assert box.wait_exit() == 0, box.tail()
        return tuple(int(line) for line in box.stdout.split())


@contextlib.contextmanager
def sysctl(path, value):
    """A setting of the whole machine, for as short as may be."""
    try:
        with open(path, encoding="ascii") as text:
            before = text.read()
        with open(path, "w", encoding="ascii") as text:
            text.write(str(value))
    except OSError as error:
        pytest.skip(f"{path}: {error.strerror}")
    try:
        yield
    finally:
        with open(path, "w", encoding="ascii") as text:
            text.write(before)


# --- places for a store


def file_system(path):
    return subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", path], check=True,
                          capture_output=True, text=True).stdout.strip()


def mount_image(programs):
    """An ext4 of our own, for a build folder on something else; (where, image)."""
    image = os.path.join(programs.build, f"settings.{os.getpid()}.ext4")
    with open(image, "wb") as made:
        made.truncate(512 * MIB)
    point = image + ".mounted"
    os.mkdir(point)
    for command in (["mkfs.ext4", "-q", "-F", image], ["mount", "-o", "loop", image, point]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            os.rmdir(point)
            os.unlink(image)
            pytest.skip(f"no ext4: {done.stderr.strip()}")
    return point, image


@pytest.fixture(scope="module")
def disk(workplace, programs):
    """An empty folder on ext4."""
    if file_system(programs.build) == "ext4" and not os.environ.get("SNAP_TEST_LOOP"):
        folder = os.path.join(programs.build, f"settings.{os.getpid()}")
        os.mkdir(folder, 0o755)
        yield folder
        shutil.rmtree(folder)
        return
    point, image = mount_image(programs)
    yield point
    subprocess.run(["umount", point], check=True)
    os.rmdir(point)
    os.unlink(image)


def store_on(disk, uid=0):
    store = os.path.join(disk, f"store-{len(os.listdir(disk))}")
    os.mkdir(store, 0o700)
    os.chown(store, uid, uid)
    return store


@contextlib.contextmanager
def overlay(workplace, lower, upper=None, work=None):
    point = workplace.folder("overlay")
    layers = f"lowerdir={lower}" + (f",upperdir={upper},workdir={work}" if upper else
                                    f":{workplace.folder('empty')}")
    namespaces.mount("overlay", point, "overlay", 0, layers)
    try:
        yield point
    finally:
        namespaces.umount(point)


@contextlib.contextmanager
def store_of_kind(kind, workplace, disk):
    if kind == "ext4":
        yield store_on(disk)
    elif kind == "tmpfs":
        yield workplace.store()
    else:
        upper, work = store_on(disk), store_on(disk)
        with overlay(workplace, workplace.folder("lower"), upper, work) as point:
            yield point


class Snapshot:
    """One snapshot of setting B on a disk, for what only wakes."""

    def __init__(self, programs, store):
        self.engine = engine_for(programs)
        self.store = store
        self.answer = None


@pytest.fixture(scope="module")
def made_in_b(workplace, programs, disk):
    made = Snapshot(programs, store_on(disk))
    with Container(workplace, programs.snapinit_args("/snapshot", made.engine,
                                                     capture="first-boot"),
                   store=made.store) as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
        made.answer = answers_of(start, made.engine)
    return made


# --- io_uring and userfaultfd denied


@pytest.mark.parametrize("setting", ["A", "B"])
@pytest.mark.parametrize("value", [1, 2])
def test_io_uring_denied_by_sysctl(boxes, disk, value, setting):
    """1 denies it to all without SYS_ADMIN of the first user namespace, 2 to all."""
    engine, store = engine_for(boxes.programs), store_on(disk)
    denied = value == 2 or setting == "B"
    with sysctl(IO_URING_DISABLED, value):
        assert answered(boxes, setting=setting)[0] == (errno.EPERM if denied else 0)
        answer = captured(boxes, store, engine, setting=setting)
        fill = woken(boxes, store, engine, answer, setting=setting)
        asked = woken(boxes, store, engine, answer, "--filler", "ring", setting=setting)
    assert_fill(fill, "writev", "pread" if denied else "uring")
    assert_fill(asked, "writev" if denied else "ring", "pread" if denied else "uring")
    assert os.strerror(errno.EPERM) in asked["why"] if denied else "why" not in asked


def test_reader_that_is_demanded_and_denied_boots_cold_by_name(boxes, disk):
    """The wake breaks when the tree is there: many threads, and a port that is to be free again."""
    engine, store = engine_for(boxes.programs, threads=32), store_on(disk)
    answer = captured(boxes, store, engine)
    with sysctl(IO_URING_DISABLED, 2):
        with boxes.start(store, engine, extra=("--reader", "uring")) as start:
            record = start.wait_record("wake.failed", "wake.done")
            assert record["event"] == "wake.failed" and record["code"] == "preflight"
            assert "io_uring" in record["msg"] and "--reader auto" in record["msg"]
            assert answers_of(start, engine) == answer
            assert len(start.engine_roots()) == 1


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize("denied", [IO_URING, ("userfaultfd",), (*IO_URING, "userfaultfd")],
                         ids=["io_uring", "userfaultfd", "both"])
def test_call_denied_by_seccomp(boxes, made_in_b, denied, number):
    """Setting C: wakes of what was captured without a filter."""
    options = {"setting": "C", "seccomp": oci.seccomp_denying(denied, number)}
    ring, *faults = answered(boxes, **options)
    assert ring == (number if IO_URING[0] in denied else 0)
    assert number in faults if "userfaultfd" in denied else faults[1] == 0
    reader = "pread" if IO_URING[0] in denied else "uring"
    made = made_in_b
    fill = woken(boxes, made.store, made.engine, made.answer, **options)
    assert_fill(fill, "writev", reader)
    asked = woken(boxes, made.store, made.engine, made.answer, "--filler", "ring", **options)
    # the filter is the engine's too, and might answer our calls with a signal
    assert_fill(asked, "writev", reader)
    assert "seccomp filter" in asked["why"]


def test_userfaultfd_denied_by_sysctl(boxes, disk):
    """Without SYS_PTRACE what is left is that of user mode, which nothing can do a wake with."""
    engine, store = engine_for(boxes.programs), store_on(disk)
    with sysctl(UNPRIVILEGED_UFFD, 0):
        assert answered(boxes, setting="B")[1] == errno.EPERM
        answer = captured(boxes, store, engine, setting="B")
        assert_fill(woken(boxes, store, engine, answer, setting="B"), "writev", "uring")


# --- setting B


def capabilities_of(pid, name="CapEff"):
    return int(status_field(pid, name), 16)


def test_dockers_capabilities_and_checkpoint_restore(boxes, disk):
    engine, store = engine_for(boxes.programs), store_on(disk)
    wanted = oci.mask_of(oci.DOCKER_CAPS + ("CHECKPOINT_RESTORE",))
    answer = captured(boxes, store, engine, setting="B")
    with boxes.start(store, engine, setting="B") as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert capabilities_of(start.pid) == capabilities_of(start.pid, "CapBnd") == wanted
        assert {capabilities_of(entry[0]) for entry in start.processes()} == {wanted}
    for words, filler in ((), "writev"), (("--filler", "ring"), "ring"):
        assert_fill(woken(boxes, store, engine, answer, *words, setting="B"), filler, "uring")


# a connection that both ends have shut down; argv: for how many seconds the served end is kept
KEEPS_SHUT_DOWN = """
import http.server, socket, sys, threading
listener = socket.create_server(("127.0.0.1", 8044))
client = socket.create_connection(("127.0.0.1", 8044))
kept = listener.accept()[0]
for end in client, kept:
    end.shutdown(socket.SHUT_RDWR)
client.close()
threading.Timer(float(sys.argv[1]), kept.close).start()
http.server.HTTPServer(("127.0.0.1", 8043), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def keeps_shut_down(seconds):
    return engines.Engine("shut", (engines.PYTHON, "-c", KEEPS_SHUT_DOWN, str(seconds)), 8043,
                          ready="http://127.0.0.1:8043/", oracle="none")


def test_kept_descriptor_of_an_ended_connection_is_refused_by_name(bench):
    """No table of the kernel has it, and CRIU would refuse it with the engine frozen."""
    engine = keeps_shut_down(3600)
    with bench.start(bench.workplace.store(), engine, capture="first-boot",
                     extra=["--quiet-timeout", "300ms"]) as start:
        failed = start.wait_record("capture.failed", "capture.done", seconds=60)
        assert failed["event"] == "capture.failed", start.tail()
        assert "tcp 127.0.0.1:8044" in failed["msg"] and "shut down and not closed" in failed["msg"]
        assert failed["code"] == "unsnapshotable", failed
        assert start.http(engine.port, "/")[0] == 200


def test_capture_waits_for_the_end_of_a_kept_descriptor(bench):
    store, engine = bench.workplace.store(), keeps_shut_down(2)
    with bench.start(store, engine, capture="first-boot") as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
    with bench.start(store, engine) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()


class SnapctlBench:
    """Starts by snapctl run, by another user if there is a prefix for its command line."""

    def __init__(self, workplace, programs, prefix=(), purpose="full"):
        self.workplace = workplace
        self.programs = programs
        self.prefix = list(prefix)
        self.purpose = purpose

    def start(self, store, engine, *, extra=(), **_):
        return SnapctlRun(self, store, engine, extra)

    def create(self, store, engine):
        """How it ended; the store need not be there."""
        programs = self.programs
        return subprocess.run(
            [*self.prefix, programs.snapctl, "create", "--for", self.purpose, "--output", store,
             "--criu", programs.criu, "--ready", engine.ready, "--oracle", engine.oracle, "--",
             *engine.argv], env=default_env("host"), cwd="/", capture_output=True, text=True,
            timeout=120, check=False)


class SnapctlRun(Start):
    def __init__(self, bench, store, engine, extra):
        super().__init__(bench.workplace.folder(engine.name), own_net=False)
        programs = bench.programs
        fds, opened = self.open_streams(None)
        command = [*bench.prefix, programs.snapctl, "run", "--for", bench.purpose, "--snapshot",
                   store, "--criu", programs.criu, "--log-format", "json", "--ready", engine.ready,
                   "--oracle", engine.oracle, *extra, "--", *engine.argv]
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            command, stdin=fds[0], stdout=fds[1], stderr=fds[2], env=default_env("host"), cwd="/")
        for fd in opened:
            os.close(fd)
        self.pid = wait_until("snapinit", self._find, 10)

    def _find(self):
        for pid in [self.process.pid, *descendants_of(self.process.pid)]:
            if status_field(pid, "Name") == "snapinit":
                return pid
        if self.process.poll() is not None:
            raise AssertionError(f"snapctl ended with {self.process.returncode}:\n{self.tail()}")
        return None


def test_snapctl_for_docker(boxes, disk):
    """What snapctl made wakes by snapctl and in a container."""
    engine, store = engine_for(boxes.programs), store_on(disk)
    bench = SnapctlBench(boxes.workplace, boxes.programs, purpose="docker")
    made = bench.create(store, engine)
    assert made.returncode == 0, made.stderr
    with boxes.start(boxes.workplace.store(), engine) as start:  # cold
        answer = answers_of(start, engine)
    assert_fill(woken(bench, store, engine, answer), "writev", "uring")
    assert_fill(woken(boxes, store, engine, answer, setting="B"), "writev", "uring")


# --- a user namespace and no right outside of it


AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


@pytest.fixture(params=["snapctl's own", "unshare -Ur"])
def unprivileged(request, place, programs):
    prefix = AS_USER + (["unshare", "-Ur"] if request.param == "unshare -Ur" else [])
    done = subprocess.run([*AS_USER, "unshare", "-Ur", programs.snapctl, "version"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no user namespace, or user {USER} cannot reach {programs.snapctl}: "
                    f"{done.stderr.strip()}")
    return SnapctlBench(place, programs, prefix)


@pytest.mark.parametrize("purpose", ["docker", "full"])
def test_unprivileged_user_namespace(unprivileged, disk, purpose):
    unprivileged.purpose = purpose
    engine, store = engine_for(unprivileged.programs, "--close-shm"), store_on(disk, USER)
    made = unprivileged.create(store, engine)
    assert made.returncode == 0, made.stderr
    with unprivileged.start(store + ".none", engine) as start:  # cold
        assert start.wait_record("boot.cold")
        answer = answers_of(start, engine)
    with unprivileged.start(store, engine) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        for pid in [start.pid, start.engine_roots()[0][0]]:
            assert status_field(pid, "Uid").split() == [str(USER)] * 4
            with open(f"/proc/{pid}/uid_map", encoding="ascii") as mapped:
                assert mapped.read().split() == ["0", str(USER), "1"]
    # CRIU carries the shared memory, which only a mapping leads to
    for words, filler in ((), "writev"), (("--filler", "ring"), "ring"):
        fill = woken(unprivileged, store, engine, answer, *words)
        assert_fill(fill, filler, "uring", bytes_min=HEAP - 2 * MIB)
        assert fill["bytes"] < HEAP + SHM


def test_user_namespace_without_io_uring(unprivileged, disk):
    """kernel.io_uring_disabled=1 looks at the first user namespace: root in another is denied."""
    engine, store = engine_for(unprivileged.programs, "--close-shm"), store_on(disk, USER)
    with sysctl(IO_URING_DISABLED, 1):
        made = unprivileged.create(store, engine)
        assert made.returncode == 0, made.stderr
        with unprivileged.start(store, engine, extra=("--filler", "ring")) as start:
            assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
            answers_of(start, engine)
            fill = start.records("wake.fill")[0]
    assert_fill(fill, "writev", "pread", bytes_min=HEAP - 2 * MIB)
    assert os.strerror(errno.EPERM) in fill["why"]


def test_memfd_in_a_user_namespace_is_refused_by_name(unprivileged, disk):
    """CRIU would make two memories of one: what is written through one is not in the other."""
    engine, store = engine_for(unprivileged.programs), store_on(disk, USER)
    made = unprivileged.create(store, engine)
    assert made.returncode != 0
    assert "maps '/memfd:heap_engine'" in made.stderr and "open as fd" in made.stderr, made.stderr
    assert "user namespace" in made.stderr
    assert not [name for name in os.listdir(store) if name.startswith("gen-")]
    with unprivileged.start(store, engine, extra=("--capture", "first-boot")) as start:
        failed = start.wait_record("capture.failed", "capture.done", seconds=60)
        assert failed["event"] == "capture.failed" and "maps '/memfd:" in failed["msg"]
        answers_of(start, engine)
        assert len(start.records("boot.cold")) == 1


PRIVATE_COPY = """
import http.server, mmap, os
memory = os.memfd_create("copied")
os.ftruncate(memory, 8192)
copy = mmap.mmap(memory, 8192, flags=mmap.MAP_PRIVATE)
http.server.HTTPServer(("127.0.0.1", 8042), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_private_copy_of_a_memfd_in_a_user_namespace_is_refused_by_name(unprivileged, disk):
    """CRIU would bring zeros where nobody has written."""
    engine = engines.Engine("copy", (engines.PYTHON, "-c", PRIVATE_COPY), 8042,
                            ready="http://127.0.0.1:8042/", oracle="none")
    made = unprivileged.create(store_on(disk, USER), engine)
    assert made.returncode != 0
    assert "maps a private copy of '/memfd:copied'" in made.stderr, made.stderr


def test_snapctl_in_a_container_says_what_it_lacks(boxes):
    """A /proc with masked parts is one the kernel gives no fresh copy of in a user namespace."""
    args = [boxes.programs.snapctl, "run", "--", "true"]
    with Container(boxes.workplace, args, setting="B") as box:
        assert box.wait_exit() == 125
        assert "cannot mount /proc" in box.stderr and "--cap-add SYS_ADMIN" in box.stderr


# --- where the store lies


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay"])
def test_store_on(boxes, disk, kind):
    engine = engine_for(boxes.programs)
    with store_of_kind(kind, boxes.workplace, disk) as store:
        assert file_system(store) == kind
        answer = captured(boxes, store, engine)
        assert_wakes_from(boxes, store, engine, answer, kind)


def into_page_cache(store):
    for folder, _, names in os.walk(store):
        for name in names:
            with open(os.path.join(folder, name), "rb") as data:
                while data.read(MIB):
                    pass


def assert_wakes_from(boxes, store, engine, answer, kind):
    """What is in the page cache is read from there, unless told otherwise."""
    for direct, expected in ("auto", 0), ("on", 1), ("off", 0):
        into_page_cache(store)
        fill = woken(boxes, store, engine, answer, "--direct", direct)
        assert_fill(fill, "writev", "uring")
        assert fill["direct"] == expected, fill
    fill = woken(boxes, store, engine, answer, "--filler", "ring")
    assert_fill(fill, "ring" if kind == "ext4" else "writev", "uring")
    if kind == "ext4":
        assert "why" not in fill
    else:  # neither has reads that do not block
        assert os.strerror(errno.EOPNOTSUPP) in fill["why"], fill


def test_store_on_an_overlay_that_is_read_only(boxes, made_in_b):
    made = made_in_b
    with overlay(boxes.workplace, made.store) as store:
        assert file_system(store) == "overlay"
        with pytest.raises(OSError):
            os.mkdir(os.path.join(store, "x"))
        assert_wakes_from(boxes, store, made.engine, made.answer, "overlay")
