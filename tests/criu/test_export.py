# SPDX-License-Identifier: Apache-2.0
"""
No lock-in: what `snapctl export` makes of a snapshot is restored by CRIU alone, which nobody of
ours helps, in a fresh container with the same rights, and answers as before.
"""

import json
import os
import struct
import subprocess

import pytest

from lib import containers, engines, namespaces

MIB = 1 << 20


def make(programs, kind):
    if kind == "heap":
        return engines.heap_engine(programs, 8019, "--heap", "24M", "--shm", "8M", "--zero-half",
                                   "--threads", "4")
    return getattr(engines, kind)(programs)


def export(programs, store, to, *more):
    return subprocess.run([programs.snapctl, "export", "--json", "--criu", to, *more, store],
                          capture_output=True, text=True, timeout=120, check=False)


def exported(programs, store, to):
    done = export(programs, store, to)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def manifest_of(store):
    with open(f"{store}/gen-1/manifest.json", encoding="utf-8") as text:
        return json.load(text)


def restore_command(programs, told):
    """What export says, with the images where the container has them and the prefix's CRIU."""
    words = ["/snapshot" if word == told["criu"] else word for word in told["restore"]]
    assert words[0] == "criu" and "/snapshot" in words
    return [os.path.join(programs.prefix, "bin/criu"), *words[1:]]


class ByHand(containers.Container):
    """A container in which CRIU alone restores; PID 1 only reaps and passes signals on."""

    def __init__(self, boxes, told, **options):
        super().__init__(boxes.workplace,
                         [boxes.programs.snapinit, "--", *restore_command(boxes.programs, told)],
                         store=told["criu"], **options)


def ask_twice(engine, start, answer, fixtures_check):
    assert engine.ask(start) == answer
    if fixtures_check:
        assert start.wait_http(engine.port, "/check") == b"PASS\n"
    assert engine.ask(start) == answer


@pytest.mark.parametrize("compress", ["none", "zstd"])
@pytest.mark.parametrize("kind", ["heap", "pyservice", "forktree"])
def test_criu_alone_restores_what_was_exported(boxes, kind, compress):
    engine = make(boxes.programs, kind)
    store, answer = boxes.captured(engine, setting="B")
    to = boxes.workplace.path + f"/images-{kind}-{compress}"
    told = exported(boxes.programs, store, to)
    with ByHand(boxes, told, setting="B") as start:
        ask_twice(engine, start, answer, True)
