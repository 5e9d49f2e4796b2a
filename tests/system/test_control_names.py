# SPDX-License-Identifier: Apache-2.0
"""Containers of snapctl on one host: each has its control socket, and is found by its name or pid."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests"))

from lib.processes import is_alive  # noqa: E402

BUILD = pathlib.Path(os.environ.get("SNAP_BUILD", SOURCE / "build" / "dev"))
PREFIX = pathlib.Path(os.environ.get("SNAP_PREFIX", SOURCE / "build" / "prefix"))
SNAPCTL = str(BUILD / "cli" / "snapctl")
CRIU = PREFIX / "usr/sbin/criu"
PATIENCE = 60
USER = 1000
NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


def wait_for(condition, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.02)


# what is tested may itself lie below /tmp
MAKE = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/source
mount --bind "$1" /run/source
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$1"
mount --bind /run/source "$1"
umount /run/source
rmdir /run/source
echo made
exec cat
"""


class Host:
    """A mount namespace with /run and /tmp of its own: nobody else's containers are named there."""

    def __init__(self):
        # stays until its standard input ends
        self.holder = subprocess.Popen(  # pylint: disable=consider-using-with
            ["unshare", "-m", "--propagation", "private", "sh", "-ec", MAKE, "sh", SOURCE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"made\n"
        self.started = []

    def close(self):
        for process in self.started:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=PATIENCE)
        self.holder.stdin.close()
        self.holder.wait(PATIENCE)
        self.holder.stdout.close()

    def command(self, words, uid):
        prefix = ["nsenter", "-t", str(self.holder.pid), "-m", "--wd=/", "--"]
        if uid:
            prefix += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
        return [*prefix, *map(str, words)]

    @staticmethod
    def env(more):
        ours = ("SNAPINIT_", "SNAPCTL_", "XDG_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        return {**env, **more}

    def call(self, *words, uid=0, **more):
        return subprocess.run(self.command(words, uid), capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE, env=self.env(more))

    def snapctl(self, *words, **how):
        return self.call(SNAPCTL, *words, **how)

    def start(self, *words, uid=0, **more):
        """snapctl run WORDS, which the caller has to wait for"""
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            self.command([SNAPCTL, "run", *words], uid), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self.env(more))
        self.started.append(process)
        return process

    def run(self, name, *words, **how):
        """snapctl run, once its socket answers under that name"""
        process = self.start(*words, **how)
        wait_for(lambda: process.poll() is not None or self.answers(name, **how), name)
        assert process.poll() is None, process.stderr.read()
        return process

    def answers(self, name, **how):
        return self.snapctl("state", "--name", name, **how).returncode == 0

    def rows(self, **how):
        """name to row of snapctl ps"""
        done = self.snapctl("ps", "--json", **how)
        assert done.returncode == 0, done.stderr
        return {row["name"]: row for row in json.loads(done.stdout)["snapinits"] if row.get("name")}

    def state(self, *words, **how):
        done = self.snapctl("state", "--json", *words, **how)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ls(self, folder):
        return sorted(self.call("ls", folder).stdout.split())


@pytest.fixture(name="host")
def make_host():
    with contextlib.closing(Host()) as host:
        yield host


def refused(done, status, *texts):
    assert done.returncode == status, done.stderr
    for text in texts:
        assert text in done.stderr, done.stderr


def test_each_has_a_socket_and_a_name(host):
    first = host.run("sleep", "--", "sleep", "61")
    host.run("second", "--name", "second", "--", "sleep", "62")
    rows = host.rows()
    assert sorted(rows) == ["second", "sleep"]
    assert all(row["answers"] for row in rows.values())
    for name, words in (("sleep", ["sleep", "61"]), ("second", ["sleep", "62"])):
        assert host.state("--name", name)["command"] == words
        assert host.state("--pid", rows[name]["pid"])["command"] == words
    # which one?
    done = host.snapctl("state")
    refused(done, 2, "--name", "--pid", "second (pid %d)" % rows["second"]["pid"],
            "sleep (pid %d)" % rows["sleep"]["pid"])
    text = host.snapctl("ps")
    assert "second" in text.stdout and "--name" in text.stderr
    assert host.snapctl("log-level", "--name", "second", "debug").stdout == "debug\n"
    assert host.snapctl("log-level", "--name", "sleep").stdout == "warn\n"
    # the only one needs no name, and its folder goes with it
    first.terminate()
    first.wait(PATIENCE)
    assert host.state()["command"] == ["sleep", "62"]
    assert host.ls("/run/snapinit") == ["second"]
    # the last one's with the folder above
    host.started[-1].terminate()
    host.started[-1].wait(PATIENCE)
    assert "snapinit" not in host.ls("/run")


def has_open(pid, path):
    with contextlib.suppress(OSError):
        return any(link == path for link in (os.readlink(f"/proc/{pid}/fd/{fd}")
                                             for fd in os.listdir(f"/proc/{pid}/fd")))
    return False


def test_a_base_that_the_last_one_takes_along_is_made_again(host):
    """Who waits for its lock meanwhile has one that is no longer there."""
    host.call("mkdir", "-m", "711", "/run/snapinit")
    with subprocess.Popen(host.command(["flock", "/run/snapinit", "sh", "-c", "echo held; cat"], 0),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        waiting = host.start("--name", "x", "--", "sleep", "60")
        wait_for(lambda: has_open(waiting.pid, "/run/snapinit"), "one that waits")
        host.call("rmdir", "/run/snapinit")
        holder.stdin.close()
        wait_for(lambda: waiting.poll() is not None or host.answers("x"), "x")
    assert host.ls("/run/snapinit") == ["x"]


def test_one_command_gives_many_names(host):
    for name in ("sleep", "sleep-2", "sleep-3"):
        host.run(name, "sleep", "60")
    assert sorted(host.rows()) == ["sleep", "sleep-2", "sleep-3"]
    # a name is made of what may be in one
    host.call("cp", "/bin/sleep", "/run/.an odd name")
    host.run("engine", "/run/.an odd name", "60")
    host.call("cp", "/bin/sleep", "/run/an odd name")
    host.run("an_odd_name", "/run/an odd name", "60")


def test_names_that_are_refused(host):
    host.run("mine", "--name", "mine", "--", "sleep", "60")
    refused(host.snapctl("run", "--name", "mine", "--", "true"), 125, "'mine'", "--name")
    for bad in ("", ".", "..", "a/b", "../x", "-x", "x" * 64, "ü", "a b"):
        refused(host.snapctl("run", f"--name={bad}", "--", "true"), 125, "is no name")
    refused(host.snapctl("run", "--name", "x", "--control", "/run/x", "--", "true"), 125,
            "--control")
    assert host.snapctl("run", "--name", "x" * 63, "--", "true").returncode == 0
    refused(host.snapctl("state", "--name", "other"), 3, "'other'", "snapctl ps")
    refused(host.snapctl("state", "--name", "../run"), 3)
    refused(host.snapctl("state", "--name", "mine", "--pid", "1"), 2, "give one")


def test_leftovers_of_the_killed_are_known_and_removed(host):
    victim = host.run("victim", "--name", "victim", "--", "sleep", "60")
    pid = host.rows()["victim"]["pid"]
    os.kill(victim.pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), "the end of its container")
    assert host.ls("/run/snapinit/victim") == ["control.sock"]
    assert not host.rows()
    refused(host.snapctl("state", "--name", "victim"), 3, "has ended")
    refused(host.snapctl("state", "--pid", pid), 3, f"no process {pid} ")
    refused(host.snapctl("state"), 3, "snapctl ps")
    # it counts for nothing, and whoever comes next removes it
    host.run("other", "--name", "other", "--", "sleep", "60")
    assert host.state()["command"] == ["sleep", "60"]
    assert host.ls("/run/snapinit") == ["other"]
    # one at the usual place counts as little
    host.call("python3", "-c", "import socket; socket.socket(socket.AF_UNIX).bind('/run/snapinit.sock')")
    assert "snapinit.sock" in host.ls("/run")
    assert host.state()["command"] == ["sleep", "60"]
    refused(host.snapctl("state", "--pid", host.holder.pid), 3, f"process {host.holder.pid} does not",
            "nor elsewhere")
    # its name can be had again while it lies there, too
    os.kill(host.started[-1].pid, signal.SIGKILL)
    wait_for(lambda: not host.answers("other"), "its end")
    host.run("other", "--name", "other", "--", "sleep", "60")


def test_folders_are_private_and_the_users(host):
    host.run("theirs", "--name", "theirs", "--user", str(NOBODY), "--", "sleep", "60")
    look = ["stat", "-c", "%a %u"]
    assert host.call(*look, "/run/snapinit").stdout == "711 0\n"
    assert host.call(*look, "/run/snapinit/theirs").stdout == f"700 {NOBODY}\n"
    assert host.call(*look, "/run/snapinit/theirs/control.sock").stdout == f"600 {NOBODY}\n"
    assert host.state("--name", "theirs")["state"] == "serving"
    # themselves may ask by the name that they know, others may not
    assert host.state("--name", "theirs", uid=NOBODY)["state"] == "serving"
    refused(host.snapctl("state", "--name", "theirs", uid=USER), 3, "may look at")
    # no link leads to another one's socket
    host.run("ours", "--name", "ours", "--", "sleep", "60")
    host.call("ln", "-sf", "/run/snapinit/ours/control.sock", "/run/snapinit/theirs/control.sock",
              uid=NOBODY)
    refused(host.snapctl("state", "--name", "theirs"), 3)


@pytest.mark.parametrize("runtime, place", [
    ("/run/user/1000", "/run/user/1000/snapinit"), (None, "/run/user/1000/snapinit"),
    ("/run/" + "x" * 90, "/run/user/1000/snapinit"), ("relative", "/run/user/1000/snapinit"),
    ("/run/other", "/tmp/snapinit-1000")])
def test_users_have_theirs_in_their_runtime_folder(host, runtime, place):
    if place.startswith("/run/user"):
        host.call("install", "-d", "-m", "700", "-o", USER, "/run/user/1000")
    if runtime and runtime.startswith("/run/x"):
        host.call("install", "-d", "-m", "700", "-o", USER, runtime)
    more = {"XDG_RUNTIME_DIR": runtime} if runtime else {}
    process = host.start("--name", "mine", "--", "sleep", "60", uid=USER, **more)
    wait_for(lambda: process.poll() is not None or host.answers("mine", uid=USER, **more), "mine")
    if process.poll() is not None:
        said = process.stderr.read()
        assert "user namespace" in said, said
        pytest.skip(f"no user namespace for user {USER}: {said}")
    assert host.ls(place) == ["mine"]
    assert host.call("stat", "-c", "%a %u", place).stdout == f"700 {USER}\n"
    host.run("sleep", "sleep", "60", uid=USER, **more)
    rows = host.rows(uid=USER, **more)
    assert sorted(rows) == ["mine", "sleep"]
    # to a snapinit in a user namespace the host's root is nobody, but who has started it is not
    assert host.state("--pid", rows["mine"]["pid"])["command"] == ["sleep", "60"]
    refused(host.snapctl("state", "--pid", rows["mine"]["pid"], uid=NOBODY), 3)
    # and root finds them by name, other users do not
    assert {name: row["pid"] for name, row in host.rows().items()} == {
        name: row["pid"] for name, row in rows.items()}
    assert host.state("--name", "mine")["command"] == ["sleep", "60"]
    assert "mine" not in host.rows(uid=NOBODY)
    refused(host.snapctl("state", "--name", "mine", uid=NOBODY), 3)
    # who says nothing means none of theirs
    refused(host.snapctl("state"), 3, "snapctl ps")


# argv: uid, folder of a container; a socket there on which somebody listens
LISTEN = """
import os, socket, sys, time
os.setuid(int(sys.argv[1]))
os.umask(0o077)
os.makedirs(sys.argv[2])
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2] + "/control.sock")
listener.listen()
print("listens", flush=True)
time.sleep(600)
"""


def test_what_other_users_put_there_leads_nowhere(host):
    """For root only: what is not the user's own counts for nothing, and ours come first."""
    with contextlib.ExitStack() as stack:
        def listen(uid, base, name):
            process = stack.enter_context(subprocess.Popen(
                host.command(["python3", "-c", LISTEN, uid, f"{base}/{name}"], 0),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout.readline() == b"listens\n"

        def is_known(name):
            """Silent, but found."""
            done = host.snapctl("state", "--name", name)
            assert done.returncode in (3, 6), done.stderr
            return "no container of the name" not in done.stderr

        listen(USER, f"/tmp/snapinit-{USER}", "llm")
        assert is_known("llm")
        # a second user's of that name: neither is meant
        listen(NOBODY, f"/tmp/snapinit-{NOBODY}", "llm")
        refused(host.snapctl("state", "--name", "llm"), 2, "several users", "--pid")
        # a base that is another's than its name says, and one that others may write to
        listen(USER, "/tmp/snapinit-1001", "claimed")
        listen(USER, f"/tmp/snapinit-{USER}", "open")
        host.call("chmod", "777", f"/tmp/snapinit-{USER}/open")
        # links to it, of the folder and of the socket
        host.call("ln", "-s", f"/tmp/snapinit-{NOBODY}/llm", f"/tmp/snapinit-{USER}/linked", uid=USER)
        host.call("mkdir", f"/tmp/snapinit-{USER}/link", uid=USER)
        host.call("ln", "-s", f"/tmp/snapinit-{NOBODY}/llm/control.sock",
                  f"/tmp/snapinit-{USER}/link/control.sock", uid=USER)
        for name in ("claimed", "open", "linked", "link"):
            assert not is_known(name), name
        # ours
        host.run("llm", "--name", "llm", "--", "sleep", "60")
        assert host.state("--name", "llm")["command"] == ["sleep", "60"]
        assert host.rows()["llm"]["state"]["command"] == ["sleep", "60"]


def test_no_folder_is_no_reason_not_to_run(host):
    # where others could choose whom we talk to, we do not talk
    for owner, mode in ((USER, "755"), (0, "777")):
        host.call("rm", "-rf", "/run/snapinit", "/tmp/snapinit-0")
        for folder in ("/run/snapinit", "/tmp/snapinit-0"):
            host.call("install", "-d", "-m", mode, "-o", owner, folder)
        done = host.snapctl("run", "--", "true")
        assert done.returncode == 0, done.stderr
        assert "no control socket" in done.stderr
        refused(host.snapctl("run", "--name", "x", "--", "true"), 125,
                "'/run/snapinit' (another user's, or others may write to it)", "'/tmp/snapinit-0' (",
                "'/run/user/0/snapinit' (No such file or directory)", "XDG_RUNTIME_DIR", "--control")
        assert host.ls("/run/snapinit") == []


def test_a_base_that_is_held_for_ever_holds_nobody_up(host):
    host.call("mkdir", "-m", "711", "/run/snapinit")
    with subprocess.Popen(host.command(["flock", "/run/snapinit", "sh", "-c", "echo held; cat"], 0),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        host.run("other", "--name", "other", "--", "sleep", "60")
        assert host.ls("/run/snapinit") == []
        assert host.ls("/tmp/snapinit-0") == ["other"]
        holder.stdin.close()


@pytest.mark.parametrize("how", ["option", "environment", "file"])
def test_a_place_that_is_chosen_counts(host, how):
    words, more = [], {}
    if how == "option":
        words = ["--control", "/run/chosen"]
    elif how == "environment":
        more = {"SNAPINIT_CONTROL": "/run/chosen"}
    else:
        host.call("sh", "-c", "echo 'control = /run/chosen' >/run/conf")
        more = {"SNAPINIT_CONFIG": "/run/conf"}
    host.start(*words, "--", "sleep", "60", **more)
    wait_for(lambda: host.snapctl("state", "--socket", "/run/chosen").returncode == 0, "its answer")
    assert host.ls("/run/snapinit") == []
    # and is found by the pid alone
    pid = next(row["pid"] for row in json.loads(host.snapctl("ps", "--json").stdout)["snapinits"]
               if row["answers"] and row["state"]["command"] == ["sleep", "60"]
               and os.readlink(f"/proc/{row['pid']}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
               and os.path.exists(f"/proc/{row['pid']}/root/run/chosen"))
    assert host.state("--pid", pid)["command"] == ["sleep", "60"]


def test_a_snapinit_at_the_usual_place_comes_first(host):
    """As in a container: no argument is needed, and nothing else is looked for."""
    host.run("other", "--name", "other", "--", "sleep", "61")
    host.start("--control", "/run/snapinit.sock", "--", "sleep", "62")
    wait_for(lambda: host.state()["command"] == ["sleep", "62"], "the one at the usual place")


@pytest.mark.skipif(not CRIU.exists(), reason="CRIU is not in the prefix")
def test_create_has_a_name_as_well(host):
    words = ["create", "--criu", CRIU, "--output", "/run/store", "--for", "full", "--ready",
             "tcp:127.0.0.1:1", "--", "sleep", "60"]
    with subprocess.Popen(host.command([SNAPCTL, *words], 0), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          env=host.env({})) as process:
        try:
            wait_for(lambda: process.poll() is not None or host.answers("sleep"), "its socket")
            assert process.poll() is None, process.stderr.read()
            host.run("sleep-2", "sleep", "60")
            assert host.state("--name", "sleep")["snapshot"] == "/run/store"
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert host.ls("/run/snapinit") == ["sleep-2"]
