# SPDX-License-Identifier: Apache-2.0
"""The fake libcuda keeps what its header promises: states, error codes, and what CRIU makes of it."""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from fakes import (BUILD, CHECKPOINTED, FAILED, FAKE, HOST, LOCKED, MIB, PREFIX, RUNNING, UUID_A,
                   UUID_B, Target, call, checkpoint, criu, cuda,
                   lock_args, restore_args, rss_mib, state)


@pytest.fixture
def target():
    made = Target()
    yield made
    made.close()


@pytest.fixture(autouse=True, scope="module")
def caller_is_initialised():
    assert cuda.cuInit(0) == 0


@pytest.fixture
def fault(monkeypatch):
    return lambda text: monkeypatch.setenv("FAKECUDA_FAULT", text)


def test_walk_keeps_addresses_and_contents(target):
    before = target.ask("sum")
    rss = rss_mib(target.pid)
    checkpoint(target.pid)
    assert rss_mib(target.pid) - rss > MIB * 0.9
    target.say("sum")
    assert not target.has_answer(0.3)
    assert call("Restore", target.pid) == 0
    assert state(target.pid) == LOCKED
    assert not target.has_answer(0.3)
    assert call("Unlock", target.pid) == 0
    assert target.process.stdout.readline().strip() == before


@pytest.mark.parametrize("where, wrong", [
    (RUNNING, ["Checkpoint", "Restore", "Unlock"]),
    (LOCKED, ["Lock", "Restore"]),
    (CHECKPOINTED, ["Lock", "Checkpoint", "Unlock"]),
])
def test_wrong_states_are_401_and_change_nothing(target, where, wrong):
    for name in ["Lock", "Checkpoint"][:where]:
        assert call(name, target.pid) == 0
    for name in wrong:
        assert call(name, target.pid) == 401, name
        assert state(target.pid) == where
    if where == CHECKPOINTED:
        assert call("Restore", target.pid) == 0


def test_who_is_asked(target):
    value = ctypes.c_int()
    plain = subprocess.Popen(["sleep", "60"])
    try:
        assert call("GetState", plain.pid, ctypes.byref(value)) == 3
        assert call("GetRestoreThreadId", plain.pid, ctypes.byref(value)) == 3
    finally:
        plain.kill()
        plain.wait()
    assert call("GetState", plain.pid, ctypes.byref(value)) == 304
    assert call("GetState", target.pid, None) == 1
    assert call("GetRestoreThreadId", target.pid, ctypes.byref(value)) == 0
    tid = value.value
    assert pathlib.Path(f"/proc/{target.pid}/task/{tid}/comm").read_text().startswith("cuda")
    assert call("Lock", tid) == 0
    assert state(target.pid) == LOCKED
    reserved = (ctypes.c_uint64 * 8)(0, 0, 1)
    for name in ["Lock", "Checkpoint", "Restore", "Unlock"]:
        assert call(name, target.pid, reserved) == 1, name


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_is_refused(target):
    code = (f"import ctypes, os; c = ctypes.CDLL({str(FAKE / 'libcuda.so.1')!r}); os.setuid(65534);"
            f"print(c.cuCheckpointProcessLock({target.pid}, None))")
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "800"


def test_restore_wants_an_initialised_caller(target):
    checkpoint(target.pid)
    code = (f"import ctypes; c = ctypes.CDLL({str(FAKE / 'libcuda.so.1')!r});"
            f"print(c.cuCheckpointProcessRestore({target.pid}, None))")
    for persistence, result in (("0", "3"), ("1", "0")):
        got = subprocess.check_output([sys.executable, "-c", code], text=True,
                                      env=os.environ | {"FAKECUDA_PERSISTENCE": persistence})
        assert got.strip() == result


def test_lock_faults(target, fault):
    fault("lock:timeout")
    start = time.monotonic()
    assert call("Lock", target.pid, lock_args(300)) == 600
    assert time.monotonic() - start > 0.25
    assert state(target.pid) == RUNNING
    fault("lock:nonsense")
    assert call("Lock", target.pid) == 999
    fault("lock:crash")
    assert call("Lock", target.pid) == 304
    assert target.process.wait(10) == -signal.SIGSEGV


def test_unsupported_checkpoint_leaves_the_target_usable(target, fault):
    assert call("Lock", target.pid) == 0
    fault("checkpoint:unsupported")
    assert call("Checkpoint", target.pid) == 801
    fault("")
    assert call("Unlock", target.pid) == 0
    assert target.ask("managed") == "managed"
    assert call("Lock", target.pid) == 0
    assert call("Checkpoint", target.pid) == 801
    assert state(target.pid) == LOCKED
    assert call("Unlock", target.pid) == 0
    assert target.ask("sync") == "synchronised"


def test_fatal_checkpoints(target, fault):
    assert call("Lock", target.pid) == 0
    fault("checkpoint:fail")
    assert call("Checkpoint", target.pid) == 999
    assert state(target.pid) == FAILED
    other = Target()
    try:
        assert call("Lock", other.pid) == 0
        fault("checkpoint:oom-kill")
        assert call("Checkpoint", other.pid) == 304
        assert other.process.wait(10) == -signal.SIGKILL
    finally:
        other.close()


def test_restore_without_memory_is_final(target, fault):
    checkpoint(target.pid)
    fault("restore:oom")
    assert call("Restore", target.pid) == 2
    fault("")
    assert call("Restore", target.pid) == 304
    assert call("Unlock", target.pid) == 401
    assert state(target.pid) == CHECKPOINTED


def host(tmp_path, monkeypatch, uuid=UUID_A, name="H100", driver="580.159.04", free=79000):
    path = tmp_path / f"host-{uuid}-{name}-{driver}-{free}"
    path.write_text(HOST.format(uuid=uuid, name=name, driver=driver, free=free))
    monkeypatch.setenv("FAKECUDA_HOST", str(path))


def test_hosts_that_a_restore_refuses(tmp_path, monkeypatch):
    host(tmp_path, monkeypatch)
    target = Target()
    try:
        before = target.ask("sum")
        checkpoint(target.pid)
        host(tmp_path, monkeypatch, uuid=UUID_B)
        assert call("Restore", target.pid) == 1
        assert call("Restore", target.pid, restore_args((UUID_B, UUID_B))) == 1
        host(tmp_path, monkeypatch, name="H200")
        assert call("Restore", target.pid) == 801
        host(tmp_path, monkeypatch, driver="580.1")
        assert call("Restore", target.pid) == 803
        host(tmp_path, monkeypatch, uuid=UUID_B)
        assert state(target.pid) == CHECKPOINTED
        assert call("Restore", target.pid, restore_args((UUID_A, UUID_B))) == 0
        assert call("Unlock", target.pid) == 0
        assert target.ask("uuid") == "bb"
        assert target.ask("sum") == before
        checkpoint(target.pid)
        host(tmp_path, monkeypatch, uuid=UUID_B, free=MIB - 2)
        assert call("Restore", target.pid) == 2
    finally:
        target.close()


def test_synchronising_while_checkpointed_crashes(target):
    checkpoint(target.pid)
    target.say("sync")
    assert target.process.wait(10) == -signal.SIGSEGV


def test_synchronising_while_locked_returns(target):
    assert call("Lock", target.pid) == 0
    assert target.ask("sync") == "synchronised"


def asker(pid, **env):
    code = (f"import ctypes; c = ctypes.CDLL({str(FAKE / 'libcuda.so.1')!r}); v = ctypes.c_int();"
            f"print(c.cuCheckpointProcessGetState({pid}, ctypes.byref(v)))")
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | env,
                            stdout=subprocess.PIPE, text=True)


def test_stopped_or_hanging_targets_do_not_answer(target):
    os.kill(target.pid, signal.SIGSTOP)
    waiting = asker(target.pid)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1)
    # the answer to this one comes when nobody waits for it: the next must not take it
    waiting.kill()
    waiting.communicate()
    os.kill(target.pid, signal.SIGCONT)
    assert state(target.pid) == RUNNING
    waiting = asker(target.pid, FAKECUDA_FAULT="state:hang")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1)
    waiting.kill()
    waiting.communicate()


def test_functions_by_version():
    found, status = ctypes.c_void_p(), ctypes.c_int()

    def ask(name, version):
        r = cuda.cuGetProcAddress_v2(name, ctypes.byref(found), version, ctypes.c_uint64(0),
                                     ctypes.byref(status))
        return r, bool(found.value), status.value

    assert ask(b"cuCheckpointProcessLock", 12080) == (0, True, 0)
    assert ask(b"cuCheckpointProcessLock", 12040) == (0, False, 2)
    assert ask(b"cuCheckpointOperationComplete", 13000) == (0, False, 1)
    assert ask(b"cuCheckpointOperationComplete", 13040)[0] == 1
    assert cuda.cuMemAlloc(None, 1) == 201


def test_trace_has_each_call(target, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKECUDA_TRACE", str(tmp_path / "trace"))
    call("Lock", target.pid)
    call("Lock", target.pid)
    lines = [line.split()[1:] for line in (tmp_path / "trace").read_text().splitlines()]
    assert lines == [[str(os.getpid()), str(target.pid), "cuCheckpointProcessLock", result]
                     for result in ("0", "401")]


@pytest.mark.skipif(os.geteuid() != 0, reason="criu dump needs root")
@pytest.mark.skipif(not (PREFIX / "usr/sbin/criu").exists(), reason="no CRIU in the prefix")
def test_criu_refuses_the_handle_and_takes_the_checkpointed(tmp_path):
    """Refused while running and while locked, unharmed by that; taken after a checkpoint."""
    words = tmp_path / "words"
    os.mkfifo(words)
    # read and write, or the target would wait here for a writer
    word_fd = os.open(words, os.O_RDWR)
    answers = tmp_path / "answers"
    with answers.open("w") as out:
        process = subprocess.Popen(
            [BUILD / "tests/fixtures/cuda_target", str(MIB)], stdin=word_fd, stdout=out,
            stderr=out, start_new_session=True, env=os.environ | {"LD_LIBRARY_PATH": str(FAKE)})
    pid = process.pid

    def ask(n_lines):
        os.write(word_fd, b"sum\n")
        return wait_lines(n_lines)[-1]

    def wait_lines(n_lines):
        for _ in range(200):
            lines = answers.read_text().splitlines()
            if len(lines) >= n_lines:
                return lines
            time.sleep(0.05)
        raise AssertionError(f"no answer: {lines}")

    try:
        wait_lines(1)
        before = ask(2)
        for where in (RUNNING, LOCKED):
            assert state(pid) == where
            images = tmp_path / f"refused-{where}"
            images.mkdir()
            status, log = criu("dump", images, "-t", str(pid))
            assert status != 0 and "Can't dump file" in log, log[-2000:]
            assert call("Lock", pid) == (0 if where == RUNNING else 401)
        assert call("Checkpoint", pid) == 0
        images = tmp_path / "images"
        images.mkdir()
        status, log = criu("dump", images, "-t", str(pid))
        assert status == 0, log[-3000:]
        process.wait(10)
        status, log = criu("restore", images, "-d")
        assert status == 0, log[-3000:]
        assert state(pid) == CHECKPOINTED
        assert call("Restore", pid) == 0
        assert call("Unlock", pid) == 0
        assert ask(3) == before
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.poll()
        os.close(word_fd)


SYS_POLL = 7  # x86-64, as the checkpoint calls


def caller(name, pid, fault):
    code = (f"import ctypes; c = ctypes.CDLL({str(FAKE / 'libcuda.so.1')!r}); c.cuInit(0);"
            f"print('ready', flush=True); c.cuCheckpointProcess{name}({pid}, None)")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"FAKECUDA_FAULT": fault})
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name, then", [("Checkpoint", CHECKPOINTED), ("Restore", LOCKED)])
def test_operation_goes_on_without_its_caller(target, name, then):
    before = target.ask("sum")
    assert call("Lock", target.pid) == 0
    if name == "Restore":
        assert call("Checkpoint", target.pid) == 0
    gone = caller(name, target.pid, f"{name.lower()}:delay_ms=700")
    # it has asked once it polls for the answer
    for _ in range(200):
        if pathlib.Path(f"/proc/{gone.pid}/syscall").read_text().startswith(f"{SYS_POLL} "):
            break
        time.sleep(0.01)
    gone.kill()
    gone.communicate()
    assert state(target.pid) == then
    for rest in ["Restore", "Unlock"] if then == CHECKPOINTED else ["Unlock"]:
        assert call(rest, target.pid) == 0
    assert target.ask("sum") == before
