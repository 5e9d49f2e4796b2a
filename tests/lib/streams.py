# SPDX-License-Identifier: Apache-2.0
"""Standard streams of every kind, as who starts a container may give them to it."""

import os
import pty
import socket
import threading
import tty

KINDS = ("pipe", "file", "socket", "tty", "null", "closed")

OLD = "what was there before\n"
FROM_FILE = "from file"


class Streams:
    """
    Three descriptors for a start in .stdio and .closed; what comes out is collected in the files
    out and err of a folder (one for both where the kind has one channel only).
    """

    def __init__(self, kind, folder):
        self.kind = kind
        self.out_path = os.path.join(folder, "out")
        self.err_path = self.out_path if kind == "tty" else os.path.join(folder, "err")
        self.stdio = {}
        self.closed = ()
        self.has_output = kind not in ("null", "closed")
        self._input = None
        self._theirs = []
        self._ours = []
        self._readers = []
        getattr(self, "_make_" + kind)(folder)

    # --- kinds

    def _make_pipe(self, _):
        for number in range(3):
            reader, writer = os.pipe()
            theirs, ours = (reader, writer) if number == 0 else (writer, reader)
            self._give(number, theirs, ours)

    def _make_socket(self, _):
        for number in range(3):
            theirs, ours = (end.detach() for end in socket.socketpair())
            self._give(number, theirs, ours)

    def _make_tty(self, _):
        master, slave = pty.openpty()
        tty.setraw(slave)
        self._theirs.append(slave)
        self.stdio = {0: slave, 1: slave, 2: slave}
        self._input = master
        self._read(master, self.out_path)

    def _make_file(self, folder):
        path = os.path.join(folder, "in")
        with open(path, "w", encoding="ascii") as out:
            out.write(FROM_FILE + "\n")
        self.stdio[0] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        for number, path in ((1, self.out_path), (2, self.err_path)):
            with open(path, "w", encoding="ascii") as out:
                out.write(OLD)
            self.stdio[number] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._theirs += self.stdio.values()

    def _make_null(self, _):
        for number in range(3):
            self.stdio[number] = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._theirs += self.stdio.values()

    def _make_closed(self, _):
        self._make_null(_)
        self.closed = (0, 1, 2)

    # --- the machinery

    def _give(self, number, theirs, ours):
        self.stdio[number] = theirs
        self._theirs.append(theirs)
        if number == 0:
            self._input = ours
            self._ours.append(ours)
        else:
            self._read(ours, self.out_path if number == 1 else self.err_path)

    def _read(self, fd, path):
        """Until the last writer is gone; the fd is closed then."""
        def run():
            with open(path, "ab", buffering=0) as out:
                while True:
                    try:
                        data = os.read(fd, 65536)
                    except OSError:  # the last slave of a terminal is closed: EIO
                        break
                    if not data:
                        break
                    out.write(data)
            if fd != self._input:
                os.close(fd)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._readers.append(thread)
        if fd == self._input:
            self._ours.append(fd)

    def started(self, start):
        """The start has its descriptors now: drop ours of them, collect for it."""
        for fd in self._theirs:
            os.close(fd)
        self._theirs = []
        start.stdout_path, start.stderr_path = self.out_path, self.err_path

    @property
    def can_send(self):
        return self._input is not None

    def send(self, line):
        os.write(self._input, line.encode() + b"\n")

    def close(self):
        for fd in self._theirs:
            os.close(fd)
        for thread in self._readers:
            thread.join(5)
        for fd in self._ours:
            os.close(fd)
        self._theirs, self._ours = [], []
