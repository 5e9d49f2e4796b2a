#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Cold boot against wake of examples/rag-agent, measured as demo.py measures its engines.

Beside demo.py's columns: the mappings of the woken tree, and what it holds in memory.
"""

import os
import signal
import shutil
import sys
import tempfile

import demo
from lib import engines, programs as programs_module
from lib.starts import descendants_of, read_text, status_field


class RagAgent(demo.PyService):
    name = "rag-agent"

    def __init__(self, args):
        super().__init__()
        self.made = engines.rag_agent(programs_module.Programs(args.build, args.prefix), self.port)
        if self.made is None:
            raise demo.DemoError("the packages of examples/rag-agent are missing; run ./dev setup")

    def command(self):
        return list(self.made.argv)

    def options(self):
        return ["--engine", "http", "--ready", self.made.ready, "--oracle", self.made.oracle]

    def request(self):
        return f"GET {self.made.path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode()

    def first_part(self, body):
        return body.endswith(b"}")


class Measure(demo.Measure):
    """And a look at the woken processes."""

    def look(self):
        start = demo.Start(self.run_argv("wake"), os.path.join(self.work, "look.log"))
        try:
            start.first_answer(self.engine)
            for pid in descendants_of(start.process.pid):
                name = status_field(pid, "Name")
                if name in ("python3", "ld-linux-x86-64"):
                    maps = read_text(f"/proc/{pid}/maps").splitlines()
                    print(f"{name}: {len(maps)} mappings, {status_field(pid, 'Threads')} threads, "
                          f"VmRSS {status_field(pid, 'VmRSS')}, "
                          f"RssAnon {status_field(pid, 'RssAnon')}")
        finally:
            start.end()


def measure(args, work):
    taken = Measure(args, RagAgent(args), work)
    taken.run()
    row = taken.row()
    demo.print_table([taken], [row])
    taken.look()
    print(demo.machine_line(args.rounds))
    if not row["same_answer"]:
        raise demo.DemoError("answers differ")


def main():
    args = demo.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="snapinit-rag-", dir=args.build)
    try:
        measure(args, work)
    except demo.DemoError as error:
        if error.log:
            sys.stderr.write(error.log)
        demo.say(error)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
