# SPDX-License-Identifier: Apache-2.0
"""
Whatever makes a whole snapshot unusable here and now: one line says why, and the engine comes up
all the same. What is damaged is in test_damage.py.

Each case spoils a copy of one good snapshot, or the start, and names what the line must say.
"""

import json
import os
import re
import shutil
import signal
import socket
import time
from dataclasses import dataclass, field, replace

import pytest

from lib import damaged_manifests, engines, oci

BUSY_PORT = 8019


@dataclass
class Attempt:
    """A start about to be made, for a case to spoil."""
    store: str
    options: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)
    extra: list = field(default_factory=list)
    more_argv: tuple = ()
    programs: object = None
    occupant: socket.socket = None

    @property
    def generation(self):
        return os.path.join(self.store, "gen-1")

    def path(self, name):
        return os.path.join(self.generation, name)

    def edit(self, change):
        with open(self.path("manifest.json"), encoding="utf-8") as text:
            manifest = json.load(text)
        change(manifest)
        with open(self.path("manifest.json"), "wb") as out:
            out.write(damaged_manifests.seal(manifest))


def manifest(*keys, to):
    """A case that sets one field; `to` may compute from the old value."""
    def spoil(attempt):
        def change(whole):
            at = whole
            for key in keys[:-1]:
                at = at[key]
            at[keys[-1]] = to(at[keys[-1]]) if callable(to) else to
        attempt.edit(change)
    return spoil


def option(**options):
    return lambda attempt: attempt.options.update(options)


def argument_added(attempt):
    attempt.more_argv = ("--more",)


def secret_added(attempt):
    attempt.env["FLAVOUR"] = "strawberry-secret"


def port_taken(attempt):
    """The engine's own port cannot be taken: it could not boot cold either."""
    attempt.occupant = socket.create_server(("127.0.0.1", BUSY_PORT))
    attempt.options["own_net"] = False
    attempt.edit(lambda m: m["listeners"].append(
        {"protocol": "tcp", "address": "127.0.0.1", "port": BUSY_PORT}))


def pid_taken(attempt):
    def prepare():
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as last:
            last.write("999")
        if os.fork() == 0:
            signal.pause()
            os._exit(0)
    attempt.options["prepare"] = prepare


def oracle_changed(attempt):
    """A snapshot that was woken once is not asked again."""
    attempt.edit(lambda m: m.update(oracle_answer="something else\n", verified=False))


def caps_without_restore(attempt):
    attempt.options["caps"] = oci.DOCKER_CAPS


def file_gone(attempt):
    attempt.edit(lambda m: m["files"].append(
        {**m["files"][0], "path": "/usr/lib/no-such-library.so", "mapped": True}))


def dir_impossible(attempt):
    attempt.edit(lambda m: m["dirs"].append(
        {"path": "/etc/passwd/no-such-dir", "mode": 0o755, "uid": 0, "gid": 0}))


def programs_changed(**paths):
    def spoil(attempt):
        attempt.programs = paths
    return spoil


REFUSED, FAILED, EITHER = ("wake.refused",), ("wake.failed",), ("wake.refused", "wake.failed")

CASES = [
    # who it was made for
    ("argv", argument_added, REFUSED, "argv"),
    ("cwd", option(cwd="/usr"), REFUSED, "cwd.*'?/usr'?"),
    ("uid", manifest("identity", "uid", to=12), REFUSED, "uid.*12"),
    ("gid", manifest("identity", "gid", to=12), REFUSED, "gid.*12"),
    ("groups", manifest("identity", "groups", to=[4, 12]), REFUSED, "groups"),
    ("env added", secret_added, REFUSED, "env.*FLAVOUR"),
    ("env removed", manifest("identity", "env", to=lambda env: env + [
        {"name": "ZEBRA", "digest": "0" * 64}]), REFUSED, "env.*ZEBRA"),
    ("env changed", manifest("identity", "env", 0, "digest", to="0" * 64), REFUSED, "env.*HOME"),
    ("adapter", manifest("identity", "adapter", to="tcp"), REFUSED, "adapter.*tcp"),
    # where
    ("machine", manifest("host", "machine", to="riscv64"), REFUSED, "machine.*riscv64"),
    ("kernel", manifest("host", "kernel_release", to="5.4.0-1"), REFUSED, "kernel.*5.4.0-1"),
    ("cpu", manifest("host", "cpu_flags", to=lambda flags: sorted(flags + ["avx1024"])), REFUSED,
     "cpu lacks avx1024"),
    ("criu version", manifest("host", "criu_version", to="3.17"), REFUSED, "criu.*3.17"),
    ("criu build", manifest("host", "criu_build_id", to="ab" * 20), REFUSED, "criu.*abab"),
    ("setting", caps_without_restore, REFUSED, "setting is none"),
    ("caps", manifest("host", "caps_effective", to="0x1ffffffffff"), REFUSED,
     "caps lack.*(SYS_ADMIN|DAC_READ_SEARCH)"),
    ("filter", manifest("tree_has_filter", to=True), REFUSED, "seccomp filter"),
    ("privileged", manifest("unprivileged", to=False), REFUSED, "privileged"),
    ("page size", manifest("host", "page_size", to=65536), REFUSED, "page_size.*65536"),
    ("nofile", manifest("host", "nofile", to=1 << 30), REFUSED, "nofile.*1073741824"),
    ("memory", manifest("resident_bytes", to=1 << 50), REFUSED, "memory.*MiB needed"),
    # what it stands on
    ("file missing", file_gone, REFUSED, "no-such-library.so.*missing"),
    ("file size", manifest("files", 0, "size", to=lambda size: size + 1), REFUSED,
     "static_service.*bytes"),
    ("file time", manifest("files", 0, "mtime_ns", to=lambda ns: ns - 1000), REFUSED,
     "static_service.*mtime"),
    ("stored file missing", manifest("files", 0, "stored", to="f-000009"), REFUSED,
     "stored file.*missing|f-000009"),
    ("dir", dir_impossible, REFUSED, "/etc/passwd/no-such-dir"),
    ("listener address", manifest("listeners", 0, "address", to="10.9.8.7"), REFUSED,
     "10.9.8.7"),
    ("port taken", port_taken, REFUSED, f"{BUSY_PORT}.*taken"),
    ("pid taken", pid_taken, REFUSED, "pid 1000 is taken"),
    ("pid too high", manifest("pids", to=lambda pids: pids + [4194305]), EITHER,
     "pid 4194305.*pid_max|pids"),
    ("stdio", manifest("stdio", 1, to="socket:[12]"), EITHER, "stdio.*pipe"),
    # what it answers
    ("oracle answers otherwise", oracle_changed, FAILED, "oracle|answer"),
    # the tools
    ("no CRIU", programs_changed(criu="/no/such/criu"), FAILED, "/no/such/criu"),
    ("CRIU that is none", programs_changed(criu="/bin/true"), FAILED, "CRIU|criu"),
    ("no worker", programs_changed(snapworker="/no/such/snapworker"), FAILED,
     "/no/such/snapworker"),
    ("worker that is none", programs_changed(snapworker="/bin/true"), FAILED, "worker"),
]


@pytest.fixture(scope="module")
def good(module_bench, programs):
    """A good snapshot, its engine, and what that answers."""
    engine = engines.static_service(programs)
    store, answer = module_bench.captured(engine)
    return store, engine, answer


def test_good_snapshot_wakes(bench, good):
    """The base of all cases is sound: what refuses them is their own fault."""
    store, engine, answer = good
    with bench.start(store, engine) as start:
        assert start.wait_record("wake.done", "boot.cold")["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer


@pytest.mark.parametrize("spoil,events,cause", [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])
def test_unusable_snapshot_is_told_and_engine_boots(bench, good, spoil, events, cause):
    good_store, engine, answer = good
    store = bench.workplace.store()
    shutil.copytree(good_store, store, symlinks=True, dirs_exist_ok=True)
    attempt = Attempt(store)
    spoil(attempt)
    programs = bench.programs
    if attempt.programs:
        programs = type(programs)(programs.build, programs.prefix, programs.source)
        vars(programs).update(attempt.programs)
    started = time.monotonic()
    tried = engines.with_argv(engine, attempt.more_argv)
    try:
        with bench.start(store, tried, env=attempt.env, extra=attempt.extra,
                         programs=programs, **attempt.options) as start:
            start.wait_record("boot.cold", "wake.done")
            assert tried.ask(start) == answer
            records = start.records("wake.refused", "wake.failed", "wake.done")
            assert len(records) == 1, start.tail()
            assert records[0]["event"] in events, records
            assert re.search(cause, records[0]["msg"], re.DOTALL), records[0]["msg"]
            assert "\n" not in records[0]["msg"]
            assert "strawberry" not in start.stderr
            assert len(start.records("boot.cold")) == 1, start.tail()
            program = os.path.basename(tried.argv[0])[:15]
            assert [entry[2] for entry in start.processes()].count(program) == 1, start.processes()
    finally:
        if attempt.occupant:
            attempt.occupant.close()
    assert time.monotonic() - started < 10


def test_a_snapshot_that_answers_otherwise_is_tried_once(bench):
    engine = engines.threads16(bench.programs)
    store, answer = bench.captured(engine)
    oracle_changed(Attempt(store))
    with bench.start(store, engine) as start:
        start.wait_record("boot.cold")
        assert engine.ask(start) == answer
        assert len(start.records("wake.failed")) == 1, start.tail()
    assert not os.path.exists(os.path.join(store, "current"))
    assert os.path.exists(os.path.join(store, "gen-1/manifest.json"))
    with bench.start(store, engine) as start:
        start.wait_record("boot.cold")
        assert engine.ask(start) == answer
        assert start.records("wake.refused")[0]["code"] == "no-snapshot"


def test_who_says_nothing_about_the_engine_means_the_captured_one(bench):
    engine = engines.threads16(bench.programs)
    store, answer = bench.captured(engine)
    silent = replace(engine, ready=None, oracle=None)
    with bench.start(store, silent) as start:
        record = start.wait_record("wake.done", "boot.cold")
        assert record["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer


def test_a_damaged_kernel_cache_costs_time_and_no_wake(bench):
    engine = engines.threads16(bench.programs)
    store, answer = bench.captured(engine)
    kdat = next(os.path.join(folder, "criu.kdat") for folder, _, names in os.walk(store)
                if "criu.kdat" in names)
    with open(kdat, "r+b") as cache:
        cache.seek(16)
        cache.write(b"\xff" * 200)
    with bench.start(store, engine) as start:
        record = start.wait_record("wake.done", "boot.cold")
        assert record["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer
        assert start.records("wake.phases")[0]["kernel_cache"] == "miss"
