#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How soon a snapshot of an engine answers, against its rivals, in one run.

Every rival starts the same engine in fresh pid, mount, ipc and network namespaces, in turns, so
that whatever the machine does beside this hits all of them. Two clocks run from the exec of its
first program: to the first valid answer, and to all of the memory read. Answers must be those of
the cold boot. A rival that fails is told with the end of its log, and the exit status is 1.

With --capture: how long the engine stands still while it is captured, instead.

The tables (or with --json one object a line) go to stdout, progress to stderr.
"""

import argparse
import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

from lib.programs import Programs  # noqa: E402 (the path comes first)

import report  # noqa: E402
import rivals  # noqa: E402
import standstill  # noqa: E402
import svg  # noqa: E402
from cases import Maker  # noqa: E402
from failure import BenchError, say, say_error  # noqa: E402
from rounds import CACHES, Measurement  # noqa: E402

ROUNDS = 7
CAPTURE_ROUNDS = 3


def parse_args(cases):
    parser = argparse.ArgumentParser(prog="./dev bench wake", description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"),
                        help="build folder (%(default)s)")
    parser.add_argument("--prefix", default=os.path.join(ROOT, "build/prefix"),
                        help="folder with CRIU and llama-server (%(default)s)")
    parser.add_argument("--case", action="append", choices=cases, metavar="NAME",
                        help=f"repeatable; all without it: {' '.join(cases)}")
    parser.add_argument("--rival", action="append", choices=rivals.names(), metavar="NAME",
                        help=f"repeatable; all without it: {' '.join(rivals.names())}")
    parser.add_argument("--cache", choices=[*CACHES, "both"], default="both",
                        help="state of the page cache before each start (%(default)s)")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help=f"starts of each rival ({ROUNDS}; with --capture {CAPTURE_ROUNDS})")
    parser.add_argument("--capture", action="store_true",
                        help="measure captures instead of wakes")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, no tables")
    parser.add_argument("--svg", metavar="FILE", help="draw the phases to scale")
    args = parser.parse_args()
    args.rounds = args.rounds if args.rounds is not None else (
        CAPTURE_ROUNDS if args.capture else ROUNDS)
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    if args.capture and (args.svg or args.rival):
        parser.error("--capture goes with neither --svg nor --rival")
    return args


class Run:
    def __init__(self, args, programs, work, folder):
        self.args = args
        self.programs = programs
        self.folder = folder  # gone afterwards
        self.table = Maker(programs, work).table()
        self.offered = rivals.Help(programs.snapinit)
        self.good = True
        self.rows = []

    def context(self, name):
        """None, with a reason on stderr, for a case that cannot be had here."""
        try:
            case = self.table[name]()
        except BenchError as error:
            say(f"left out: {name}: {error}")
            # asked for by name it is an error
            self.good = self.good and not self.args.case
            return None
        folder = tempfile.mkdtemp(prefix=name + ".", dir=self.folder)
        return rivals.Context(self.programs, case, folder)

    def wakes_of(self, context, skeleton):
        args = self.args
        wanted = args.rival or rivals.names()
        caches = CACHES if args.cache == "both" else (args.cache,)
        measured = Measurement(context, rivals.rivals_for(context, skeleton, self.offered, wanted),
                               caches, args.rounds)
        try:
            measured.run()
        finally:
            measured.close()
        self.good = self.good and not any(series.error for series in measured.series)
        return report.rows_of(measured)

    def print(self, rows):
        if self.args.json:
            report.print_json(rows)
        elif self.args.capture:
            report.print_capture_table(rows)
        else:
            report.print_table(rows)

    def all_cases(self):
        skeleton = rivals.CriuRestore(self.context("heap-tiny"))
        for name in self.args.case or self.table:
            context = self.context(name)
            if context is None:
                continue
            try:
                if self.args.capture:
                    rows, good = standstill.measure(context, self.offered, self.args.rounds)
                    self.good = self.good and good
                else:
                    rows = self.wakes_of(context, skeleton)
            except BenchError as error:
                say_error(error)
                self.good = False
                continue
            self.rows += rows
            self.print(rows)

    def end(self):
        line = report.machine_line(self.args.rounds)
        if self.args.svg:
            svg.write(self.args.svg, self.rows, line.split("; median")[0])
        if self.args.json:
            say(line)
            return
        if not self.args.capture:
            report.print_options(self.rows)
        print(line)


def main():
    programs = Programs()
    args = parse_args(list(Maker(programs, "").table()))
    programs = Programs(os.path.abspath(args.build), os.path.abspath(args.prefix), ROOT)
    why = programs.why_missing() or (os.geteuid() != 0 and "CRIU needs root here")
    if why:
        say(why)
        return 1
    # so that TERM also ends what we started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = os.path.join(ROOT, "build/bench")
    os.makedirs(work, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run.", dir=work) as folder:
        run = Run(args, programs, work, folder)
        run.all_cases()
        run.end()
    return 0 if run.good else 1


if __name__ == "__main__":
    sys.exit(main())
