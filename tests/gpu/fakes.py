# SPDX-License-Identifier: Apache-2.0
"""What the tests over the fake libcuda share: the checkpoint calls, and processes to call them on."""

import ctypes
import os
import pathlib
import select
import subprocess

BUILD = pathlib.Path(os.environ["SNAP_BUILD"])
PREFIX = pathlib.Path(os.environ["SNAP_PREFIX"])
FAKE = BUILD / "tests/fixtures/fake_cuda"
MIB = 16
RUNNING, LOCKED, CHECKPOINTED, FAILED = range(4)
HOST = "driver={driver}\ncuda=13000\ngpu={uuid},{name},0000:00:04.0,9.0,80000,{free}\n"
UUID_A, UUID_B = "a" * 32, "b" * 32

cuda = ctypes.CDLL(str(FAKE / "libcuda.so.1"))


def call(name, pid, args=None):
    return getattr(cuda, "cuCheckpointProcess" + name)(pid, args)


def lock_args(timeout_ms):
    return (ctypes.c_uint * 16)(timeout_ms)


def restore_args(*pairs):
    raw = b"".join(bytes.fromhex(old) + bytes.fromhex(new) for old, new in pairs)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    args = (ctypes.c_uint64 * 8)(ctypes.addressof(buffer), len(pairs))
    args.keep = buffer
    return args


def state(pid):
    value = ctypes.c_int(-1)
    assert call("GetState", pid, ctypes.byref(value)) == 0
    return value.value


def rss_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def let_self_run():
    """after a test that failed with this process checkpointed: its next call would wait for ever"""
    call("Restore", os.getpid())
    call("Unlock", os.getpid())


class Target:
    def __init__(self, mib=MIB, **env):
        self.process = subprocess.Popen(
            [BUILD / "tests/fixtures/cuda_target", str(mib)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | {"LD_LIBRARY_PATH": str(FAKE)} | env)
        self.pid = self.process.pid
        assert self.process.stdout.readline() == "ready\n"

    @staticmethod
    def fails(mib):
        """what a target says that does not come up"""
        done = subprocess.run([BUILD / "tests/fixtures/cuda_target", str(mib)], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              env=os.environ | {"LD_LIBRARY_PATH": str(FAKE)})
        assert done.returncode == 1, done
        return done.stderr.removeprefix("fixture: ").rsplit(":", 1)[0]

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def has_answer(self, seconds):
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def ask(self, word):
        self.say(word)
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.kill()
        self.process.communicate()


def checkpoint_calls(path):
    """What a FAKECUDA_TRACE tells of the driver's four: (call, target, result), oldest first."""
    if not os.path.exists(path):
        return []
    lines = [line.split() for line in pathlib.Path(path).read_text().splitlines()]
    short = {"cuCheckpointProcess" + name: name for name in ("Lock", "Checkpoint", "Restore", "Unlock")}
    return [(short[call], int(target), int(result)) for _, _, target, call, result in lines if call in short]


def assert_put_away(calls, pid):
    """It was checkpointed last of all, which only a live process can be, and locked before."""
    done = [call for call, target, result in calls if target == pid and result == 0]
    assert done[-1] == "Checkpoint", calls
    assert done[-2] in ("Lock", "Restore"), calls


def checkpoint(pid):
    assert call("Lock", pid) == 0
    assert call("Checkpoint", pid) == 0
    assert state(pid) == CHECKPOINTED


def criu(verb, images, *args):
    """criu's exit status and the log it wrote"""
    lib = PREFIX / "usr/lib/x86_64-linux-gnu"
    command = [PREFIX / "usr/libexec/ld-criu.so", "--library-path", lib, PREFIX / "usr/sbin/criu",
               verb, "-D", images, "-o", f"{verb}.log", "-v4", *args]
    status = subprocess.run(command, capture_output=True, timeout=120, check=False).returncode
    return status, (images / f"{verb}.log").read_text(errors="replace")
