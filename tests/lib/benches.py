# SPDX-License-Identifier: Apache-2.0
"""What pytest needs to start snapinit on the host or in containers; for the conftest.py of a folder."""

import os
import subprocess
import tempfile

import pytest

from . import containers, engines, oci, programs as programs_module
from .starts import HostStart


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", default=bool(os.environ.get("SNAP_TEST_FULL")),
                     help="as many repetitions as the acceptance asks for, in every setting")


@pytest.fixture(scope="session")
def full(request):
    return request.config.getoption("--full")


@pytest.fixture(scope="session")
def programs():
    made = programs_module.Programs()
    why = made.why_missing()
    if why:
        pytest.skip(why)
    return made


@pytest.fixture(scope="session")
def workplace():
    why = containers.why_impossible()
    if why:
        pytest.skip(why)
    place = containers.Workplace()
    place.open()
    try:
        yield place
        left = place.leftovers()
    finally:
        place.close()
    assert not left, f"left behind: {left}"


def reachable_by(uid, path):
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        os._exit(0 if os.access(path, os.R_OK | os.X_OK) else 1)
    return os.waitpid(pid, 0)[1] == 0


@pytest.fixture(scope="session")
def capable(programs, workplace):
    """
    Programs for users other than root: file capabilities on the worker. In the build folder, for
    a container does not see what lies on the workplace's tmpfs.
    """
    if not reachable_by(1000, programs.snapworker) or not reachable_by(1000, programs.criu):
        pytest.skip(f"user 1000 cannot reach {programs.build} or {programs.prefix}")
    with tempfile.TemporaryDirectory(prefix="capable.", dir=programs.build) as folder:
        os.chmod(folder, 0o755)
        yield programs.with_file_caps(folder)


@pytest.fixture
def place(workplace):
    """The workplace, checked after each test."""
    yield workplace
    left = workplace.leftovers()
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def profile():
    path = oci.find_seccomp_profile()
    if path is None:
        pytest.skip("podman's seccomp profile is not here (golang-github-containers-common)")
    return path


B_CAPS = oci.SETTINGS["B"][0]
ENV = containers.default_env("host")


class AnyBench:
    """Where engines are started, one way or the other, and captured."""

    def __init__(self, workplace, programs):
        self.workplace = workplace
        self.programs = programs

    def captured(self, engine, **options):
        """A store with one snapshot of engine, and what the engine answered before."""
        store = self.workplace.store(uid=options.get("uid", 0))
        with self.start(store, engine, capture="first-boot", **options) as start:
            done = start.wait_record("capture.done", "capture.failed", seconds=60)
            assert done["event"] == "capture.done", start.tail()
            answer = engine.ask(start)
        return store, answer


class Bench(AnyBench):
    """Starts on the host with the rights of setting B: what most tests need."""

    def start(self, store, engine, *, capture=None, extra=(), env=None, programs=None, **options):
        programs = programs or self.programs
        return self.start_with(programs.snapinit_args(store, engine, capture=capture, extra=extra),
                               engine, env=env, **options)

    def start_with(self, args, engine, *, env=None, **options):
        options.setdefault("caps", oci.possible(B_CAPS))
        return HostStart(self.workplace.folder(engine.name), args, env={**ENV, **(env or {})},
                         **options)

    def snapctl(self, *words, check=False):
        result = subprocess.run([self.programs.snapctl, *words], capture_output=True, text=True,
                                timeout=90, check=False)
        assert not check or result.returncode == 0, result.stderr
        return result


class ContainerBench(AnyBench):
    """Starts in fresh containers under crun."""

    def start(self, store, engine, *, capture=None, extra=(), programs=None, **options):
        programs = programs or self.programs
        return containers.Container(
            self.workplace,
            programs.snapinit_args("/snapshot", engine, capture=capture, extra=extra),
            store=store, **options)


@pytest.fixture
def boxes(place, programs):
    return ContainerBench(place, programs)


@pytest.fixture
def bench(place, programs):
    return Bench(place, programs)


@pytest.fixture(scope="module")
def module_bench(workplace, programs):
    return Bench(workplace, programs)


@pytest.fixture(scope="session")
def llama(programs):
    engine = engines.llama(programs)
    if engine is None:
        pytest.skip("no model file")
    return engine
