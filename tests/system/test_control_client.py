# SPDX-License-Identifier: Apache-2.0
"""snapctl against whatever answers on a control socket, and snapinit's answers whatever it runs."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests"))

BUILD = pathlib.Path(os.environ.get("SNAP_BUILD", SOURCE / "build" / "dev"))
SNAPCTL = str(BUILD / "cli" / "snapctl")
SNAPINIT = str(BUILD / "init" / "snapinit")
PATIENCE = 60  # for what ends within seconds
MARK = "…"


def env():
    return {key: value for key, value in os.environ.items()
            if not key.startswith(("SNAPINIT_", "SNAPCTL_"))}


def snapctl(*words, patience=PATIENCE, **how):
    return subprocess.run([SNAPCTL, *map(str, words)], capture_output=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=patience, **{"env": env(), **how})


def listens(path):
    """It is bound a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@contextlib.contextmanager
def snapinit(path, *command, more=()):
    """One that listens at path, and its standard error when it has ended."""
    said = []
    with subprocess.Popen([SNAPINIT, "--control", path, *more, "--", *command], env=env(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + PATIENCE
            while not listens(path):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.01)
            yield said
        finally:
            process.terminate()
            said.append(process.communicate(timeout=PATIENCE)[1].decode())


def ask(path, question=b"state\n"):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(question)
        answer = b""
        while True:
            more = client.recv(65536)
            if not more:
                return answer
            answer += more


# --- answers ----------------------------------------------------------------------------------

SLEEP = b"import time; time.sleep(60)"


@pytest.mark.parametrize("words, told", [
    ([b"x" * 9000], None),
    ([b"\xff\xfe" * 40], ["\ufffd" * 80]),
    (["ä€🙂".encode() * 3000], None),
    ([b"\x1b[2J", "\x9b31m".encode(), b'"\\'], ["\x1b[2J", "\x9b31m", '"\\']),
    ([b"\xff" * 9000, b"a", b"b"], None),
    ([b"y" * 200] * 62, None),
    ([b"z"] * 200, ["z"] * 60 + [MARK]),
    ([b"\x01" * 131000], None),
], ids=["long", "bytes", "long and wide", "controls", "many bytes", "long words", "many words",
        "longest"])
def test_every_command_line_is_told_in_json(tmp_path, words, told):
    path = tmp_path / "sock"
    command = [b"/usr/bin/python3", b"-c", SLEEP, b"--", *words]
    with snapinit(path, *command):
        raw = ask(path)
        answer = json.loads(raw.decode("utf-8"))
        assert b"\x1b" not in raw and "\x9b" not in raw.decode() and len(raw) <= 16384
        assert answer["state"] == "serving" and answer["log_level"]
        assert answer["command"][:4] == [word.decode() for word in command[:4]]
        if told is not None:
            assert answer["command"][4:] == told
        else:
            assert any(word.endswith(MARK) for word in answer["command"][4:])
            for word, real in zip(answer["command"][4:], words):
                whole = real.decode("utf-8", errors="replace")
                assert whole == word or (word.endswith(MARK) and whole.startswith(word[:-1]))
            # what is told is not little
            assert len(json.dumps(answer["command"])) > 4000
        done = snapctl("state", "--socket", path, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["command"] == answer["command"]
        assert snapctl("state", "--socket", path).returncode == 0
        text = snapctl("ps").stdout.decode("utf-8")
        assert "\x1b" not in text and "\x9b" not in text


def test_a_long_store_is_told_up_to_a_mark(tmp_path):
    path = tmp_path / "sock"
    store = "/" + "\x01/ü" * 1300  # no longer than a path may be
    with snapinit(path, "sleep", "60", more=["--snapshot", store, "--fallback", "cold"]):
        answer = json.loads(ask(path).decode("utf-8"))
        assert answer["snapshot"].endswith(MARK) and store.startswith(answer["snapshot"][:-1])
        assert answer["command"] == ["sleep", "60"]


# --- servers that are none ----------------------------------------------------------------------

class Server:
    """A listener at path; serve(connection) runs for each connection on a thread of its own."""

    def __init__(self, path, serve, backlog=8):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(backlog)
        self.serve = serve
        self.open = True
        if serve:
            threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while self.open:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def close(self):
        self.open = False
        self.socket.close()


def drip(connection):
    """A byte now and then, for ever: each one comes in time."""
    with connection, contextlib.suppress(OSError):
        while True:
            connection.send(b" ")
            time.sleep(0.5)


def flood(connection):
    with connection, contextlib.suppress(OSError):
        while True:
            connection.send(b"[" * 65536)


def say_nothing(connection):
    with connection, contextlib.suppress(OSError):
        connection.recv(1000)
        connection.recv(1000)


def hang_up(connection):
    connection.close()


@pytest.mark.parametrize("verb", [["state"], ["log-level", "debug"], ["capture", "--timeout", "1s"]],
                         ids=["state", "log-level", "capture"])
@pytest.mark.parametrize("serve, status, text", [
    (drip, 6, b"not answered in time"), (say_nothing, 6, b"not answered in time"),
    (flood, 1, b"is no snapinit"), (hang_up, 1, b"does not answer")],
    ids=["drip", "silence", "flood", "hang up"])
def test_whoever_answers_does_not_hold_us_up(tmp_path, verb, serve, status, text):
    path = tmp_path / "sock"
    with contextlib.closing(Server(path, serve)):
        done = snapctl(*verb, "--socket", path)
    assert done.returncode == status and text in done.stderr, done.stderr


def test_who_accepts_nobody_does_not_hold_us_up(tmp_path):
    path = tmp_path / "sock"
    with contextlib.closing(Server(path, None, backlog=0)), contextlib.ExitStack() as stack:
        while True:  # until its queue is full
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
        done = snapctl("state", "--socket", path)
    assert done.returncode == 6 and b"no snapinit answers" in done.stderr, done.stderr


def test_an_answer_in_pieces_is_whole(tmp_path):
    def serve(connection):
        with connection:
            connection.recv(1000)
            for byte in b'{"state": "serving", "engine": 7}':
                connection.send(bytes([byte]))
                time.sleep(0.01)

    path = tmp_path / "sock"
    with contextlib.closing(Server(path, serve)):
        done = snapctl("state", "--socket", path)
    assert done.returncode == 0 and b"pid 7" in done.stdout, done.stderr


def test_what_it_says_moves_no_cursor(tmp_path):
    said = json.dumps({"error": "\x1b[2J\x9b31m ä", "code": "usage"}).encode()

    def serve(connection):
        with connection:
            connection.recv(1000)
            connection.send(said)

    path = tmp_path / "sock"
    with contextlib.closing(Server(path, serve)):
        done = snapctl("state", "--socket", path)
        as_json = snapctl("state", "--socket", path, "--json")
    assert done.returncode == 2 and done.stderr.decode() == "snapctl: state: ?[2J??31m ä\n"
    assert json.loads(as_json.stdout)["code"] == "usage"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_stranger_is_told_why(tmp_path):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="test_control."))
    try:
        folder.chmod(0o755)
        with snapinit(folder / "sock", "sleep", "60") as said:
            (folder / "sock").chmod(0o666)
            for _ in range(20):
                done = subprocess.run(
                    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", SNAPCTL,
                     "state", "--socket", folder / "sock"], capture_output=True, check=False,
                    env=env(), timeout=PATIENCE)
                assert done.returncode == 3, done.stderr
                assert b"only root and the user of snapinit are heard" in done.stderr
        assert said[0].count("control.refused") == 1, said[0]
    finally:
        (folder / "sock").unlink(missing_ok=True)
        folder.rmdir()


def without_socket(*words):
    """control.off records of a start that has no socket: (level, message)"""
    done = subprocess.run([SNAPINIT, "--log-format", "json", *map(str, words), "--", "true"],
                          capture_output=True, check=False, stdin=subprocess.DEVNULL, env=env(),
                          timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stderr.splitlines()]
    return [(record["level"], record["msg"]) for record in records if record["event"] == "control.off"]


def test_who_asked_for_a_socket_hears_that_there_is_none(tmp_path):
    wanted = ["--snapshot", tmp_path / "store", "--capture", "on-request"]
    (level, why), = without_socket("--control", tmp_path / "no" / "sock")
    assert level == "warn" and "No such file" in why
    (level, why), = without_socket("--control", "sock")
    assert level == "warn" and "absolute" in why
    (level, why), = without_socket("--control", "none", *wanted)
    assert level == "warn" and "no capture can be asked for" in why
    (level, why), = without_socket(*wanted)  # it is not PID 1
    assert level == "warn" and "--control PATH" in why
    # and who did not is left alone
    assert not without_socket()
    assert not without_socket("--control", "none")
    assert not without_socket("--snapshot", tmp_path / "store")
    (level, why), = without_socket("--control", "none", "--log-level", "debug")
    assert level == "debug"


# --- where it is --------------------------------------------------------------------------------

def test_a_relative_path_begins_where_we_are(tmp_path):
    (tmp_path / "below").mkdir()
    with snapinit(tmp_path / "sock", "sleep", "60"):
        for folder, path in ((tmp_path, "sock"), (tmp_path, "./sock"), (tmp_path / "below", "../sock"),
                             ("/", str(tmp_path / "sock")[1:])):
            done = snapctl("state", "--socket", path, cwd=folder)
            assert done.returncode == 0, (path, done.stderr)
        assert snapctl("state", cwd=tmp_path, env={**env(), "SNAPINIT_CONTROL": "sock"}).returncode == 0
        done = snapctl("state", "--socket", "sock", cwd="/")
        assert done.returncode == 3 and b"'sock'" in done.stderr
        done = snapctl("state", "--pid", "1", "--socket", "sock", cwd=tmp_path)
        assert done.returncode == 2 and b"begins with /" in done.stderr
    done = snapctl("state", "--socket", "none")
    assert done.returncode == 3 and b"is none" in done.stderr


def test_a_path_longer_than_a_socket_may_have_is_found(tmp_path):
    """We connect by a descriptor, so where the folder is mounted does not matter."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with snapinit(tmp_path / "sock", "sleep", "60"):
        os.link(tmp_path / "sock", deep / "sock")
        assert snapctl("state", "--socket", deep / "sock").returncode == 0


@pytest.mark.parametrize("verb", ["state", "capture", "log-level"])
def test_a_process_that_has_gone_is_told(verb):
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    done = snapctl(verb, "--pid", gone.pid)
    assert done.returncode == 3, done.stderr
    assert f"no process {gone.pid} ".encode() in done.stderr and b"snapctl ps" in done.stderr
    done = snapctl(verb, "--pid", os.getpid())
    assert done.returncode == 3 and b"does not listen at" in done.stderr
