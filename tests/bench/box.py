# SPDX-License-Identifier: Apache-2.0
"""Starts in fresh namespaces: of snapinit, and of a keeper (keeper.py) that runs CRIU."""

import json
import os
import select
import shutil
import time

from lib import namespaces
from lib.starts import HostStart

from failure import BenchError, read_text

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
KDAT = "/run/criu.kdat"
REPLY_LIMIT_S = 300


def run_on_tmpfs(kdat):
    """CRIU keeps its kernel-feature cache in /run, and only on a tmpfs."""
    namespaces.mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
    if kdat:
        shutil.copyfile(kdat, KDAT)


class SnapinitBox:
    """snapinit as PID 1; began_ns is just before its exec."""

    def __init__(self, folder, argv, env):
        stamp_read, stamp_write = os.pipe()

        def prepare():
            run_on_tmpfs(None)
            os.write(stamp_write, b"%d" % time.monotonic_ns())

        try:
            self.start = HostStart(folder, argv, env={**ENV, **env}, prepare=prepare)
            self.began_ns = int(os.read(stamp_read, 32))
        finally:
            os.close(stamp_read)
            os.close(stamp_write)
        self.pid = self.start.pid

    def check(self):
        if self.start.process.poll() is not None:
            raise BenchError(f"snapinit ended with {self.start.process.returncode}", self.log())

    def log(self):
        return self.start.tail()

    def record(self, *events, seconds=60):
        try:
            return self.start.wait_record(*events, seconds=seconds)
        except AssertionError as error:
            raise BenchError(f"snapinit: no {' or '.join(events)}", str(error)) from error

    def end(self):
        """By TERM, so that snapinit leaves its store in order."""
        try:
            self.start.terminate()
        except (AssertionError, OSError):
            pass
        self.start.close()


class CriuBox:
    """A keeper as PID 1, with /run on a tmpfs that holds a copy of kdat, if there is one."""

    def __init__(self, folder, keeper, kdat=None):
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        argv = ["/usr/bin/python3", "-BESs", keeper]
        try:
            self.start = HostStart(folder, argv, env=ENV, stdio={0: theirs_in, 1: theirs_out},
                                   prepare=lambda: run_on_tmpfs(kdat))
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self.orders = os.fdopen(ours_out, "w")
        self.replies = os.fdopen(ours_in, "r")
        self.pid = self.start.pid
        self.logs = []
        self.kdat_before = self.kdat_id()

    def has(self, pid):
        """Does a process that has this pid inside still run?"""
        return any(inside == pid for _, inside, _, _ in self.start.processes())

    def kdat_path(self):
        return f"/proc/{self.pid}/root{KDAT}"

    def kdat_id(self):
        try:
            return os.stat(self.kdat_path()).st_ino
        except FileNotFoundError:
            return None

    def kdat_hit(self):
        """CRIU writes its cache anew unless it could use it."""
        return self.kdat_before is not None and self.kdat_id() == self.kdat_before

    def order(self, argv, *, env=None, **more):
        if more.get("log"):
            self.logs.append(more["log"])
        order = {"argv": list(argv), "env": {**ENV, **(env or {})}, **more}
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()

    def reply(self, seconds=REPLY_LIMIT_S):
        """The next reply; None when it does not come in time."""
        if not select.select([self.replies], [], [], seconds)[0]:
            return None
        line = self.replies.readline()
        if not line:
            raise BenchError("the keeper has ended", self.log())
        return json.loads(line)

    def run(self, argv, **more):
        self.order(argv, **more)
        reply = self.reply()
        if reply is None or reply.get("ready") is False or reply["status"] not in (0, None):
            raise BenchError(f"{argv[-1] if len(argv) == 1 else ' '.join(argv[-12:])}: {reply}",
                             self.log())
        return reply

    def log(self):
        return "\n".join([self.start.tail(), *(read_text(path) for path in self.logs)])

    def end(self):
        self.start.close()
        self.orders.close()
        self.replies.close()
