# SPDX-License-Identifier: Apache-2.0
"""Small inits, ours and the others, started the same way: what the table test of PID 1 runs on."""

import functools
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import time

from .processes import children_of

SOURCE = pathlib.Path(os.environ.get("SNAP_SOURCE") or pathlib.Path(__file__).resolve().parents[2])
BUILD = pathlib.Path(os.environ.get("SNAP_BUILD") or SOURCE / "build" / "dev")
SNAPINIT = str(BUILD / "init" / "snapinit")
FIXTURES = BUILD / "tests" / "fixtures"
PRINTER = str(FIXTURES / "signal_printer")
PATIENCE = 20
NOT_COMING = 0.25  # so long it is waited for what shall not come

THEIRS = ["tini", "dumb-init", "catatonit"]
OURS = ["snapinit"] + [f"as {name}" for name in THEIRS]
ALL = OURS + THEIRS

# of Debian 12: what docs/init.md describes
COMPARED = {"tini": "0.19.0", "dumb-init": "1.2.5", "catatonit": "0.1.7"}

PID_1 = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def dialect_of(init):
    """Whose options it takes: "snapinit", or one of THEIRS."""
    return init.removeprefix("as ")


def program_of(init, folder):
    """Path of the program; ours under another's name is a symbolic link in folder. None: not installed."""
    if init == "snapinit":
        return SNAPINIT
    if init in THEIRS:
        return shutil.which(init)
    link = os.path.join(folder, dialect_of(init))
    if not os.path.islink(link):
        os.symlink(SNAPINIT, link)
    return link


@functools.lru_cache(maxsize=None)
def version_of(init):
    """Of one of THEIRS; None for ours."""
    if init not in THEIRS:
        return None
    said = subprocess.run([shutil.which(init), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    return found[0] if found else "unknown"


def clean_env(**more):
    ours = ("SNAPINIT_", "TINI_", "DUMB_INIT_", "CATATONIT_", "LISTEN_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    env.pop("NOTIFY_SOCKET", None)
    env.pop("POSIXLY_CORRECT", None)
    env.update(more)
    return env


def switches_of(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise AssertionError(pid)


def wait_for(condition, patience=PATIENCE):
    """The first true value of condition(), or its last when patience ends."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.003)


class Started:
    """One init with its command, output in files; everything below it dies with end()."""

    def __init__(self, argv, folder, *, pid_1=False, env=None, pass_fds=(), preexec=None, cwd=None, terminal=False):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pid_1, self.master, self.text, self.status = pid_1, None, b"", None
        self.mark = f"PID_1_TEST={self.folder}"
        # with a terminal a runtime's PID 1 leads the terminal's session
        argv = [*(PID_1 if pid_1 else []), *(["setsid", "--ctty"] if pid_1 and terminal else []), *argv]
        env = clean_env(PID_1_TEST=str(self.folder), **(env or {}))
        if terminal:
            self.outer, self.master = pty.fork()
            if self.outer == 0:
                os.execvpe(argv[0], argv, env)
            return
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                                            pass_fds=pass_fds, preexec_fn=preexec, cwd=cwd or self.folder,
                                            start_new_session=True)
        self.outer = self.process.pid

    @property
    def pid(self):
        """Of the init itself."""
        if not self.pid_1:
            return self.outer
        return wait_for(lambda: (children_of(self.outer) or [0])[0])

    def output(self):
        if self.master is None:
            return (self.folder / "out").read_text(errors="replace")
        while select.select([self.master], [], [], 0)[0]:
            try:
                data = os.read(self.master, 4096)
            except OSError:
                break
            if not data:
                break
            self.text += data
        return self.text.decode(errors="replace").replace("\r", "")

    def errors(self):
        return (self.folder / "err").read_text(errors="replace") if self.master is None else ""

    def says(self, text, patience=PATIENCE, times=1):
        return wait_for(lambda: self.output().count(text) >= times, patience)

    def must_say(self, text):
        assert self.says(text), f"no {text!r} in {self.output()!r}\n{self.errors()}"
        return self

    def kill(self, sig):
        os.kill(self.pid, sig)

    def poll(self):
        """Exit status as a shell has it, None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.outer, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status = 128 - code if code < 0 else code
                if self.master is None:
                    self.process.returncode = self.status
        return self.status

    def wait(self, patience=PATIENCE):
        """Exit status as text, or "runs on"."""
        wait_for(lambda: self.poll() is not None, patience)
        return "runs on" if self.status is None else str(self.status)

    def end(self):
        if self.poll() is None:
            os.kill(self.outer, signal.SIGKILL)
            self.wait()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                if self.mark.encode() in pathlib.Path(f"/proc/{entry}/environ").read_bytes():
                    os.kill(int(entry), signal.SIGKILL)
            except OSError:
                pass
        if self.master is not None:
            os.close(self.master)
            self.master = None
