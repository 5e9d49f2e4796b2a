# SPDX-License-Identifier: Apache-2.0
"""snapinit as its users see it: exit codes, signals, orphans, terminals, stdio, and its dialogue
with a worker, which tests/fixtures/fake_worker.py plays here."""

import fcntl
import itertools
import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import termios
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests"))

from lib.processes import children_of, is_alive, stat_of, traced  # noqa: E402

BUILD = pathlib.Path(os.environ.get("SNAP_BUILD", SOURCE / "build" / "dev"))
SNAPINIT = str(BUILD / "init" / "snapinit")
WORKER = str(SOURCE / "tests" / "fixtures" / "fake_worker.py")
PYTHON = "/usr/bin/python3"
PATIENCE = 20


def wait_for(condition, what, patience=PATIENCE):
    """The first true value of condition(); fails with what() or what when patience ends."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"in vain: {what() if callable(what) else what}")
        time.sleep(0.005)


def clean_env(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("SNAPINIT_")}
    env.pop("NOTIFY_SOCKET", None)
    env.update(more)
    return env


def status_of(pid, key):
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return line.split(":", 1)[1].strip()
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def as_pid_1():
    """Command prefix that makes the next program PID 1 of its own pid namespace."""
    prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        prefix[1:1] = ["--user", "--map-root-user"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("SKIP: no pid namespace can be made here")
    return prefix


@pytest.fixture
def start(tmp_path):
    """Starts snapinit; everything it started is gone after the test."""
    runs = []

    def make(*args, **options):
        run = Run(tmp_path / f"run{len(runs)}", *args, **options)
        runs.append(run)
        return run

    yield make
    for run in runs:
        run.end()


class Run:
    """One snapinit with its stderr in a file."""

    def __init__(self, folder, *args, prefix=(), env=None, stdin=subprocess.DEVNULL, stdout=None, stderr=None,
                 preexec=None, session=True):
        folder.mkdir()
        self.folder = folder
        self.err_path = folder / "stderr"
        self.out_path = folder / "stdout"
        self.fake_log = folder / "fake.log"
        env = dict(env or {})
        if env.pop("gate", None):
            (folder / "fake.log.gate").touch()
        self.started = time.monotonic()
        with open(self.err_path, "ab") as err, open(self.out_path, "ab") as out:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(
                [*prefix, SNAPINIT, *args], stdin=stdin, stdout=stdout or out, stderr=stderr or err,
                env=clean_env(FAKE_LOG=str(self.fake_log), **env), preexec_fn=preexec, start_new_session=session,
                cwd=folder)
        self.pid = self.process.pid

    def open_gate(self):
        (self.folder / "fake.log.gate").unlink()

    def errors(self):
        return self.err_path.read_text(errors="replace")

    def output(self):
        return self.out_path.read_text(errors="replace")

    def records(self):
        found = []
        for line in self.errors().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                pass
        return [r for r in found if isinstance(r, dict) and r.get("comp") == "snapinit"]

    def events(self):
        return [r["event"] for r in self.records()]

    def record(self, event):
        def find():
            return next((r for r in self.records() if r["event"] == event), None)
        return wait_for(find, lambda: f"event {event} in:\n{self.errors()}")

    def notes(self):
        if not self.fake_log.exists():
            return []
        return [json.loads(line) for line in self.fake_log.read_text().splitlines()]

    def note(self, key, nth=0):
        def find():
            values = [n[key] for n in self.notes() if key in n]
            return values[nth:nth + 1]
        return wait_for(find, lambda: f"note {key} in {self.notes()}\n{self.errors()}")[0]

    def says(self, text):
        wait_for(lambda: text in self.output(), lambda: f"{text!r} in {self.output()!r}\n{self.errors()}")

    def kill(self, sig):
        os.kill(self.pid, sig)

    def wait(self, patience=PATIENCE):
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            pytest.fail(f"snapinit does not end:\n{self.errors()}")

    def end(self):
        """Kill it and all it started: its descendants are known by FAKE_LOG in their environment."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        mark = f"FAKE_LOG={self.fake_log}".encode()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                if mark in pathlib.Path(f"/proc/{entry}/environ").read_bytes():
                    os.kill(int(entry), signal.SIGKILL)
            except OSError:
                pass


# --- plain mode: exit codes ---------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 2, 3, 7, 42, 63, 64, 100, 125, 126, 127, 128, 129, 137, 143, 200, 222, 254, 255])
def test_exit_status_is_the_childs(start, code):
    assert start("--", "sh", "-c", f"exit {code}").wait() == code


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1, signal.SIGABRT])
def test_death_by_signal_becomes_128_plus_n(start, sig):
    assert start("--", "sh", "-c", f"kill -{int(sig)} $$").wait() == 128 + sig


@pytest.mark.parametrize("command, status, text", [
    ("/nonexistent/program", 127, "No such file or directory"),
    ("no-such-program-anywhere", 127, "No such file or directory"),
    ("/etc/passwd", 126, "Permission denied"),
    ("/", 126, "Permission denied"),
])
def test_command_that_cannot_run_is_told_with_its_errno(start, command, status, text):
    run = start("--", command)
    assert run.wait() == status
    assert text in run.record("boot.failed")["msg"]


@pytest.mark.parametrize("args", [
    [], ["--"], ["--no-such-option", "true"], ["--grace", "soon", "true"], ["--capture", "maybe", "true"],
    ["--capture", "exit", "true"], ["--fallback", "none", "true"], ["--exit-when-ready", "true"],
    ["--pid-base", "1", "true"], ["--notify-fd", "2", "true"], ["--log-level", "loud", "true"], ["-z", "true"],
])
def test_usage_error_is_one_line_and_125(start, args):
    run = start(*args)
    assert run.wait() == 125
    assert run.errors().count("\n") == 1
    assert run.errors().startswith("snapinit: ")


def test_environment_twin_of_an_option_is_used(start):
    assert start("true", env={"SNAPINIT_LOG_LEVEL": "loud"}).wait() == 125


def test_help_and_version_go_to_stdout(start):
    run = start("--version")
    assert run.wait() == 0
    assert run.output().splitlines()[0] == "snapinit 0.1.0"
    run = start("--help")
    assert run.wait() == 0
    assert "--snapshot DIR" in run.output()


def test_plain_mode_says_nothing_by_itself(start):
    run = start("--", "sh", "-c", "echo out; echo err >&2")
    assert run.wait() == 0
    assert (run.output(), run.errors()) == ("out\n", "err\n")


def test_words_after_the_command_are_not_options(start):
    run = start("echo", "-v", "--help")
    assert run.wait() == 0
    assert run.output() == "-v --help\n"


# --- plain mode: signals ------------------------------------------------------------------------

NOT_FORWARDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}
FORWARDED = sorted({s for s in signal.Signals if s not in NOT_FORWARDED} | {35, 50, 64})

# exits with 100 + the signal it got; of a pair only the child looks, and the parent mirrors it
CATCHER = """
import os, signal, sys
every = set(range(1, 65)) - {9, 19, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
if sys.argv[1:] == ["pair"]:
    pid = os.fork()
    if pid != 0:
        print("parent", flush=True)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print("ready", flush=True)
os._exit(100 + signal.sigwait(every))
"""


@pytest.mark.parametrize("sig", FORWARDED)
def test_signal_reaches_the_child(start, sig):
    run = start("--", PYTHON, "-SEc", CATCHER)
    run.says("ready")
    run.kill(sig)
    assert run.wait() == 100 + sig


@pytest.mark.parametrize("sig", FORWARDED)
def test_signal_reaches_the_whole_group_with_g(start, sig):
    run = start("-g", "--", PYTHON, "-SEc", CATCHER, "pair")
    run.says("parent")
    run.says("ready")
    run.kill(sig)
    assert run.wait() == 100 + sig


def test_grandchild_gets_no_signal_without_g(start):
    run = start("--", "sh", "-c", "trap 'exit 5' TERM; sh -c 'trap \"echo hit\" TERM; echo up; while :; do sleep 0.01; "
                "done' & echo up2; wait; exit 6")
    run.says("up\n")
    run.says("up2\n")
    run.kill(signal.SIGTERM)
    assert run.wait() == 5
    assert "hit" not in run.output()


@pytest.mark.parametrize("sig", [signal.SIGTTIN, signal.SIGTTOU])
def test_background_job_signals_are_ignored(start, sig):
    run = start("--", PYTHON, "-SEc", CATCHER)
    run.says("ready")
    run.kill(sig)
    run.kill(signal.SIGUSR1)
    assert run.wait() == 100 + signal.SIGUSR1


def test_inherited_mask_and_ignored_signals_are_given_to_the_child(start):
    def prepare():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})

    run = start("--", "cat", "/proc/self/status", preexec=prepare)
    assert run.wait() == 0
    lines = [line for line in run.output().splitlines() if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
    fields = {k: int(v, 16) for k, v in (line.split(":") for line in lines)}
    assert fields["SigBlk"] == 1 << (signal.SIGUSR2 - 1)
    assert fields["SigIgn"] & (1 << (signal.SIGHUP - 1)) and fields["SigIgn"] & (1 << (signal.SIGCHLD - 1))
    assert not fields["SigIgn"] & (1 << (signal.SIGTTIN - 1))
    assert fields["SigCgt"] == 0


def test_grace_ends_with_kill_of_everything(start):
    run = start("--grace", "300ms", "--", "sh", "-c",
                "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & echo up; wait; sleep 1000")
    run.says("up")
    wait_for(lambda: any(line.isdigit() for line in run.output().splitlines()), "pid of the grandchild")
    grandchild = next(int(line) for line in run.output().splitlines() if line.isdigit())
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + 9
    assert run.record("grace.over")
    assert not is_alive(grandchild)


def test_child_that_ends_in_grace_is_not_killed(start):
    run = start("--grace", "10s", "--", "sh", "-c", "trap 'sleep 0.3; exit 3' TERM; echo up; while :; do sleep 0.01; done")
    run.says("up")
    run.kill(signal.SIGTERM)
    assert run.wait() == 3


def test_hangup_does_not_start_grace(start):
    run = start("--grace", "100ms", "--", "sh", "-c", "trap 'echo hup' HUP; echo up; while :; do sleep 0.01; done")
    run.says("up")
    run.kill(signal.SIGHUP)
    run.says("hup")
    time.sleep(0.4)
    assert run.process.poll() is None


# --- plain mode: children -----------------------------------------------------------------------

ORPHANS = """
import os, time
for i in range(200):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.05)
            os._exit(i % 256)
        os._exit(0)
    os.wait()
print("made", flush=True)
end = time.monotonic() + 10
def zombies():
    n = 0
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                n += open(f"/proc/{p}/stat").read().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                pass
    return n
def others():
    return [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]
while others() and time.monotonic() < end:
    time.sleep(0.01)
print("left", len(others()), "zombies", zombies(), flush=True)
"""


def test_orphans_are_reaped_by_pid_1(start):
    run = start("--", PYTHON, "-SEc", ORPHANS, prefix=as_pid_1())
    assert run.wait() == 0
    assert run.output() == "made\nleft 0 zombies 0\n"


def test_orphans_are_adopted_and_reaped_when_not_pid_1(start):
    run = start("--", "sh", "-c", "sh -c 'sleep 0.1 & echo $!; exit 0'; echo up; sleep 1000")
    run.says("up")
    orphan = int(run.output().split()[0])
    wait_for(lambda: stat_of(orphan) is None, "reaped orphan")


def test_inherited_sigchld_ignored_does_not_lose_the_status(start):
    run = start("--", "sh", "-c", "exit 9", preexec=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert run.wait() == 9


def test_descriptors_are_inherited_in_plain_mode(start, tmp_path):
    with open(tmp_path / "extra", "wb") as extra:
        prepare = lambda: os.dup2(extra.fileno(), 9, inheritable=True)  # noqa: E731
        process = subprocess.run([SNAPINIT, "--", "sh", "-c", "echo extra >&9; ls /proc/self/fd"], pass_fds=[9],
                                 preexec_fn=prepare, capture_output=True, text=True, env=clean_env(), check=False)
    assert process.returncode == 0
    assert (tmp_path / "extra").read_text() == "extra\n"
    assert process.stdout.split() == ["0", "1", "2", "3", "9"]


def test_closed_stdio_stays_closed_in_plain_mode(tmp_path):
    result = tmp_path / "fds"
    subprocess.run(["sh", "-c", f"exec {SNAPINIT} -- {PYTHON} -SEc 'import os; open(\"{result}\", \"w\").write("
                    "str([os.path.exists(f\"/proc/self/fd/{n}\") for n in (0, 1, 2)]))' <&- >&-"],
                   env=clean_env(), check=True)
    # the script's own file takes the lowest free number, 0
    assert result.read_text() in ("[False, False, True]", "[True, False, True]")


class Terminal:
    """A pty whose far end is the controlling terminal of a snapinit."""

    def __init__(self, *args):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execve(SNAPINIT, [SNAPINIT, *args], clean_env())
        self.text = b""

    def reads(self, text):
        end = time.monotonic() + PATIENCE
        while text.encode() not in self.text:
            assert time.monotonic() < end, (text, self.text)
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096)
                except OSError:
                    break
        assert text.encode() in self.text, self.text

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self):
        os.close(self.master)


def test_child_owns_the_terminal():
    terminal = Terminal("--", PYTHON, "-SEc",
                        "import os; print('fg', os.tcgetpgrp(0) == os.getpgrp() == os.getpid(), os.getsid(0) == os.getppid())")
    terminal.reads("fg True True")
    assert terminal.wait() == 0
    terminal.close()


def test_interrupt_key_reaches_the_child_and_starts_no_grace():
    terminal = Terminal("--grace", "100ms", "--", "sh", "-c",
                        "trap 'echo int; n=1' INT; echo up; while :; do sleep 0.05; [ $n ] && sleep 0.5 && exit 4; done")
    terminal.reads("up")
    os.write(terminal.master, b"\x03")
    terminal.reads("int")
    assert terminal.wait() == 4
    terminal.close()


def test_size_of_the_binary(tmp_path):
    """The promise is for the stripped release build; a debug build only shows that it is static."""
    if b"__asan" in pathlib.Path(SNAPINIT).read_bytes():
        pytest.skip("SKIP: sanitizers link dynamically")
    subprocess.run(["strip", "-o", tmp_path / "stripped", SNAPINIT], check=True)
    assert (tmp_path / "stripped").stat().st_size <= 1 << 20
    headers = subprocess.run(["readelf", "-lW", SNAPINIT], capture_output=True, text=True, check=True).stdout
    assert "LOAD" in headers and "INTERP" not in headers


# --- idle ---------------------------------------------------------------------------------------


def cpu_and_switches(pid):
    stat = stat_of(pid)
    return int(stat[11]) + int(stat[12]), int(status_of(pid, "voluntary_ctxt_switches"))


@pytest.mark.parametrize("mode", ["plain", "snapshot"])
def test_idle_costs_nothing(start, tmp_path, mode):
    args = [] if mode == "plain" else ["--snapshot", str(tmp_path), "--worker", WORKER]
    run = start(*args, "--", "sh", "-c", "echo up; exec sleep 1000", env={"FAKE_WAKE": "nothing"})
    run.says("up")
    if mode == "snapshot":
        run.record("boot.cold")
    time.sleep(0.5)
    ticks, switches = cpu_and_switches(run.pid)
    time.sleep(10)
    ticks_after, switches_after = cpu_and_switches(run.pid)
    assert ticks_after == ticks
    assert switches_after - switches <= 1


# --- stdio with --snapshot ----------------------------------------------------------------------

ECHO = "import sys\nfor line in sys.stdin: sys.stdout.write('out ' + line); sys.stderr.write('err ' + line)\n"
ENGINE = "echo out; echo err >&2; read line; echo got $line"


def snapshot_args(tmp_path, *more):
    return ["--snapshot", str(tmp_path), "--worker", WORKER, *more]


@pytest.mark.parametrize("count", [8, 12, 16, 20, 31])
@pytest.mark.parametrize("capture", ["never", "first-boot", "on-request"])
def test_few_descriptors_cost_the_snapshot_and_not_the_engine(start, tmp_path, count, capture):
    """With a snapshot PID 1 has more of them than this, and gave up or waited for ten seconds."""
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

    run = start(*snapshot_args(tmp_path, "--capture", capture), "--", "sh", "-c", "ulimit -n; exit 5",
                env={"FAKE_WAKE": "done"}, preexec=limit)
    assert run.wait() == 5, run.errors()
    assert run.output() == f"{count}\n"
    events = run.events()
    assert events.count("snapshot.off") == 1 and events.count("boot.cold") == 1, events
    assert f"RLIMIT_NOFILE is {count}" in run.errors()
    assert not [name for name in events if name.startswith(("wake.", "capture.", "clean."))], events


def test_few_descriptors_fail_who_wants_the_snapshot(start, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))

    run = start(*snapshot_args(tmp_path, "--fallback", "none"), "--", "true", preexec=limit)
    assert run.wait() == 125 and "Too many open files" in run.errors()


class Sink:
    """Something that can stand at descriptor 1 or 2."""

    def __init__(self, kind, folder, name):
        self.kind, self.path, self.data, self.far = kind, folder / name, b"", None
        if kind == "pipe":
            self.far, self.fd = os.pipe()
        elif kind == "append":
            self.path.write_text("old\n")
            self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        elif kind == "file":
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT)
            os.write(self.fd, b"old\n")
        elif kind in ("stream", "seqpacket", "dgram"):
            kinds = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET, "dgram": socket.SOCK_DGRAM}
            near, far = socket.socketpair(socket.AF_UNIX, kinds[kind])
            self.fd, self.far = near.detach(), far.detach()
        elif kind == "tty":
            self.far, self.fd = pty.openpty()
            attributes = termios.tcgetattr(self.fd)
            attributes[1] &= ~termios.OPOST
            termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
        elif kind == "null":
            self.fd = os.open("/dev/null", os.O_RDWR)
        elif kind == "closed":
            self.fd = None
        else:
            raise AssertionError(kind)

    def flags(self):
        return None if self.fd is None else fcntl.fcntl(self.fd, fcntl.F_GETFL)

    def place(self, number):
        """In the child."""
        if self.fd is None:
            os.close(number)
        else:
            os.dup2(self.fd, number)

    def content(self, patience=5):
        """What came out, after snapinit's end."""
        if self.kind in ("append", "file"):
            return self.path.read_bytes()
        if self.far is None:
            return None
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if not select.select([self.far], [], [], 0.05)[0]:
                break
            try:
                data = os.read(self.far, 65536)
            except OSError:
                break
            if not data:
                break
            self.data += data
        return self.data

    def close(self):
        for fd in (self.fd, self.far):
            if fd is not None:
                os.close(fd)


SINKS = ["pipe", "append", "file", "stream", "seqpacket", "dgram", "tty", "null", "closed"]


def run_with(tmp_path, places, *command, wake="nothing", env=None):
    """snapinit with the given things at 0, 1 and 2; its exit status."""
    def place():
        held = []
        for number, thing in places.items():
            if thing.fd is not None and thing.fd < 3:
                raise AssertionError
            held.append((number, thing))
        for number, thing in held:
            thing.place(number)

    process = subprocess.Popen(  # pylint: disable=consider-using-with
        [SNAPINIT, *snapshot_args(tmp_path), "--", *command], preexec_fn=place, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=clean_env(FAKE_WAKE=wake, FAKE_LOG=str(tmp_path / "fake.log"), **(env or {})))
    try:
        return process.wait(PATIENCE)
    finally:
        process.kill()


@pytest.mark.parametrize("wake", ["nothing", "restored"])
@pytest.mark.parametrize("kind", SINKS)
def test_output_arrives_in_every_kind_of_sink(tmp_path, kind, wake):
    out, err = Sink(kind, tmp_path, "out"), Sink(kind, tmp_path, "err")
    before = out.flags()
    script = "echo out; echo err >&2; i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; "
    # an engine that ends before the worker says that it is ready is booted again
    script += "sleep 1; exit 3" if wake == "restored" else "exit 3"
    status = run_with(tmp_path, {1: out, 2: err}, "sh", "-c", script, wake=wake, env={"FAKE_ENGINE": script})
    assert status == 3
    assert out.flags() == before
    if kind not in ("null", "closed"):
        wanted = b"out\n" + b"".join(b"line %d\n" % i for i in range(200))
        old = b"old\n" if kind in ("append", "file") else b""
        assert out.content() == old + wanted
        assert err.content().startswith(old)
        assert b"err\n" in err.content()
    out.close()
    err.close()


def test_stdout_and_stderr_in_one_file_overwrite_nothing(tmp_path):
    both = Sink("file", tmp_path, "both")
    assert run_with(tmp_path, {1: both, 2: both}, "sh", "-c", "echo one; echo two >&2; echo three") == 0
    text = both.content().decode()
    assert text.startswith("old\n")
    for word in ("one", "two", "three"):
        assert f"{word}\n" in text
    both.close()


@pytest.mark.parametrize("kind", ["pipe", "file", "stream", "tty", "null", "closed", "procfile"])
def test_input_comes_from_every_kind_of_source(tmp_path, kind):
    lines = b"".join(b"line %d\n" % i for i in range(3000))
    feeder = None
    if kind == "procfile":
        lines = pathlib.Path("/proc/filesystems").read_bytes()
        source = Sink("null", tmp_path, "x")
        os.close(source.fd)
        source.fd = os.open("/proc/filesystems", os.O_RDONLY)
    elif kind == "file":
        (tmp_path / "in").write_bytes(lines)
        source = Sink("null", tmp_path, "x")
        os.close(source.fd)
        source.fd = os.open(tmp_path / "in", os.O_RDONLY)
    elif kind in ("pipe", "stream", "tty"):
        source = Sink(kind, tmp_path, "in")
        if kind == "pipe":
            source.fd, source.far = source.far, source.fd
        if kind == "tty":
            lines = b"one\ntwo\n"
        feeder = os.fork()
        if feeder == 0:
            if kind != "tty":
                os.close(source.fd)
            view = memoryview(lines + (b"\x04" if kind == "tty" else b""))
            while view:
                view = view[os.write(source.far, view):]
            os._exit(0)
        if kind != "tty":
            os.close(source.far)
            source.far = None
    else:
        source = Sink(kind, tmp_path, "in")
        lines = b""
    out = Sink("file", tmp_path, "out")
    assert run_with(tmp_path, {0: source, 1: out}, "cat") == 0
    assert out.content() == b"old\n" + lines
    if feeder:
        os.waitpid(feeder, 0)
    source.close()
    out.close()


def test_input_that_the_engine_does_not_read_stays_with_its_owner(tmp_path):
    (tmp_path / "in").write_bytes(b"x" * (1 << 20))
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    process = subprocess.run([SNAPINIT, *snapshot_args(tmp_path), "--", "sleep", "0.3"], stdin=fd, capture_output=True,
                             env=clean_env(FAKE_WAKE="nothing", FAKE_LOG=str(tmp_path / "log")), check=False)
    assert process.returncode == 0
    assert os.lseek(fd, 0, os.SEEK_CUR) <= 65536
    os.close(fd)


def test_slow_reader_stops_the_engine_and_not_snapinit(start, tmp_path):
    read_end, write_end = os.pipe()
    run = start(*snapshot_args(tmp_path), "--", PYTHON, "-SEuc",
                "import os, sys\nfor i in range(64): os.write(1, b'x' * 16384)\nos.write(2, b'all written\\n')\n",
                stdout=write_end, env={"FAKE_WAKE": "nothing"})
    os.close(write_end)
    run.record("boot.cold")
    time.sleep(0.5)
    assert "all written" not in run.errors()
    engine = run.record("boot.cold")["engine"]
    assert is_alive(engine)
    ticks, switches = cpu_and_switches(run.pid)
    time.sleep(1)
    assert cpu_and_switches(run.pid) == (ticks, switches)
    total = 0
    while True:
        data = os.read(read_end, 65536)
        if not data:
            break
        total += len(data)
    os.close(read_end)
    assert total == 64 * 16384
    assert run.wait() == 0


def test_reader_that_goes_away_is_felt_by_the_engine(start, tmp_path):
    read_end, write_end = os.pipe()
    run = start(*snapshot_args(tmp_path), "--", "sh", "-c", "while echo x; do sleep 0.01; done",
                stdout=write_end, env={"FAKE_WAKE": "nothing"})
    os.close(write_end)
    assert os.read(read_end, 2) == b"x\n"
    os.close(read_end)
    assert run.wait() == 128 + signal.SIGPIPE


def test_stuck_reader_holds_the_exit_for_two_seconds_at_most(start, tmp_path):
    read_end, write_end = os.pipe()
    run = start(*snapshot_args(tmp_path), "--", PYTHON, "-SEc", "import os; os.write(1, b'x' * 100000)",
                stdout=write_end, env={"FAKE_WAKE": "nothing"})
    os.close(write_end)
    run.record("engine.exited")
    began = time.monotonic()
    assert run.wait() == 0
    assert 1.5 < time.monotonic() - began < 4
    os.close(read_end)


def test_last_output_gets_out_although_a_grandchild_keeps_the_pipe(start, tmp_path):
    run = start(*snapshot_args(tmp_path), "--", "sh", "-c", "sleep 1000 & head -c 60000 /dev/zero; echo end",
                env={"FAKE_WAKE": "nothing"})
    assert run.wait() == 0
    assert run.output().endswith("end\n") and len(run.output()) == 60004


def test_engine_gets_pipes_an_own_session_and_nothing_else(start, tmp_path):
    run = start(*snapshot_args(tmp_path), "--", PYTHON, "-SEc",
                "import os\nprint([os.readlink(f'/proc/self/fd/{n}').split(':')[0] for n in range(3)], "
                "sorted(os.listdir('/proc/self/fd')), os.getsid(0) == os.getpid())",
                env={"FAKE_WAKE": "nothing"})
    assert run.wait() == 0
    assert run.output() == "['pipe', 'pipe', 'pipe'] ['0', '1', '2', '3'] True\n"


# --- the dialogue: wake -------------------------------------------------------------------------

BAD_WAKES = {
    # scenario: event, code, words, patience
    "refused": ("wake.refused", "incompatible", "kernel differs"),
    "failed": ("wake.failed", "restore-failed", "criu says no"),
    "dies": ("wake.failed", "worker", "killed by signal 9"),
    "exits": ("wake.failed", "worker", "status 0"),
    "hangs": ("wake.failed", "over-budget", "longer than it may"),
    "hangs-up": ("wake.failed", "worker", "killed by signal 9"),
    "babbles": ("wake.failed", "worker", "broke the protocol"),
    "skips": ("wake.failed", "worker", "'ready' while waking"),
    "foreign": ("wake.failed", "restore-failed", "no child of ours"),
    "stillborn": ("wake.failed", "restore-failed", "before it answered"),
    "mute": ("wake.failed", "over-budget", "while resuming"),
    "bad-answer": ("wake.failed", "oracle-mismatch", "something else"),
}
PLACES = ["subreaper", "pid-1"]


def prefix_of(place):
    return as_pid_1() if place == "pid-1" else []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("scenario", BAD_WAKES)
def test_bad_wake_ends_in_one_line_and_a_cold_boot(start, tmp_path, scenario, place):
    event, code, words = BAD_WAKES[scenario]
    patience = "20s" if scenario not in ("hangs", "mute") else "400ms"
    run = start(*snapshot_args(tmp_path, "--wake-timeout", patience), "--", "sh", "-c",
                "cat /proc/[0-9]*/comm; echo booted; exit 5", prefix=prefix_of(place),
                env={"FAKE_WAKE": scenario, "FAKE_ENGINE": "exec sleep 1000"})
    assert run.wait() == 5
    lines = [r for r in run.records() if r["event"].startswith("wake.")]
    assert [(r["event"], r["level"], r["code"]) for r in lines] == [(event, "warn", code)]
    assert words in lines[0]["msg"]
    assert [e for e in run.events() if e.startswith(("wake", "boot"))] == [event, "boot.cold"]
    assert run.output().endswith("booted\n")
    if place == "pid-1":
        # at the time of the cold boot nothing else was left in the namespace
        assert sorted(run.output().split()[:-1]) == ["sh", "snapinit"]
    else:
        for pid in [n["helper"] for n in run.notes() if "helper" in n] + [n["engine"] for n in run.notes() if "engine" in n]:
            assert not is_alive(pid)
    for n in run.notes():
        assert place == "pid-1" or not is_alive(n["pid"])


def test_restored_engine_that_is_not_ready_yet_ends_by_itself(start, tmp_path):
    """It runs: it gets the TERM, its grace and its say about the exit status, as any engine."""
    run = start(*snapshot_args(tmp_path, "--grace", "1m"), "--", "false",
                env={"FAKE_WAKE": "mute", "FAKE_ENGINE": "trap 'echo saved; exit 33' TERM; echo up; "
                     "while :; do sleep 0.01; done"})
    run.says("up")
    run.kill(signal.SIGTERM)
    assert run.wait() == 33
    assert run.output().split() == ["up", "saved"]
    assert run.record("wake.failed")["code"] == "stopped"
    assert "boot.cold" not in run.events() and "grace.over" not in run.events()


def test_restored_engine_that_still_stands_still_gets_its_term(start, tmp_path):
    """The worker has leave to let it run, and is gone before it does."""
    run = start(*snapshot_args(tmp_path, "--grace", "1m"), "--", "false",
                env={"FAKE_WAKE": "stopped", "FAKE_ENGINE": "trap 'exit 33' TERM; kill -9 $$"})
    run.note("resume")
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    assert "grace.over" not in run.events()


def test_wake_that_is_not_wanted_any_more_is_told_as_that(start, tmp_path):
    run = start(*snapshot_args(tmp_path), "--", "false", env={"FAKE_WAKE": "hangs"})
    run.note("helper")
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    failed = run.record("wake.failed")
    assert failed["code"] == "stopped" and "(TERM)" in failed["msg"], failed


def test_no_snapshot_is_no_warning(start, tmp_path):
    run = start(*snapshot_args(tmp_path), "--", "true", env={"FAKE_WAKE": "nothing"})
    assert run.wait() == 0
    assert run.record("wake.refused")["level"] == "info"
    assert "warn" not in [r["level"] for r in run.records()]


def test_missing_worker_ends_in_a_cold_boot(start, tmp_path):
    run = start("--snapshot", str(tmp_path), "--worker", "/nonexistent", "--", "sh", "-c", "exit 4")
    assert run.wait() == 4
    assert "/nonexistent" in run.record("wake.failed")["msg"]


def test_first_line_is_init_start(start, tmp_path):
    run = start(*snapshot_args(tmp_path), "--", "true", env={"FAKE_WAKE": "nothing"})
    assert run.wait() == 0
    first = run.records()[0]
    assert (first["event"], first["level"], first["pid"], first["version"]) == ("init.start", "info", run.pid, "0.1.0")


@pytest.mark.parametrize("scenario", ["refused", "dies", "nothing"])
def test_fallback_none_exits_222(start, tmp_path, scenario):
    run = start(*snapshot_args(tmp_path, "--fallback", "none"), "--", "echo", "booted", env={"FAKE_WAKE": scenario})
    assert run.wait() == 222
    assert run.output() == ""


def test_budget_of_the_worker_bounds_an_automatic_wake(start, tmp_path):
    run = start(*snapshot_args(tmp_path), "--", "sh", "-c", "exit 5", env={"FAKE_WAKE": "budget"})
    assert run.wait() == 5
    assert run.record("wake.failed")["code"] == "over-budget"
    assert time.monotonic() - run.started < 10


def test_explicit_wake_timeout_is_told_to_the_worker(start, tmp_path):
    run = start(*snapshot_args(tmp_path, "--wake-timeout", "15s"), "--", "true", env={"FAKE_WAKE": "nothing"})
    assert run.wait() == 0
    assert run.notes()[0]["argv"][:5] == ["wake", "--store", str(tmp_path), "--timeout", "15000ms"]


def without_defaults(argv):
    """The worker's command line less the options that say what snapinit's table says by itself."""
    dump = subprocess.run([str(BUILD / "cli" / "snapctl"), "__options"], capture_output=True, check=True)
    defaults = {f"--{option['name']}": option["default"] for option in json.loads(dump.stdout)["snapinit"]}
    end = argv.index("--")
    kept, at = [], 0
    while at < end:
        if argv[at] in defaults and defaults[argv[at]] == argv[at + 1]:
            at += 2
        else:
            kept.append(argv[at])
            at += 1
    return kept + argv[end:]


def test_worker_gets_its_command_line_folder_and_descriptors(start, tmp_path):
    run = start(*snapshot_args(tmp_path, "--generation", "gen-3", "--engine", "http", "--ready", "tcp:h:1", "--oracle", "none",
                               "--warmup", "2", "--include", "/a", "--include", "/b", "--accept", "kernel", "--criu", "/c",
                               "--ready-timeout", "9s"),
                "--", "sh", "-c", "exit 5", "--", "-x", env={"FAKE_WAKE": "refused"})
    assert run.wait() == 5
    note = run.notes()[0]
    assert without_defaults(note["argv"]) == [
        "wake", "--store", str(tmp_path), "--generation", "gen-3", "--engine", "http", "--ready", "tcp:h:1", "--ready-timeout",
        "9s", "--oracle", "none", "--warmup", "2", "--include", "/a", "--include", "/b", "--accept", "kernel", "--criu", "/c",
        "--", "sh", "-c", "exit 5", "--", "-x"]
    assert note["fds"] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert note["cwd"] == str(run.folder)


@pytest.mark.parametrize("place", PLACES)
def test_woken_engine_is_a_child_in_every_respect(start, tmp_path, place):
    run = start(*snapshot_args(tmp_path), "--", "echo", "booted", prefix=prefix_of(place),
                env={"FAKE_WAKE": "restored",
                     "FAKE_ENGINE": "trap 'exit 23' TERM; trap 'echo hup' HUP; echo woken; while :; do sleep 0.01; done"})
    run.says("woken")
    done = run.record("wake.done")
    assert (done["level"], done["snapshot"]) == ("info", "gen-7") and done["dur_ms"] < 20000
    init = run.pid if place == "subreaper" else children_of(run.pid)[0]
    os.kill(init, signal.SIGHUP)
    run.says("hup")
    os.kill(init, signal.SIGTERM)
    assert run.wait() == 23
    assert "booted" not in run.output()
    assert {"got": 11, "id": 77}.items() <= next(n for n in run.notes() if "got" in n).items()


def test_woken_engine_reads_the_input_of_this_container(tmp_path):
    read_end, write_end = os.pipe()
    os.write(write_end, b"hello\n")
    os.close(write_end)
    process = subprocess.run([SNAPINIT, *snapshot_args(tmp_path), "--", "false"], stdin=read_end, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=False, text=True,
                             env=clean_env(FAKE_WAKE="restored", FAKE_ENGINE="read line; echo got $line; read line || exit 7",
                                           FAKE_LOG=str(tmp_path / "log")))
    os.close(read_end)
    assert (process.returncode, process.stdout) == (7, "got hello\n")


def test_worker_lost_after_ready_does_not_cost_the_engine(start, tmp_path):
    run = start(*snapshot_args(tmp_path), "--", "echo", "booted",
                env={"FAKE_WAKE": "dies-late", "FAKE_ENGINE": "trap 'exit 24' TERM; echo woken; while :; do sleep 0.01; done"})
    run.record("worker.lost")
    run.says("woken")
    run.kill(signal.SIGTERM)
    assert run.wait() == 24
    assert "booted" not in run.output()


@pytest.mark.parametrize("scenario", ["hangs", "mute"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_termination_during_a_wake_boots_nothing(start, tmp_path, sig, scenario):
    run = start(*snapshot_args(tmp_path), "--", "echo", "booted", env={"FAKE_WAKE": scenario})
    run.note("helper" if scenario == "hangs" else "got")
    run.kill(sig)
    assert run.wait() == 128 + sig
    assert run.output() == ""
    for note in run.notes():
        assert not is_alive(note["pid"]) and not is_alive(note.get("helper", note["pid"]))


def test_signal_during_a_wake_reaches_the_engine_that_boots(start, tmp_path):
    run = start(*snapshot_args(tmp_path, "--wake-timeout", "1s"), "--", "sleep", "1000", env={"FAKE_WAKE": "hangs"})
    run.note("helper")
    run.kill(signal.SIGUSR1)
    assert run.wait() == 128 + signal.SIGUSR1
    assert run.events()[-1] == "engine.exited"


def test_exit_when_ready_ends_a_verified_engine(start, tmp_path):
    run = start(*snapshot_args(tmp_path, "--exit-when-ready"), "--", "echo", "booted",
                env={"FAKE_WAKE": "restored", "FAKE_ENGINE": "trap 'exit 23' TERM; while :; do sleep 0.01; done"})
    assert run.wait() == 0
    assert not is_alive(run.note("engine"))
    assert run.output() == ""


@pytest.mark.parametrize("scenario, status", [("refused", 4), ("failed", 10), ("bad-answer", 13), ("dies", 222),
                                              ("budget", 11), ("dies-late", 222)])
def test_exit_when_ready_tells_why_not(start, tmp_path, scenario, status):
    run = start(*snapshot_args(tmp_path, "--exit-when-ready"), "--", "echo", "booted", env={"FAKE_WAKE": scenario})
    assert run.wait() == status
    assert run.output() == ""


# --- what a GPU's driver has restored is not killed as it is -------------------------------------

STUBBORN = "trap '' TERM INT; echo woken; while :; do sleep 0.01; done"


def jobs_of(run):
    return [note["argv"][0] for note in run.notes() if "argv" in note]


@pytest.mark.parametrize("suspend", ["nothing", "fails", "dies"])
@pytest.mark.parametrize("place", PLACES)
def test_woken_gpu_is_suspended_when_the_grace_is_over(start, tmp_path, place, suspend):
    run = start(*snapshot_args(tmp_path, "--grace", "200ms"), "--", "false", prefix=prefix_of(place),
                env={"FAKE_WAKE": "gpu", "FAKE_SUSPEND": suspend, "FAKE_ENGINE": STUBBORN})
    run.says("woken")
    run.record("wake.done")
    init = run.pid if place == "subreaper" else children_of(run.pid)[0]
    os.kill(init, signal.SIGTERM)
    assert run.wait() == 128 + 9
    assert jobs_of(run) == ["wake", "suspend"]
    # whether the engine's exit is seen before nothing is left is a race
    events = [e for e in run.events() if e in ("grace.over", "gpu.suspended", "gpu.open", "engine.exited")]
    assert events[:2] == ["grace.over", "gpu.suspended" if suspend == "nothing" else "gpu.open"]
    if suspend == "nothing":
        assert run.note("suspends") == (run.pid if place == "subreaper" else 1)
        assert run.note("engine") in run.note("below")
    if suspend == "fails":
        assert "does not lock process 7" in run.record("gpu.open")["msg"]


def test_second_term_suspends_too(start, tmp_path):
    run = start(*snapshot_args(tmp_path, "--grace", "10m"), "--", "false", env={"FAKE_WAKE": "gpu", "FAKE_ENGINE": STUBBORN})
    run.says("woken")
    run.record("wake.done")
    run.kill(signal.SIGTERM)
    run.kill(signal.SIGINT)
    assert run.wait() == 128 + 9
    assert jobs_of(run) == ["wake", "suspend"]
    assert run.note("engine") in run.note("below")


@pytest.mark.parametrize("scenario, suspends", [("gpu-dies", True), ("gpu-hangs", True), ("gpu-babbles", True),
                                                ("gpu-fails", True), ("gpu-closes", False), ("mute", False)])
def test_gpu_of_a_failed_wake_is_suspended_before_the_cold_boot(start, tmp_path, scenario, suspends):
    patience = "2s" if scenario in ("gpu-hangs", "mute") else "20s"
    run = start(*snapshot_args(tmp_path, "--wake-timeout", patience), "--", "sh", "-c", "echo booted; exit 5",
                env={"FAKE_WAKE": scenario})
    assert run.wait() == 5
    assert jobs_of(run) == ["wake", "suspend"] if suspends else ["wake"]
    if suspends:
        assert run.note("engine") in run.note("below")
        assert [e for e in run.events() if e.startswith(("wake", "gpu", "boot"))] == ["wake.failed", "gpu.suspended", "boot.cold"]
    assert not is_alive(run.note("engine"))


@pytest.mark.parametrize("wake", ["restored", "gpu", "nothing"])
def test_only_what_a_driver_restored_and_is_killed_is_suspended(start, tmp_path, wake):
    """Not one that was woken without, nor one that ends by itself, nor one that booted cold."""
    engine = "echo woken; while :; do sleep 0.01; done" if wake == "gpu" else STUBBORN
    run = start(*snapshot_args(tmp_path, "--grace", "200ms"), "--", "sh", "-c", engine,
                env={"FAKE_WAKE": wake, "FAKE_ENGINE": engine})
    run.says("woken")
    run.record("boot.cold" if wake == "nothing" else "wake.done")
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + (15 if wake == "gpu" else 9)
    assert jobs_of(run) == ["wake"]


# --- the dialogue: capture ----------------------------------------------------------------------

SERVER = ("trap 'exit 31' TERM; trap 'echo usr1' USR1; trap 'echo usr2' USR2; echo up; "
          "while :; do sleep 0.01; done")


def capture(start, tmp_path, scenario, *more, mode="first-boot", engine=SERVER, probe="done", **options):
    env = {"FAKE_WAKE": "nothing", "FAKE_CAPTURE": scenario, "FAKE_PROBE": probe, **options.pop("env", {})}
    return start(*snapshot_args(tmp_path, "--capture", mode, *more), "--", "sh", "-c", engine, env=env, **options)


def ends_by_term(run):
    run.kill(signal.SIGTERM)
    return run.wait()


def test_capture_while_serving_on(start, tmp_path):
    run = capture(start, tmp_path, "done")
    assert run.record("capture.done")["snapshot"] == "gen-1"
    engine = run.record("boot.cold")["engine"]
    assert without_defaults(run.notes()[1]["argv"]) == [
        "capture", "--store", str(tmp_path), "--pid", str(engine), "--mode", "first-boot",
        "--dump-timeout", "120000ms", "--", "sh", "-c", SERVER]
    assert run.notes()[1]["fds"] == [0, 1, 2, 3, 4, 5, 6, 7]
    # 4 to 6 are the pipes that the engine has, by name only
    assert run.notes()[1]["pipes"] == [os.readlink(f"/proc/{engine}/fd/{n}") for n in range(3)]
    assert ends_by_term(run) == 31


def test_signals_are_held_while_the_tree_is_frozen(start, tmp_path):
    run = capture(start, tmp_path, "done", env={"gate": "1"})
    engine = run.note("frozen")
    run.kill(signal.SIGUSR1)
    run.kill(signal.SIGUSR2)
    run.kill(signal.SIGUSR1)
    time.sleep(0.2)
    pending = int(status_of(engine, "ShdPnd"), 16) | int(status_of(engine, "SigPnd"), 16)
    assert pending & (1 << (signal.SIGUSR1 - 1) | 1 << (signal.SIGUSR2 - 1)) == 0
    run.open_gate()
    run.record("capture.done")
    run.says("usr1")
    run.says("usr2")
    assert run.output().count("usr1") == 1
    assert ends_by_term(run) == 31


def test_term_while_frozen_waits_for_the_thaw(start, tmp_path):
    run = capture(start, tmp_path, "done", env={"gate": "1"})
    engine = run.note("frozen")
    run.kill(signal.SIGTERM)
    time.sleep(0.2)
    assert is_alive(engine)
    assert run.note("asked")
    run.open_gate()
    assert run.wait() == 31


@pytest.mark.parametrize("scenario", ["hangs", "done"])
def test_capture_that_is_not_wanted_any_more_is_told_as_that(start, tmp_path, scenario):
    run = capture(start, tmp_path, scenario, "--grace", "1m", env={"gate": "1"})
    run.record("boot.cold")
    run.says("up")
    if scenario == "done":
        run.note("frozen")
        run.kill(signal.SIGTERM)
        run.note("asked")
    run.kill(signal.SIGTERM)
    assert run.wait() == (137 if scenario == "done" else 31)
    failed = run.record("capture.failed")
    assert failed["code"] == "stopped" and "(TERM)" in failed["msg"], failed


def test_second_term_while_frozen_kills_at_once(start, tmp_path):
    run = capture(start, tmp_path, "done", "--grace", "10m", env={"gate": "1"})
    engine = run.note("frozen")
    run.kill(signal.SIGTERM)
    assert run.note("asked")
    assert is_alive(engine)
    run.kill(signal.SIGTERM)
    assert run.wait() == 137
    assert not is_alive(engine)
    assert run.events().count("capture.failed") == 1
    assert run.events().count("boot.cold") == 1


@pytest.mark.parametrize("scenario", ["dies-dirty", "thaws-dirty", "fails-dirty"])
def test_tree_that_is_not_whole_runs_only_after_its_recovery(start, tmp_path, scenario):
    run = capture(start, tmp_path, scenario, env={"FAKE_RECOVER": "done"})
    engine = run.note("frozen")
    assert run.note("recovered") == "foreign registers"
    run.kill(signal.SIGUSR1)
    run.record("engine.unharmed")
    jobs = [note for note in run.notes() if "argv" in note]
    assert [note["argv"][0] for note in jobs] == ["wake", "capture", "recover", "probe"]
    # it has the journal and nothing else; for a probe there is none any more
    assert [note["fds"] for note in jobs[2:]] == [[0, 1, 2, 3, 7], [0, 1, 2, 3]]
    assert run.note("state")[0] == "T"
    assert run.events().index("engine.recovered") < run.events().index("engine.unharmed")
    run.says("usr1")
    assert is_alive(engine)
    assert ends_by_term(run) == 31
    assert run.events().count("boot.cold") == 1


def test_engine_that_a_debugger_holds_is_not_taken_for_harmed(start, tmp_path):
    run = capture(start, tmp_path, "harms-at-the-gate", probe="failed", env={"gate": "1"})
    engine = run.note("frozen")
    with traced(engine) as tracer:
        run.open_gate()
        held = run.record("engine.traced")
        assert held["tracer"] == tracer
        assert is_alive(engine)
    assert run.events().count("boot.cold") == 1 and "engine.harmed" not in run.events()
    assert ends_by_term(run) == 31


def test_what_a_worker_gives_to_keep_goes_to_the_recovery_and_no_further(start, tmp_path):
    run = capture(start, tmp_path, "dies-kept", env={"FAKE_RECOVER": "done"})
    assert run.note("kept") == ["folder", "map", "data"]
    run.record("engine.unharmed")
    jobs = [note for note in run.notes() if "argv" in note]
    assert [note["fds"] for note in jobs[2:]] == [[0, 1, 2, 3, 7, 8, 9, 10], [0, 1, 2, 3]]
    # it is let go when the engine runs again
    assert not [fd for fd in os.listdir(f"/proc/{run.pid}/fd")
                if "memfd:" in os.readlink(f"/proc/{run.pid}/fd/{fd}")]
    assert ends_by_term(run) == 31


@pytest.mark.parametrize("recover", ["failed", "dies", "babbles"])
def test_tree_that_cannot_be_made_whole_is_booted_cold(start, tmp_path, recover):
    run = capture(start, tmp_path, "dies-dirty", env={"FAKE_RECOVER": recover},
                  engine="trap 'echo ran' CONT; " + SERVER)
    engine = run.note("frozen")
    assert "could not be brought back" in run.record("engine.harmed")["msg"]
    wait_for(lambda: run.output().count("up") == 2, run.errors)
    assert not is_alive(engine)
    assert ends_by_term(run) == 31
    assert "ran" not in run.output()
    assert "engine.recovered" not in run.events()
    assert [note["argv"][0] for note in run.notes() if "argv" in note] == ["wake", "capture", "recover"]


def test_term_waits_for_the_recovery(start, tmp_path):
    run = capture(start, tmp_path, "dies-dirty", "-v", env={"FAKE_RECOVER": "done", "gate": "1"})
    run.note("noted")
    run.kill(signal.SIGTERM)
    # the worker dies of being asked: nothing is taken back
    assert run.wait() == 31
    assert run.note("recovered") == "foreign registers"
    assert run.events().count("boot.cold") == 1


@pytest.mark.parametrize("scenario, words", [("failed", "io_uring of pid 1001"), ("exits", "status 3"),
                                             ("fails-frozen", "dump failed"), ("hangs", "longer than it may")])
def test_failed_capture_leaves_the_engine_serving(start, tmp_path, scenario, words):
    more = ["--capture-timeout", "300ms"] if scenario == "hangs" else []
    run = capture(start, tmp_path, scenario, *more)
    assert words in run.record("capture.failed")["msg"]
    run.kill(signal.SIGUSR1)
    run.says("usr1")
    assert ends_by_term(run) == 31
    assert run.events().count("boot.cold") == 1
    assert run.events().count("capture.failed") == 1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("scenario", ["dies-frozen", "hangs-frozen", "harms"])
def test_capture_broken_in_mid_freeze_spares_the_engine(start, tmp_path, scenario, place):
    more = ["--capture-timeout", "1500ms"] if scenario == "hangs-frozen" else []
    run = capture(start, tmp_path, scenario, *more, prefix=prefix_of(place))
    run.note("frozen")
    run.record("engine.unharmed")
    init = run.pid if place == "subreaper" else children_of(run.pid)[0]
    if place == "subreaper":
        assert not is_alive(run.note("helper"))
    assert run.notes()[-1]["argv"][0] == "probe"
    os.kill(init, signal.SIGUSR1)
    run.says("usr1")
    os.kill(init, signal.SIGTERM)
    assert run.wait() == 31
    assert run.events().count("boot.cold") == 1
    assert run.events().count("capture.failed") == 1


@pytest.mark.parametrize("scenario", ["gpu", "done"])
def test_captured_gpu_is_suspended_when_the_grace_is_over(start, tmp_path, scenario):
    run = capture(start, tmp_path, scenario, "--grace", "200ms",
                  engine="trap '' TERM; echo up; while :; do sleep 0.01; done")
    run.says("up")
    run.record("capture.done")
    run.kill(signal.SIGTERM)
    assert run.wait() == 128 + 9
    assert jobs_of(run) == ["wake", "capture"] + (["suspend"] if scenario == "gpu" else [])


def test_engines_orphaned_helper_survives_the_mending(start, tmp_path):
    engine = "sh -c 'sleep 1000 & echo helper $!; exit 0'; " + SERVER
    run = capture(start, tmp_path, "dies-frozen", engine=engine)
    run.record("engine.unharmed")
    helper = int(run.output().split()[1])
    assert is_alive(helper)
    assert ends_by_term(run) == 31


@pytest.mark.parametrize("probe", ["failed", "hangs"])
def test_engine_that_a_capture_harmed_is_booted_again(start, tmp_path, probe):
    run = capture(start, tmp_path, "dies-frozen", probe=probe)
    first = run.record("boot.cold")["engine"]
    run.record("engine.harmed")
    wait_for(lambda: run.output().count("up") == 2, run.errors)
    assert not is_alive(first)
    wait_for(lambda: run.output().count("up\n") == 2, run.output)
    run.kill(signal.SIGUSR1)
    run.says("usr1")
    assert [n["argv"][0] for n in run.notes() if "argv" in n] == ["wake", "capture", "probe"]
    assert ends_by_term(run) == 31


def test_engine_that_dies_in_mid_capture_is_booted_again(start, tmp_path):
    run = capture(start, tmp_path, "kills-frozen")
    wait_for(lambda: run.output().count("up") == 2, run.errors)
    assert "died in mid-capture" in run.record("capture.failed")["msg"]
    assert run.records()[-1]["reason"] == "dump-failed"
    wait_for(lambda: run.output().count("up\n") == 2, run.output)
    assert ends_by_term(run) == 31


def test_engine_that_ends_by_itself_is_not_booted_again(start, tmp_path):
    run = capture(start, tmp_path, "hangs", engine="sleep 0.3; exit 9")
    assert run.wait() == 9
    assert run.events().count("boot.cold") == 1


def test_term_before_the_freeze_ends_the_capture_first(start, tmp_path):
    run = capture(start, tmp_path, "hangs")
    run.note("argv", 1)
    run.says("up")
    assert ends_by_term(run) == 31
    assert "(TERM)" in run.record("capture.failed")["msg"]


def test_capture_that_ends_the_engine(start, tmp_path):
    run = capture(start, tmp_path, "ends", mode="exit")
    assert run.wait() == 0
    assert run.record("capture.done")
    assert run.notes()[-1]["tidied"]
    assert "engine.harmed" not in run.events()


@pytest.mark.parametrize("scenario, status", [("failed", 7), ("exits", 8), ("ends-badly", 13), ("dies-frozen", 8),
                                              ("harms", 8)])
def test_failed_capture_in_exit_mode_has_its_exit_status(start, tmp_path, scenario, status):
    run = capture(start, tmp_path, scenario, mode="exit")
    assert run.wait() == status
    assert run.events().count("capture.failed") == 1
    assert not is_alive(run.record("boot.cold")["engine"])


def test_engine_that_ends_before_its_capture_is_no_success(start, tmp_path):
    run = capture(start, tmp_path, "hangs", mode="exit", engine="exit 0")
    assert run.wait() == 6


@pytest.mark.parametrize("base", [300, 1000])
def test_engine_to_be_captured_lives_above_the_pid_base(start, tmp_path, base):
    run = capture(start, tmp_path, "done", "--pid-base", str(base), prefix=as_pid_1(),
                  engine="echo up $$; sleep 1000 & echo child $!; wait")
    run.record("capture.done")
    run.says("child")
    words = run.output().split()
    assert int(words[1]) == run.record("boot.cold")["engine"] == base
    assert int(words[3]) > base


def test_pid_base_without_being_pid_1_is_told_to_have_no_effect(start, tmp_path):
    args = snapshot_args(tmp_path, "--pid-base", "1000")
    run = start(*args, "--", "true", env={"FAKE_WAKE": "nothing"})
    assert run.wait() == 0 and "not PID 1" in run.record("pid.ignored")["msg"]
    run = start(*args, "--", "true", env={"FAKE_WAKE": "nothing"}, prefix=as_pid_1())
    assert run.wait() == 0 and "pid.ignored" not in run.events()
    run = start(*snapshot_args(tmp_path), "--", "true", env={"FAKE_WAKE": "nothing"})
    assert run.wait() == 0 and "pid.ignored" not in run.events()


def test_pid_base_is_reached_without_ns_last_pid(start, tmp_path):
    prefix = [*as_pid_1(), "sh", "-c", "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"", "sh"]
    run = capture(start, tmp_path, "done", prefix=prefix, engine="echo up $$; (exec sleep 1000) & echo child $!; wait")
    run.record("capture.done")
    run.says("child")
    words = run.output().split()
    assert int(words[1]) >= 1000 and int(words[3]) > 1000


# --- readiness ----------------------------------------------------------------------------------


def test_newline_on_the_notify_descriptor_is_told_to_the_worker(start, tmp_path):
    run = capture(start, tmp_path, "told-ready", "--ready", "fd", "--notify-fd", "7",
                  engine="trap 'exit 31' TERM; ls /proc/self/fd | tr '\\n' ' '; sleep 0.2; echo >&7; " + SERVER)
    run.record("capture.done")
    assert run.output().split()[:5] == ["0", "1", "2", "3", "7"]
    assert ends_by_term(run) == 31


NOTIFIER = ("import os, signal, socket, time\ntime.sleep(0.2)\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
            "a = os.environ['NOTIFY_SOCKET']\nassert a.startswith('@snapinit-')\ns.connect('\\0' + a[1:])\n"
            "signal.signal(signal.SIGTERM, lambda n, f: os._exit(31))\ns.send(b'STATUS=hello\\nREADY=1\\n')\n"
            "while True: signal.pause()\n")


def test_ready_message_is_told_to_the_worker_and_upstream(start, tmp_path):
    upstream = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    upstream.bind(str(tmp_path / "up"))
    upstream.settimeout(PATIENCE)
    run = start(*snapshot_args(tmp_path, "--capture", "first-boot", "--ready", "notify"), "--", PYTHON, "-SEc", NOTIFIER,
                env={"FAKE_WAKE": "nothing", "FAKE_CAPTURE": "told-ready", "NOTIFY_SOCKET": str(tmp_path / "up")})
    run.record("capture.done")
    assert upstream.recv(100) == b"STATUS=hello\nREADY=1\n"
    assert ends_by_term(run) == 31
    upstream.close()


def test_reason_of_a_worker_that_has_not_read_everything_is_heard(start, tmp_path):
    run = capture(start, tmp_path, "fails-deaf", "--ready", "fd", "--notify-fd", "7", engine="echo >&7; " + SERVER)
    assert "io_uring of pid 1001" in run.record("capture.failed")["msg"], run.errors()
    assert ends_by_term(run) == 31


@pytest.fixture(name="upstream")
def make_upstream(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as upstream:
        upstream.bind(str(tmp_path / "up"))
        upstream.settimeout(PATIENCE)
        yield upstream


def nothing_came(upstream):
    upstream.setblocking(False)
    with pytest.raises(BlockingIOError):
        upstream.recv(100)
    upstream.settimeout(PATIENCE)
    return True


def test_cold_boot_is_told_upstream_when_its_capture_finds_it_ready(start, tmp_path, upstream):
    run = capture(start, tmp_path, "done", env={"NOTIFY_SOCKET": str(tmp_path / "up")})
    assert upstream.recv(100) == b"READY=1"
    run.record("capture.done")
    assert nothing_came(upstream)
    assert ends_by_term(run) == 31


@pytest.mark.parametrize("scenario", ["never", "failed"])
def test_cold_boot_without_a_capture_is_told_upstream_when_it_is_ready(start, tmp_path, upstream, scenario):
    more = {} if scenario == "failed" else {"mode": "never"}
    run = capture(start, tmp_path, "failed", **more,
                  env={"FAKE_WATCH": "waits", "NOTIFY_SOCKET": str(tmp_path / "up"), "gate": True})
    run.says("up")
    wait_for(lambda: run.notes()[-1].get("argv", [""])[0] == "watch", "a worker that waits")
    assert nothing_came(upstream)
    run.open_gate()
    assert upstream.recv(100) == b"READY=1"
    assert ends_by_term(run) == 31


def test_worker_that_cannot_tell_when_the_engine_is_ready_is_no_harm(start, tmp_path, upstream):
    run = capture(start, tmp_path, "failed", mode="never",
                  env={"FAKE_WATCH": "failed", "NOTIFY_SOCKET": str(tmp_path / "up")})
    assert run.record("ready.unknown")["code"] == "not-ready"
    run.says("up")
    assert ends_by_term(run) == 31
    assert nothing_came(upstream)


def test_wake_is_told_upstream(start, tmp_path):
    upstream = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    upstream.bind(str(tmp_path / "up"))
    upstream.settimeout(PATIENCE)
    run = start(*snapshot_args(tmp_path), "--", "false",
                env={"FAKE_WAKE": "restored", "FAKE_ENGINE": SERVER, "NOTIFY_SOCKET": str(tmp_path / "up")})
    assert upstream.recv(100) == b"READY=1"
    run.record("wake.done")
    run.says("up")
    assert ends_by_term(run) == 31
    upstream.close()


def test_log_goes_on_when_nobody_reads_it(tmp_path):
    """stderr is a full pipe: the engine's output waits, our own lines are dropped, we do not."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        for _ in itertools.count():
            os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(write_end, True)
    began = time.monotonic()
    process = subprocess.run([SNAPINIT, *snapshot_args(tmp_path), "--", "sh", "-c", "exit 6"], stderr=write_end,
                             env=clean_env(FAKE_WAKE="nothing", FAKE_LOG=str(tmp_path / "log")), check=False,
                             timeout=PATIENCE)
    assert process.returncode == 6
    assert time.monotonic() - began < 5
    os.close(read_end)
    os.close(write_end)


def test_every_event_is_documented_and_no_other():
    used = set()
    for path in (SOURCE / "init").glob("*.c"):
        used |= set(re.findall(r'"([a-z]+\.[a-z]+)"', path.read_text()))
    text = (SOURCE / "docs" / "events.md").read_text()
    section = text[:text.index("## snapworker")]
    documented = {word for word in re.findall(r"`([a-z]+\.[a-z]+)`", section)}
    assert used == documented
