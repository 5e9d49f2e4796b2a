# SPDX-License-Identifier: Apache-2.0
"""
Whatever standard streams a start has and whatever the capture had: output arrives in the right
place, nothing is overwritten, and input reaches the engine.
"""

import contextlib
import json
import os

import pytest

from lib import engines, snaplog, streams
from lib.starts import read_text, wait_until

ENGINE_PID = 1000  # of an engine that is to be captured or was woken; another one when booted only


@contextlib.contextmanager
def started(bench, kind, store, engine, **options):
    given = streams.Streams(kind, bench.workplace.folder(f"{kind}-streams"))
    try:
        with bench.start(store, engine, stdio=given.stdio, closed=given.closed, **options) as start:
            given.started(start)
            yield start, given
    finally:
        given.close()


def lines_of(path):
    """The engine's own lines: records are told apart, for both may share a channel."""
    return [line for line in read_text(path).splitlines() if not snaplog.parse(line)]


def expect_line(start, path, line):
    wait_until(lambda: f"no {line!r} in {read_text(path)!r}\n{start.tail()}",
               lambda: line in lines_of(path), 5)


def check_output(start, given, engine, text):
    """Ask the engine to say text on both streams; it must come out once, in its place."""
    status, body = start.http(engine.port, f"/say?text={text}")
    assert status == 200, body
    number = int(body)
    if not given.has_output:
        return
    out, err = f"tick {number} {text}", f"err {number} {text}"
    expect_line(start, given.out_path, out)
    expect_line(start, given.err_path, err)
    if given.out_path != given.err_path:
        assert err not in lines_of(given.out_path)
        assert out not in lines_of(given.err_path)
    assert lines_of(given.out_path).count(out) == 1


def check_old_content(given):
    if given.kind == "file":
        for path in (given.out_path, given.err_path):
            assert read_text(path).startswith(streams.OLD), read_text(path)
            assert read_text(path).count(streams.OLD) == 1


def check_input(start, given, line):
    if given.kind == "file":
        expect_line(start, given.out_path, f"in: {streams.FROM_FILE}")
    elif given.can_send:
        given.send(line)
        expect_line(start, given.out_path, f"in: {line}")


def check_end(start, given):
    """What was written before the end is out when snapinit ends."""
    # a TERM that comes before the worker's last word gives the wake up
    wait_until("end of the worker", lambda: not start.tools(), 10)
    start.terminate()
    check_old_content(given)
    if given.kind in ("pipe", "socket", "file"):
        assert start.records()[0]["event"] == "init.start"
        assert start.records()[-1]["event"] in ("engine.exited", "wake.done", "capture.done"), \
            start.tail()


def captured(bench, kind, engine, **options):
    store = bench.workplace.store(uid=options.get("uid", 0))
    with started(bench, kind, store, engine, capture="first-boot", **options) as (start, given):
        engine.ask(start)
        check_output(start, given, engine, "early")
        check_input(start, given, "first")
        wait_until(lambda: f"no snapshot:\n{start.tail()}",
                   lambda: os.path.exists(os.path.join(store, "current")), 30)
        check_output(start, given, engine, "late")
        if given.can_send:
            check_input(start, given, "second")
        check_end(start, given)
    return store


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("kind", streams.KINDS)
def test_streams_of_every_kind_work_after_a_capture_with_this_kind(bench, request, kind, uid):
    engine = engines.stdio_echo(bench.programs)
    options = {"uid": uid, "gid": uid}
    if uid:
        options["programs"] = request.getfixturevalue("capable")
    store = captured(bench, kind, engine, **options)
    for other in streams.KINDS:
        with started(bench, other, store, engine, **options) as (start, given):
            engine.ask(start)
            roots = [entry[1] for entry in start.engine_roots()]
            assert roots == [ENGINE_PID], f"{other}: no wake: {start.tail()}"
            check_output(start, given, engine, "woken")
            # an engine that met the end of its input before the capture looks no more
            if kind in ("pipe", "socket", "tty"):
                check_input(start, given, "third")
            check_output(start, given, engine, "again")
            check_end(start, given)


@pytest.mark.parametrize("uid", [0, 1000])
def test_terminal_of_a_container_runtime(boxes, request, uid):
    """Captured with an open pipe as input, woken with a terminal that the runtime made."""
    engine = engines.stdio_echo(boxes.programs)
    options = {"uid": uid}
    if uid:
        options["programs"] = request.getfixturevalue("capable")
    reader, writer = os.pipe()
    try:
        store, _ = boxes.captured(engine, stdio={0: reader}, **options)
    finally:
        os.close(reader)
        os.close(writer)
    with boxes.start(store, engine, terminal=True, **options) as start:
        engine.ask(start)
        assert [entry[1] for entry in start.engine_roots()] == [ENGINE_PID]
        assert start.http(engine.port, "/say?text=seen")[0] == 200
        seen = b""
        while b"tick 1 seen" not in seen or b"err 1 seen" not in seen:
            seen += os.read(start.master, 4096)
        os.write(start.master, b"typed\n")
        wait_until("line", lambda: b"heard 1" in start.http(engine.port, "/state")[1], 5)


@pytest.mark.parametrize("setting,uid", [("B", 0), ("A", 0), ("B", 1000)])
def test_files_of_the_engines_own_making_are_put_back(boxes, request, setting, uid):
    """A log, a temporary file, a /dev/shm mapping and a socket, in a container that has none."""
    engine = engines.files_engine(boxes.programs)
    options = {"uid": uid, "setting": setting}
    if uid:
        options["programs"] = request.getfixturevalue("capable")
    store = boxes.workplace.store(uid=uid)
    with boxes.start(store, engine, capture="first-boot", **options) as start:
        done = start.wait_record("capture.done", "capture.failed")
        assert done["event"] == "capture.done", start.tail()
        # the files go on growing behind the snapshot's back
        assert start.http(engine.port, "/write?text=after")[0] == 200
        assert start.http(engine.port, "/check") == (200, b"PASS\n")
    for _ in range(2):
        with boxes.start(store, engine, **options) as start:
            record = start.wait_record("wake.done", "boot.cold")
            assert record["event"] == "wake.done", start.tail()
            assert start.http(engine.port, "/check") == (200, b"PASS\n")
            assert start.http(engine.port, "/write?text=woken") == (200, b"2\n")
            assert start.http(engine.port, "/check") == (200, b"PASS\n")
            root = f"/proc/{start.pid}/root"
            log = f"{root}/tmp/files_engine.log/append.log"
            assert read_text(log) == "1 started\n2 woken\n"
            assert os.stat(log).st_uid == uid


@pytest.mark.parametrize("fault", ["files=fail", "files=kill", "criu=fail", "criu=kill", "resume=kill"])
def test_failed_wake_takes_its_files_away_again(bench, fault):
    """Else the cold boot finds the files of an engine that never was."""
    if not bench.programs.has_faults():
        pytest.skip("this build has no fault points")
    engine = engines.files_engine(bench.programs)
    store, _ = bench.captured(engine)
    with bench.start(store, engine, env={"SNAPINIT_FAULT": f"wake.{fault}"}) as start:
        start.wait_record("boot.cold")
        assert engine.ask(start) == b"PASS\n"
        assert read_text(f"/proc/{start.pid}/root/tmp/files_engine.log/append.log") == "1 started\n"


def test_an_included_file_is_carried_although_the_image_has_it(bench):
    engine = engines.threads16(bench.programs)
    program = engine.argv[0]
    for extra, wanted in (((), False), (("--include", program), True)):
        store = bench.workplace.store()
        with bench.start(store, engine, capture="first-boot", extra=extra) as start:
            done = start.wait_record("capture.done", "capture.failed", seconds=60)
            assert done["event"] == "capture.done", start.tail()
        with open(os.path.join(store, "gen-1/manifest.json"), encoding="utf-8") as text:
            manifest = json.load(text)
        entry = next(file for file in manifest["files"] if file["path"] == program)
        assert bool(entry.get("stored")) == wanted
        if wanted:
            assert f"files/{entry['stored']}" in [image["name"] for image in manifest["images"]]


def test_folders_that_the_engine_made_and_stands_in_are_there_again(bench):
    code = ("import os, http.server as h\n"
            "os.makedirs('/tmp/new/deep'); os.chdir('/tmp/new/deep'); os.mkdir('/tmp/other')\n"
            "held = os.open('/tmp/other', os.O_RDONLY)\n"
            "class H(h.BaseHTTPRequestHandler):\n"
            "    def do_GET(self):\n"
            "        body = f'{os.getcwd()} {os.readlink(f\"/proc/self/fd/{held}\")}'.encode()\n"
            "        self.send_response(200); self.end_headers(); self.wfile.write(body)\n"
            "h.HTTPServer(('127.0.0.1', 8031), h).serve_forever()\n".replace("8031), h)", "8031), H)"))
    engine = engines.Engine("folders", ("/usr/bin/python3", "-B", "-S", "-c", code), 8031,
                            ready="http://127.0.0.1:8031/", path="/")
    store, answer = bench.captured(engine)
    assert answer == b"/tmp/new/deep /tmp/other"
    with bench.start(store, engine) as start:
        record = start.wait_record("wake.done", "boot.cold")
        assert record["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer
