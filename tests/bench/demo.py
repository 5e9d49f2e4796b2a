#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Cold boot against wake, measured: llama-server and a Python service, side by side.

For each engine `snapctl create` makes a snapshot; then cold boots and wakes alternate, so that
whatever the machine does beside this hits both. A start is timed from snapinit's first record
(init.start) to the engine's first token or answer, which is asked for every millisecond. Every
answer must be the same, and every wake must be one, or the exit status is 1.

The table (or with --json one array of rows) goes to stdout, progress to stderr.
"""

import argparse
import datetime
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

from lib import snaplog  # noqa: E402 (the path comes first)

PYTHON = "/usr/bin/python3"
POLL_S = 0.001
START_LIMIT_S = 60
RECORDS_LIMIT_S = 10
END_LIMIT_S = 20
CREATE_LIMIT_S = 300
MIN_ROUNDS = 5
# below the ports that the kernel hands out, so that nobody gets ours for a connection
PORTS = range(20000, 32000)


class DemoError(Exception):
    """What ends the demo, in one line; log is what the programs said."""

    def __init__(self, text, log=""):
        super().__init__(text)
        self.log = log


def say(text):
    print(f"demo: {text}", file=sys.stderr, flush=True)


def free_port():
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise DemoError("no free port on the loopback")


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


class Reply:
    """Answers of one request: text is None until a whole good one has come."""

    def __init__(self, text=None, first_ns=0):
        self.text = text
        self.first_ns = first_ns


class Engine:
    """A command, how snapctl gets it ready, and the request whose first answer counts."""

    name = ""

    def __init__(self):
        self.port = free_port()

    def command(self):
        raise NotImplementedError

    def options(self):
        return []

    def request(self):
        raise NotImplementedError

    def first_part(self, body):
        """Does the body so far hold the first token or answer?"""
        raise NotImplementedError

    def answer(self, body):
        """The text of a whole body; ValueError when it is none."""
        return body.decode()

    def ask(self):
        """One try: a Reply whose text is None while there is no good answer."""
        received, first_ns = b"", 0
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=START_LIMIT_S) as s:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                s.sendall(self.request())
                while True:
                    piece = s.recv(65536)
                    now_ns = time.time_ns()
                    if not piece:
                        break
                    received += piece
                    head, end, body = received.partition(b"\r\n\r\n")
                    if not first_ns and end and self.first_part(body):
                        first_ns = now_ns
            head, _, body = received.partition(b"\r\n\r\n")
            if head.split(b" ")[1:2] == [b"200"] and first_ns:
                return Reply(self.answer(unchunk(head, body)), first_ns)
        except (OSError, ValueError):
            pass
        return Reply()


def unchunk(head, body):
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        count = int(size.split(b";")[0], 16)
        if count == 0:
            return whole
        whole += rest[:count]
        body = rest[count + 2:]
    raise ValueError("no last chunk")


class LlamaServer(Engine):
    name = "llama-server"

    def __init__(self, prefix, work):
        super().__init__()
        try:
            lines = read_text(os.path.join(prefix, "paths.env")).splitlines()
        except OSError as error:
            raise DemoError(f"no llama-server in {prefix}: {error}; run ./dev setup") from error
        self.paths = dict(line.split("=", 1) for line in lines if "=" in line)
        self.model = os.path.normpath(os.path.join(ROOT, "../shared/models/stories260K.gguf"))
        if not os.path.exists(self.model):
            self.model = os.path.join(work, "tiny.gguf")
            subprocess.run([PYTHON, os.path.join(ROOT, "tools/make_tiny_gguf.py"),
                            "--out", self.model], check=True)
        say(f"llama-server's model: {self.model}")

    def command(self):
        return [self.paths["LLAMA_LDSO"], "--library-path", self.paths["LLAMA_LIBPATH"],
                self.paths["LLAMA_BIN"], "-m", self.model, "--host", "127.0.0.1",
                "--port", str(self.port), "-c", "512", "--log-disable"]

    def request(self):
        body = json.dumps({"prompt": "Once upon a time", "n_predict": 24, "temperature": 0,
                           "seed": 1, "cache_prompt": False, "ignore_eos": True,
                           "stream": True}).encode()
        return (b"POST /completion HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)) + body

    def first_part(self, body):
        start = body.find(b'data: {')
        return start >= 0 and body.find(b"\n\n", start) >= 0

    def answer(self, body):
        events = [json.loads(line[len("data: "):]) for line in body.decode().splitlines()
                  if line.startswith("data: ")]
        if not events or not events[-1].get("stop"):
            raise ValueError("not a whole stream")
        return "".join(event["content"] for event in events)


class PyService(Engine):
    name = "pyservice"

    def command(self):
        return [PYTHON, os.path.join(ROOT, "tests/fixtures/pyservice.py"), "--port", str(self.port)]

    def options(self):
        url = f"http://127.0.0.1:{self.port}"
        return ["--engine", "http", "--ready", f"{url}/health", "--oracle", f"GET {url}/answer"]

    def request(self):
        return b"GET /answer HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"

    def first_part(self, body):
        return body.endswith(b"}\n")

    def answer(self, body):
        json.loads(body)
        return body.decode()


class IndexService(PyService):
    """The same service with a boot that works: it indexes texts, as a retrieval service does."""

    name = "pyservice --index"

    def command(self):
        return super().command() + ["--index"]


class Start:
    """`snapctl run` in the foreground of nothing, ended by TERM."""

    def __init__(self, argv, log_path):
        self.log_path = log_path
        self.spawn_ns = time.time_ns()
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def records(self):
        return snaplog.parse(read_text(self.log_path))

    def has(self, event):
        return bool(snaplog.named(self.records(), event))

    def wait_for_record(self, event):
        """True once the record is there; it may come a little after the answer."""
        deadline = time.monotonic() + RECORDS_LIMIT_S
        while not self.has(event):
            if time.monotonic() > deadline or self.process.poll() is not None:
                return self.has(event)
            time.sleep(0.01)
        return True

    def began_ns(self):
        started = snaplog.named(self.records(), "init.start")
        if not started:
            return self.spawn_ns
        stamp = datetime.datetime.fromisoformat(started[0]["ts"].replace("Z", "+00:00"))
        return int(stamp.timestamp()) * 10**9 + stamp.microsecond * 1000

    def fail(self, text):
        raise DemoError(text, read_text(self.log_path))

    def first_answer(self, engine):
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            reply = engine.ask()
            if reply.text is not None:
                return reply
            if self.process.poll() is not None:
                self.fail(f"{engine.name}: ended with {self.process.returncode} before an answer")
            if time.monotonic() > deadline:
                self.fail(f"{engine.name}: no answer within {START_LIMIT_S} s")
            time.sleep(POLL_S)

    def end(self):
        """TERM, or KILL for what does not obey; True if it obeyed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_LIMIT_S)
            return True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False


class Measure:
    """All rounds of one engine."""

    def __init__(self, args, engine, work):
        self.args = args
        self.engine = engine
        self.work = os.path.join(work, engine.name)
        self.store = os.path.join(self.work, "snapshot")
        os.mkdir(self.work)
        self.snapctl = os.path.join(args.build, "cli/snapctl")
        self.criu = os.path.join(args.prefix, "usr/sbin/criu")
        self.times = {"cold": [], "wake": []}
        self.phases = []
        self.answers = []
        self.starts = 0

    def create(self):
        log_path = os.path.join(self.work, "create.log")
        argv = [self.snapctl, "create", "--for", "full", "--output", self.store,
                "--criu", self.criu, *self.engine.options(), "--", *self.engine.command()]
        say(f"{self.engine.name}: making the snapshot")
        with open(log_path, "wb") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                status = process.wait(CREATE_LIMIT_S)
            except subprocess.TimeoutExpired:
                status = f"no end after {CREATE_LIMIT_S} s"
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if status != 0:
            raise DemoError(f"{self.engine.name}: snapctl create: {status}", read_text(log_path))

    def run_argv(self, kind):
        return [self.snapctl, "run", "--for", "full", "--snapshot", self.store,
                *(["--no-wake"] if kind == "cold" else []), "--criu", self.criu,
                "--log-level", "info", "--log-format", "json", *self.engine.options(),
                "--", *self.engine.command()]

    def start(self, kind):
        """One start: its time and its answer are kept."""
        self.starts += 1
        start = Start(self.run_argv(kind), os.path.join(self.work, f"{self.starts}-{kind}.log"))
        try:
            reply = start.first_answer(self.engine)
            ms = (reply.first_ns - start.began_ns()) / 1e6
            if kind == "wake":
                if not start.wait_for_record("wake.done"):
                    start.fail(f"{self.engine.name}: did not wake, it booted cold")
                start.wait_for_record("wake.phases")
                self.phases += snaplog.named(start.records(), "wake.phases")[:1]
            elif start.has("wake.done"):
                start.fail(f"{self.engine.name}: woke where it should have booted cold")
        finally:
            obeyed = start.end()
        if not obeyed:
            start.fail(f"{self.engine.name}: did not end {END_LIMIT_S} s after TERM")
        self.times[kind].append(ms)
        self.answers.append(reply.text)

    def run(self):
        self.create()
        for number in range(self.args.rounds):
            for kind in ("cold", "wake") if number % 2 == 0 else ("wake", "cold"):
                self.start(kind)
            say(f"{self.engine.name}: round {number + 1} of {self.args.rounds}: "
                f"cold {self.times['cold'][-1]:.0f} ms, wake {self.times['wake'][-1]:.0f} ms")

    def snapshot_bytes(self):
        return sum(os.lstat(os.path.join(folder, name)).st_size
                   for folder, _, names in os.walk(self.store) for name in names)

    def phase_medians(self):
        names = [key for key, value in (self.phases[0] if self.phases else {}).items()
                 if key.endswith("_ms") and isinstance(value, (int, float))]
        return {name: statistics.median(record.get(name, 0) for record in self.phases)
                for name in names}

    def row(self):
        cold, wake = (statistics.median(self.times[kind]) for kind in ("cold", "wake"))
        return {
            "name": self.engine.name,
            "cold_ms": round(cold, 1),
            "wake_ms": round(wake, 1),
            "ratio": round(cold / wake, 2),
            "same_answer": len(set(self.answers)) == 1,
            "snapshot_bytes": self.snapshot_bytes(),
            "phases": self.phase_medians(),
        }


def spread(median, times):
    return f"{median:.0f} ({min(times):.0f}-{max(times):.0f})"


def print_table(measures, rows):
    lines = [["engine", "cold boot ms", "wake ms", "ratio", "same answer", "snapshot",
              "phases of a wake, ms"]]
    for measure, row in zip(measures, rows):
        phases = " ".join(f"{name[:-3]} {value:g}" for name, value in row["phases"].items())
        lines.append([row["name"], spread(row["cold_ms"], measure.times["cold"]),
                      spread(row["wake_ms"], measure.times["wake"]), f"{row['ratio']:.2f}",
                      "yes" if row["same_answer"] else "NO",
                      f"{row['snapshot_bytes'] / 2**20:.1f} MiB", phases or "-"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def machine_line(rounds):
    model = "unknown CPU"
    for line in read_text("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (f"{now}; {os.cpu_count()} x {model}; Linux {platform.release()}; "
            f"median (min-max) of {rounds} each, in turns, page cache warm; from exec of snapinit "
            f"to first token (llama-server) or answer")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"),
                        help="build folder (%(default)s)")
    parser.add_argument("--prefix", default=os.path.join(ROOT, "build/prefix"),
                        help="folder with CRIU and llama-server (%(default)s)")
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, metavar="N",
                        help="starts of each kind (%(default)s, not fewer)")
    parser.add_argument("--json", action="store_true", help="one JSON array instead of the table")
    args = parser.parse_args()
    if args.rounds < MIN_ROUNDS:
        parser.error(f"--rounds must be at least {MIN_ROUNDS}")
    args.build, args.prefix = os.path.abspath(args.build), os.path.abspath(args.prefix)
    return args


def measure_all(args, work):
    measures = [Measure(args, LlamaServer(args.prefix, work), work),
                Measure(args, PyService(), work), Measure(args, IndexService(), work)]
    for measure in measures:
        measure.run()
    rows = [measure.row() for measure in measures]
    if args.json:
        say(machine_line(args.rounds))
        print(json.dumps(rows, indent=1))
    else:
        print_table(measures, rows)
        print(machine_line(args.rounds))
    different = [row["name"] for row in rows if not row["same_answer"]]
    if different:
        raise DemoError(f"answers differ: {', '.join(different)}")


def main():
    args = parse_args()
    # so that TERM also ends what we started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="snapinit-demo-", dir=args.build)
    try:
        measure_all(args, work)
    except DemoError as error:
        if error.log:
            sys.stderr.write("".join(f"demo: | {line}\n" for line in error.log.splitlines()[-40:]))
        say(error)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
