# SPDX-License-Identifier: Apache-2.0
"""The bundle alone wakes engines on base images that hold nothing else of ours: llama-server in a
debootstrap bookworm, a static C service in a root that has only busybox."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from lib import engines
from lib.containers import Container

SUITE = "bookworm"
MIRROR = os.environ.get("SNAP_DEBIAN_MIRROR", "http://deb.debian.org/debian")


class Bundled:
    """The bundle seen as `programs`: only /opt/snapinit exists in the container."""

    def snapinit_args(self, store, engine, *, capture=None, extra=()):
        args = ["/opt/snapinit/bin/snapinit", "--snapshot", store, "--log-format", "json"]
        if capture:
            args += ["--capture", capture]
        args += ["--ready", engine.ready] if engine.ready else []
        args += ["--oracle", engine.oracle] if engine.oracle else []
        return args + list(extra) + ["--"] + list(engine.argv)


@pytest.fixture(scope="module")
def bundle(programs, tmp_path_factory):
    dest = str(tmp_path_factory.mktemp("bundle") / "snapinit")
    made = subprocess.run([os.path.join(programs.source, "dev"), "bundle", dest],
                          capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    yield dest
    shutil.rmtree(dest)


@pytest.fixture(scope="module")
def bookworm(programs):
    cache = os.path.join(programs.source, "build/cache")
    root = os.path.join(cache, SUITE)
    if not os.path.exists(root + ".complete"):
        os.makedirs(cache, exist_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        made = subprocess.run(["debootstrap", "--variant=minbase", SUITE, root, MIRROR],
                              capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip("debootstrap: " + (made.stdout + made.stderr).strip().splitlines()[-1])
        with open(root + ".complete", "w", encoding="ascii"):
            pass
    assert not os.path.exists(os.path.join(root, "opt/snapinit"))
    return root


@pytest.fixture(scope="module")
def busybox(workplace, programs):
    program = "/bin/busybox"
    if not os.path.exists(program):
        pytest.skip("busybox-static is not installed")
    root = workplace.folder("busybox-root")
    for name in ("bin", "proc", "sys", "dev", "tmp", "run", "etc", "root"):
        os.mkdir(os.path.join(root, name))
    shutil.copy(program, os.path.join(root, "bin/busybox"))
    os.symlink("busybox", os.path.join(root, "bin/sh"))
    service = os.path.join(root, "bin/static_service")
    shutil.copy(programs.fixture("static_service"), service)
    return root


def roundtrip(workplace, bundle, base, engine, binds):
    store = workplace.store()
    binds = [(bundle, "/opt/snapinit", "ro"), *binds]

    def start(**more):
        args = Bundled().snapinit_args("/snapshot", engine, **more)
        return Container(workplace, args, store=store, base=base, binds=binds, setting="B")

    with start(capture="first-boot") as first:
        done = first.wait_record("capture.done", "capture.failed", seconds=90)
        assert done["event"] == "capture.done", first.tail()
        answer = engine.ask(first)
    for _ in range(3):
        with start() as later:
            record = later.wait_record("wake.done", "boot.cold", seconds=60)
            assert record["event"] == "wake.done", later.tail()
            assert engine.ask(later) == answer


def test_llama_server_wakes_in_a_foreign_bookworm(place, programs, bundle, bookworm):
    engine = engines.llama(programs)
    if engine is None:
        pytest.skip("no model")
    model = engine.argv[engine.argv.index("-m") + 1]
    binds = [(programs.prefix, programs.prefix, "ro"),
             (os.path.dirname(model), os.path.dirname(model), "ro")]
    roundtrip(place, bundle, bookworm, engine, binds)


def test_a_static_service_wakes_in_a_busybox_root(place, programs, bundle, busybox):
    engine = engines.static_service(programs)
    argv = ("/bin/static_service", *engine.argv[1:])
    roundtrip(place, bundle, busybox, replace(engine, argv=argv), [])


def test_manual_and_completion_are_in_the_bundle(programs, bundle):
    if shutil.which("scdoc") is None:
        pytest.skip("scdoc is not installed")
    templates = os.path.join(programs.source, "docs/man")
    for name in os.listdir(templates):
        page = name.removesuffix(".scd.in")
        assert os.path.getsize(os.path.join(bundle, f"share/man/man{page[-1]}", page)) > 0
    for name in ("bash-completion/completions/snapctl", "bash-completion/completions/snapinit",
                 "zsh/site-functions/_snapctl", "fish/vendor_completions.d/snapctl.fish"):
        assert os.path.getsize(os.path.join(bundle, "share", name)) > 0


def test_both_programs_read_the_bundles_configuration(bundle):
    if os.path.exists("/etc/snapinit.conf"):
        pytest.skip("/etc/snapinit.conf is there and comes first")
    path = os.path.join(bundle, "etc/snapinit.conf")
    os.mkdir(os.path.dirname(path))
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write("grace = 7s\nlog-level = loud\n")
        for command in (["bin/snapctl", "config"], ["bin/snapinit", "true"]):
            done = subprocess.run([os.path.join(bundle, command[0]), *command[1:]],
                                  capture_output=True, text=True, check=False)
            assert done.returncode != 0 and f"{path}:2: 'loud'" in done.stderr
        with open(path, "w", encoding="ascii") as file:
            file.write("grace = 7s\n")
        told = json.loads(subprocess.run([os.path.join(bundle, "bin/snapctl"), "config", "--json"],
                                         capture_output=True, check=True).stdout)
        assert told["file"] == path
        assert {"name": "grace", "value": "7s", "origin": "file", "where": f"{path}:1"} in told["settings"]
    finally:
        shutil.rmtree(os.path.dirname(path))
