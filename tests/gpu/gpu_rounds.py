#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Snapshots of one engine and wakes of it by snapctl, as JSON lines; tests/gpu/run.sh runs it.

  gpu_rounds.py OPTIONS wakes -- ENGINE...   create, then wakes with the page cache warm and without
  gpu_rounds.py OPTIONS refused -- ENGINE... criu dump of a CUDA process that nobody checkpointed
  gpu_rounds.py OPTIONS verify -- ENGINE...  create, then snapctl verify --wake, which ends a woken
                                             engine as PID 1 does: not by gpu_probe end

Engines serve HTTP: /health, and an answer that is always the same.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from lib import page_cache, snaplog  # noqa: E402 (the path comes first)
from lib.starts import http_request, read_text  # noqa: E402

POLL_S = 0.001
END_LIMIT_S = 60
LOG_LIMIT_S = 10


class Failed(Exception):
    pass


class Programs:
    """A build folder of this tree, or a pack of run.sh, which has a bundle in it."""

    def __init__(self, build, prefix):
        bundle = os.path.join(build, "bundle")
        self.options, self.env = [], {}
        if os.path.isdir(bundle):
            self.snapctl = os.path.join(bundle, "bin/snapctl")
            library = os.path.join(bundle, "lib")
            self.criu = [os.path.join(library, "snapinit/ld-criu.so"), "--library-path", library,
                         os.path.join(library, "snapinit/criu")]
            return
        self.snapctl = os.path.join(build, "cli/snapctl")
        self.options = ["--snapinit", os.path.join(build, "init/snapinit"),
                        "--criu", os.path.join(prefix, "usr/sbin/criu")]
        self.env = {"SNAPINIT_WORKER": os.path.join(build, "worker/snapworker")}
        self.criu = [os.path.join(prefix, "bin/criu")]


class Run:
    def __init__(self, args):
        self.args = args
        self.programs = Programs(args.build, args.prefix)
        self.env = {**os.environ, **self.programs.env}
        self.place = os.path.join(args.work, args.step)
        self.store = os.path.join(self.place, "store")
        self.log = os.path.join(self.place, "log")
        shutil.rmtree(self.place, ignore_errors=True)
        os.makedirs(self.place)

    def row(self, what, **more):
        fields = {"step": self.args.step, "what": what, **self.labels(), **more}
        print(json.dumps(fields), flush=True)

    def labels(self):
        return {"engine": self.args.name, "pages": self.args.pages}

    def url(self, path):
        return f"http://127.0.0.1:{self.args.port}{path}"

    def ask(self, path, timeout=120):
        try:
            status, body = http_request(self.args.port, path, timeout=timeout)
        except OSError:
            return None
        return body if status == 200 else None

    def start(self, argv):
        """A process in a session of its own; its pid is noted for run.sh to end it."""
        with open(self.log, "ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=self.env, start_new_session=True)
        note(process.pid)
        return process

    def call(self, argv):
        """(exit status, stdout, stderr); it is ended as start()'s are if this program is"""
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=self.env,
                                   start_new_session=True)
        note(process.pid)
        try:
            out, err = process.communicate()
        finally:
            self.end(process)
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(err)
        return process.returncode, out, err

    def end(self, process):
        """Locks and checkpoints what uses CUDA, then kills it (gpu_probe end)."""
        if process.poll() is None:
            done = subprocess.run([self.args.probe, "end", str(process.pid)], check=False,
                                  timeout=END_LIMIT_S, start_new_session=True)
            if done.returncode != 0:
                self.row("end", result="failed: a process kept its devices")
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(END_LIMIT_S)

    def tail(self):
        return "\n".join(line[-400:] for line in read_text(self.log).splitlines()[-12:])

    # --- create

    def create(self):
        argv = [self.programs.snapctl, "create", *self.programs.options, "--output", self.store,
                "--no-verify", "--json", "--pages", self.args.pages, "--ready", self.url("/health"),
                "--oracle", "GET " + self.url(self.args.path), "--", *self.args.engine]
        start = time.monotonic()
        status, out, err = self.call(argv)
        took_ms = (time.monotonic() - start) * 1000
        if status != 0:
            raise Failed(f"create: exit status {status}")
        made = json.loads(out)
        phases = first(snaplog.named(snaplog.parse(err), "capture.phases"))
        manifest = json.loads(read_text(os.path.join(self.generation(), "manifest.json")))
        gpu = manifest.get("gpu") or {}
        staging = sum(each["staging_bytes"] for each in gpu.get("processes", []))
        self.row("create", took_ms=round(took_ms), cold_boot_ms=made["cold_boot_ms"],
                 capture_ms=made["capture_ms"], frozen_ms=made["frozen_ms"], bytes=made["bytes"],
                 staging_bytes=staging, driver_ms=phases.get("gpu_ms"),
                 ours_ms=minus(made["frozen_ms"], phases.get("gpu_ms")),
                 cuda_processes=len(gpu.get("processes", [])),
                 phases={key: value for key, value in phases.items() if key.endswith("_ms")})

    def generation(self):
        return os.path.join(self.store, read_text(os.path.join(self.store, "current")).strip())

    def files(self):
        for folder, _, names in os.walk(self.generation()):
            for name in names:
                yield os.path.join(folder, name)

    # --- wake

    def prepare(self, cache):
        """(pages in the page cache, all pages) once it is as it should be"""
        resident, pages = 0, 0
        for path in self.files():
            if cache == "warm":
                page_cache.read_through(path)
            else:
                page_cache.drop(path)
            there, count = page_cache.resident_pages(path)
            resident, pages = resident + there, pages + count
        return resident, pages

    def wake(self, cache, number, answer):
        resident, pages = self.prepare(cache)
        size = os.path.getsize(self.log)
        start = time.monotonic()
        process = self.start([self.programs.snapctl, "run", *self.programs.options, "--snapshot",
                              self.store, "--fallback", "none", "--log-format", "json", "--",
                              *self.args.engine])
        try:
            said = self.wait_answer(process)
            took_ms = (time.monotonic() - start) * 1000
            records = self.records_since(size)
        finally:
            self.end(process)
        phases = first(snaplog.named(records, "wake.phases"))
        fill = first(snaplog.named(records, "wake.fill"))
        driver = phases.get("gpu_ms")
        self.row("wake", cache=cache, number=number, took_ms=round(took_ms, 1),
                 resident_pages=resident, pages_of_files=pages, driver_ms=driver,
                 ours_ms=minus(phases.get("dur_ms"), driver), fill_ms=phases.get("fill_ms"),
                 fill_gb_s=speed(fill), bytes=phases.get("bytes"), answer_is_same=said == answer,
                 phases={key: value for key, value in phases.items() if key.endswith("_ms")})
        if said != answer:
            raise Failed("the answer after a wake is another one")

    def wait_answer(self, process):
        while process.poll() is None:
            said = self.ask(self.args.path)
            if said is not None:
                return said
            time.sleep(POLL_S)
        raise Failed(f"wake: exit status {process.returncode}")

    def records_since(self, size):
        """PID 1 and the worker say what they did a little after the engine answers."""
        deadline = time.monotonic() + LOG_LIMIT_S
        while True:
            with open(self.log, "rb") as log:
                log.seek(size)
                records = snaplog.parse(log.read().decode(errors="replace"))
            if snaplog.named(records, "wake.done") or time.monotonic() > deadline:
                return records
            time.sleep(POLL_S)

    def wakes(self):
        self.create()
        # the answer of a boot, which is not what snapinit keeps of it
        answer = self.answer_of_a_boot()
        for cache in self.args.cache.split(","):
            for number in range(1, self.args.wakes + 1):
                self.wake(cache, number, answer)

    def answer_of_a_boot(self):
        process = self.start(self.args.engine)
        try:
            return self.wait_answer(process)
        finally:
            self.end(process)

    # --- without checkpoint

    def refused(self):
        images = os.path.join(self.place, "images")
        os.mkdir(images)
        process = self.start(self.args.engine)
        try:
            before = self.wait_answer(process)
            done = subprocess.run([*self.programs.criu, "dump", "-t", str(process.pid), "-D", images,
                                   "-o", "dump.log", "-v1", "--leave-running", "--shell-job",
                                   "--manage-cgroups=ignore", "--file-validation", "filesize"],
                                  check=False, capture_output=True)
            log = read_text(os.path.join(images, "dump.log")).splitlines()
            errors = [line for line in log if "Can't dump" in line] + [
                line for line in log if "Error" in line]
            self.row("dump-without-checkpoint", refused=done.returncode != 0,
                     criu_status=done.returncode, error=errors[0] if errors else "",
                     serves_on=self.ask(self.args.path) == before)
        finally:
            self.end(process)
        if done.returncode == 0:
            raise Failed("CRIU dumped a CUDA process that has its devices")

    def verify(self):
        self.create()
        start = time.monotonic()
        status, _, _ = self.call([self.programs.snapctl, "verify", *self.programs.options, "--wake",
                                  "--json", self.store])
        self.row("verify", took_ms=round((time.monotonic() - start) * 1000), status=status)
        if status != 0:
            raise Failed(f"verify --wake: exit status {status}")


def note(pid):
    """For run.sh, which ends what is left when this program was killed."""
    noted = os.environ.get("GPU_RUN_PIDS")
    if noted:
        with open(noted, "a", encoding="ascii") as pids:
            pids.write(f"{pid}\n")


def first(records):
    return records[0] if records else {}


def minus(all_ms, driver_ms):
    return None if all_ms is None or driver_ms is None else all_ms - driver_ms


def speed(fill):
    if not fill.get("fill_us") or not fill.get("bytes"):
        return None
    return round(fill["bytes"] / fill["fill_us"] / 1000, 3)


def leave(*_):
    """A time-out of run.sh: what was started is ended first. timeout(1) signals twice."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(124)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--probe", required=True, help="gpu_probe")
    parser.add_argument("--work", required=True, help="folder for stores and logs")
    parser.add_argument("--step", required=True, help="name in the rows")
    parser.add_argument("--name", required=True, help="of the engine, in the rows")
    parser.add_argument("--port", type=int, default=8170)
    parser.add_argument("--path", default="/sum", help="that the engine answers the same for ever")
    parser.add_argument("--wakes", type=int, default=1, help="with each state of the page cache")
    parser.add_argument("--cache", default="warm,evicted")
    parser.add_argument("--pages", default="auto", choices=("auto", "off"))
    parser.add_argument("what", choices=("wakes", "refused", "verify"))
    parser.add_argument("engine", nargs="+")
    run = Run(parser.parse_args())
    signal.signal(signal.SIGTERM, leave)
    try:
        getattr(run, run.args.what)()
    except (Failed, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        run.row(run.args.what, result=f"failed: {error}")
        print(run.tail(), file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(run.store, ignore_errors=True)
        shutil.rmtree(os.path.join(run.place, "images"), ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
