# SPDX-License-Identifier: Apache-2.0
"""Starts over the fake driver, each on a machine of its own whose device memory is counted."""

import fcntl
import os

from lib.starts import read_text, wait_until

MIB = 1 << 20
# as where nothing is described, and what is in use is written down (fake_host.h)
HOST = """driver=580.159.04
cuda=13000
gpu=GPU-fa4e0000-0000-4000-8000-000000000001,NVIDIA H100 80GB HBM3,0000:00:04.0,9.0,81559,81000
state={used}
"""


def library_path(programs):
    return os.path.join(programs.build, "tests/fixtures/fake_cuda")


class Machine:
    """One GPU, and who has memory of it."""

    def __init__(self, folder):
        self.used = os.path.join(folder, "used")
        self.description = os.path.join(folder, "host")
        os.mkdir(self.used, 0o777)
        with open(self.description, "w", encoding="ascii") as text:
            text.write(HOST.format(used=self.used))

    def held_bytes(self):
        """What living processes have."""
        return sum(self._held_in(entry.path) for entry in os.scandir(self.used))

    @staticmethod
    def _held_in(path):
        try:
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return 0  # its process is dead
        except FileNotFoundError:
            return 0
        except BlockingIOError:
            return sum(int(line.split()[1]) for line in read_text(path).splitlines())


def engine_bytes(engine):
    """Device memory of a cuda_engine; None: of another engine."""
    if engine.name != "cuda_engine":
        return None
    values = dict(zip(engine.argv, engine.argv[1:]))
    return int(values["--device-mib"]) * MIB * (1 + int(values.get("--children", 0)))


def _count(start, machine, limit):
    """At its end no more is in use than one engine has, and after it nothing."""
    close = start.close

    def close_counted():
        held = machine.held_bytes() if start.process.poll() is None else 0
        tail = start.tail()
        close()
        assert limit is None or held <= limit, f"{held / MIB} MiB are in use, by two engines?\n{tail}"
        wait_until(lambda: f"{machine.held_bytes() / MIB} MiB are still in use\n{tail}",
                   lambda: machine.held_bytes() == 0, 5)

    start.close = close_counted


def over_fake(bench):
    """The bench, with the fake driver where the engine and the worker find it."""
    start_plainly = bench.start

    def start_over_fake(store, engine, *, env=None, extra=(), **options):
        machine = Machine(bench.workplace.folder("machine"))
        start = start_plainly(
            store, engine, extra=(*extra, "--accept", "env:FAKECUDA_HOST"),
            env={"LD_LIBRARY_PATH": library_path(bench.programs),
                 "FAKECUDA_HOST": machine.description, **(env or {})}, **options)
        _count(start, machine, engine_bytes(engine))
        start.machine = machine
        return start

    bench.start = start_over_fake
    return bench
