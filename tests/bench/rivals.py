# SPDX-License-Identifier: Apache-2.0
"""
Who is measured: each rival makes what it starts from once for a case, and then starts as often as
it is asked to. The answers of every start must be those of the cold boot.
"""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field

import clock
import memory
from box import CriuBox, SnapinitBox
from criu_tool import RESTORE_OPTIONS, Criu, read_stats
from failure import BenchError, say

ROOT_PID = 1000  # of the engine, under every rival
CAPTURE_LIMIT_S = 600
WAKE_LIMIT = "180s"
FILLERS = ("ring", "writev")
READERS = ("uring", "pread")


@dataclass(frozen=True)
class Attempt:
    """One start: milliseconds from its exec, and what filled them."""
    first_ms: float
    touched_ms: float
    answer: str
    phases: dict = field(default_factory=dict)
    kernel_cache: str = "-"


class Context:
    """What all rivals of one case share: programs, folders, the case."""

    def __init__(self, programs, case, folder):
        self.programs = programs
        self.case = case
        self.folder = folder
        self.criu = Criu(programs)
        self.keeper = os.path.join(programs.source, "tests/bench/keeper.py")
        self.made = {}

    def new_folder(self, name):
        return tempfile.mkdtemp(prefix=name + ".", dir=self.folder)

    def once(self, name, make):
        """make() for the first who asks; its value for all."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


def attempt(box, began_ns, case, check, finish):
    times = clock.measure(box.pid, case, check)
    began_ns = began_ns()
    first_ms = (times.first_ns - began_ns) / 1e6
    phases, cache = finish(first_ms)
    return Attempt(first_ms, (times.touched_ns - began_ns) / 1e6, times.answer, phases, cache)


class Rival:
    name = ""
    options = ""  # written into the report

    def __init__(self, context):
        self.context = context
        self.case = context.case
        self.bytes = 0  # of its snapshot on the disk

    def prepare(self):
        """Makes what it starts from."""

    def files(self):
        """What it reads: warmed or evicted before each start."""
        return list(self.case.files)

    def start(self, cache):
        raise NotImplementedError


class Cold(Rival):
    name = "cold"
    options = "snapinit without --snapshot"

    def argv(self):
        return [self.context.programs.snapinit, "--log-format", "json", "--", *self.case.argv]

    def start(self, cache):
        box = SnapinitBox(self.context.new_folder(self.name), self.argv(), dict(self.case.env))
        try:
            return attempt(box, lambda: box.began_ns, self.case, box.check, lambda _: ({}, "-"))
        except BenchError as error:
            raise BenchError(str(error), error.log or box.log()) from error
        finally:
            box.end()


# --- CRIU ---------------------------------------------------------------------------------------


def dump_images(context):
    """The folder of a plain dump; with criu.kdat beside it, which that CRIU made."""
    case, folder = context.case, context.new_folder("criu")
    images = os.path.join(folder, "images")
    os.mkdir(images)
    box = CriuBox(context.new_folder("dump"), context.keeper)
    try:
        box.run(case.argv, env=dict(case.env), pid=ROOT_PID)
        clock.measure(box.pid, case, lambda: None)
        box.logs.append(os.path.join(images, "dump.log"))
        box.run(context.criu.dump(ROOT_PID, images), wait=True)
        with open(box.kdat_path(), "rb") as kdat, open(folder + "/criu.kdat", "wb") as copy:
            copy.write(kdat.read())
    finally:
        box.end()
    return folder


class CriuRestore(Rival):
    name = "criu"
    options = "criu restore " + " ".join(RESTORE_OPTIONS) + " (criu.kdat in /run)"
    more = ()

    def prepare(self):
        self.folder = self.context.once("criu", lambda: dump_images(self.context))
        self.images = os.path.join(self.folder, "images")
        self.bytes = memory.stored_bytes(self.images)

    def files(self):
        return super().files() + memory.files_below(self.images)

    def box(self):
        return CriuBox(self.context.new_folder(self.name), self.context.keeper,
                       self.folder + "/criu.kdat")

    def before(self, box, work):
        """(when it began, phases) of what has to run before the restore."""
        return None, {}

    def start(self, cache):
        box = self.box()
        work = self.context.new_folder("work")
        box.logs += [os.path.join(work, name) for name in ("restore.log", "lazy.log")]
        try:
            return self.restore(box, work)
        except BenchError as error:
            raise BenchError(str(error), error.log or box.log()) from error
        finally:
            box.end()

    def restore(self, box, work):
        replies = []

        def check(seconds=0):
            """The reply comes when CRIU has ended, maybe after the first answer."""
            if not replies and (reply := box.reply(seconds)):
                replies.append(reply)
            if replies and replies[0]["status"] != 0:
                raise BenchError(f"criu restore: status {replies[0]['status']}", box.log())
            if replies and not box.has(ROOT_PID):
                raise BenchError("criu restore: the engine has ended after it", box.log())

        def began():
            check(30)
            if not replies:
                raise BenchError("criu restore does not end", box.log())
            return before_ns or replies[0]["began_ns"]

        def finish(first_ms):
            return ({**phases, **self.phases(replies[0], work)},
                    "hit" if box.kdat_hit() else "miss")

        before_ns, phases = self.before(box, work)
        box.order(self.context.criu.restore(self.images, work, *self.more), wait=True)
        return attempt(box, began, self.case, check, finish)

    @staticmethod
    def phases(reply, work):
        stats = read_stats(work, "restore")
        wall_ms = (reply["ended_ns"] - reply["began_ns"]) / 1e6
        return {"start": max(wall_ms - stats["restore"], 0), "forking": stats["forking"],
                "restore": max(stats["restore"] - stats["forking"], 0)}


class CriuLazy(CriuRestore):
    name = "criu-lazy"
    options = "criu lazy-pages, then as criu with --lazy-pages"
    more = ("--lazy-pages",)

    def before(self, box, work):
        reply = box.run(self.context.criu.lazy_pages(self.images, work), ready=True)
        return reply["began_ns"], {"daemon": (reply["ready_ns"] - reply["began_ns"]) / 1e6}


# --- snapinit -----------------------------------------------------------------------------------


class Help:
    """What this snapinit offers: a word of an option's line is a value that it takes."""

    def __init__(self, snapinit):
        text = subprocess.run([snapinit, "--help"], capture_output=True, text=True,
                              check=True).stdout
        self.lines = dict(re.findall(r"^\s+(?:-\w, )?(--[\w-]+)(.*)$", text, re.MULTILINE))

    def offers(self, option, value):
        return bool(re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])",
                              self.lines.get(option, "")))

    def offers_all(self, options):
        return all(self.offers(*pair) for pair in options)


def capture_argv(context, store, more):
    case, programs = context.case, context.programs
    return [programs.snapinit, "--snapshot", store, "--capture", "first-boot",
            "--worker", programs.snapworker, "--criu", programs.criu, "--log-format", "json",
            *more, *case.snapinit_options, "--", *case.argv]


def capture_store(context, options):
    store = os.path.join(context.new_folder("store"), "snapshot")
    box = SnapinitBox(context.new_folder("capture"), capture_argv(context, store, options),
                      dict(context.case.env))
    try:
        record = box.record("capture.done", "capture.failed", seconds=CAPTURE_LIMIT_S)
        if record["event"] != "capture.done":
            raise BenchError(f"capture: {record['msg']}", box.log())
    finally:
        box.end()
    return store


class Snapinit(Rival):
    def __init__(self, context, name="snapinit", flags=(), capture=()):
        super().__init__(context)
        self.name = name
        self.capture = capture
        self.flags = [word for pair in flags for word in pair]
        self.options = " ".join(["snapinit --snapshot", *self.flags])
        if capture:
            self.options += " of a capture with " + " ".join(capture)

    def prepare(self):
        self.store = self.context.once(("store", self.capture),
                                       lambda: capture_store(self.context, self.capture))
        self.bytes = memory.stored_bytes(self.store)

    def files(self):
        return super().files() + memory.files_below(self.store)

    def argv(self):
        programs = self.context.programs
        return [programs.snapinit, "--snapshot", self.store, "--fallback", "none",
                "--wake-timeout", WAKE_LIMIT, "--worker", programs.snapworker, "--criu",
                programs.criu, "--log-format", "json", *self.flags, *self.case.snapinit_options,
                "--", *self.case.argv]

    def start(self, cache):
        box = SnapinitBox(self.context.new_folder(self.name), self.argv(), dict(self.case.env))

        def finish(first_ms):
            record = box.record("wake.phases", seconds=30)
            done = box.record("wake.done", "wake.failed", "wake.refused")
            if done["event"] != "wake.done":
                raise BenchError(f"{done['event']}: {done['msg']}", box.log())
            phases = {name[:-3]: value for name, value in record.items()
                      if name.endswith("_ms") and name != "dur_ms"}
            return phases, record.get("kernel_cache", "-")

        try:
            return attempt(box, lambda: box.began_ns, self.case, box.check, finish)
        except BenchError as error:
            raise BenchError(str(error), error.log or box.log()) from error
        finally:
            box.end()


# --- the floor ----------------------------------------------------------------------------------


class Floor(Rival):
    """
    A restore without content, and then the bytes of the smallest snapshot read into memory that is
    there: criu restore of heap-tiny, and read_floor, one after the other.
    """

    name = "floor"
    options = "criu restore of heap-tiny + io_uring reads into populated huge pages"

    def __init__(self, context, skeleton):
        super().__init__(context)
        self.skeleton = skeleton  # a CriuRestore of the tiny case
        self.program = os.path.join(context.programs.build, "tests/bench/read_floor")

    def prepare(self):
        self.skeleton.prepare()

    def set_bytes(self, size):
        """Known when the others have made their snapshots."""
        self.bytes = size
        self.path = os.path.join(self.context.folder, "floor.dat")
        with open(self.path, "wb") as file:
            for at in range(0, size + memory.PAGE, memory.PIECE):
                file.write(os.urandom(min(memory.PIECE, size + memory.PAGE - at)))

    def files(self):
        return self.skeleton.files() + [self.path]

    def read_ms(self, cache):
        how = "--direct" if cache == "evicted" else "--buffered"
        done = subprocess.run([self.program, self.path, str(self.bytes), how], capture_output=True,
                              text=True, check=False)
        if done.returncode:
            raise BenchError("read_floor failed", done.stderr)
        return json.loads(done.stdout)["read_ns"] / 1e6

    def start(self, cache):
        read_ms = self.read_ms(cache)
        skeleton = self.skeleton.start(cache)
        return Attempt(skeleton.first_ms + read_ms, skeleton.touched_ms + read_ms, None,
                       {"skeleton": skeleton.first_ms, "read": read_ms}, skeleton.kernel_cache)


# --- all of them --------------------------------------------------------------------------------


def fill_configurations():
    for filler in FILLERS:
        for reader in READERS:
            yield f"snapinit-{filler}-{reader}", (("--filler", filler), ("--reader", reader))


def names():
    return ["cold", "criu", "criu-lazy", "snapinit", "snapinit-none", *(name for name, _ in fill_configurations()),
            "floor"]


def rivals_for(context, skeleton, offered, wanted):
    """Those wanted that this snapinit can run; the others are named on stderr."""
    made = [Cold(context), CriuRestore(context), CriuLazy(context), Snapinit(context),
            Snapinit(context, "snapinit-none", capture=("--compress", "none"))]
    for name, flags in fill_configurations():
        if offered.offers_all(flags):
            made.append(Snapinit(context, name, flags))
        elif name in wanted:
            say(f"left out: {name}, this snapinit does not offer "
                + " ".join(word for pair in flags for word in pair))
    made.append(Floor(context, skeleton))
    return [rival for rival in made if rival.name in wanted]
