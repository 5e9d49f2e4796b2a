# SPDX-License-Identifier: Apache-2.0
"""A start of snapinit, wherever it runs: its streams, its log, its engine's answers, its end."""

import ctypes
import http.client
import os
import signal
import subprocess
import time

from . import namespaces, oci, snaplog
from .processes import children_of

POLL_S = 0.01


class Timeout(AssertionError):
    pass


def wait_until(what, condition, seconds):
    """The first true value of condition(), which is tried every few milliseconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Timeout(f"{what()}" if callable(what) else f"no {what} within {seconds} s")
        time.sleep(POLL_S)


def http_request(port, path, *, method="GET", body=None, host="127.0.0.1", timeout=10):
    """(status, body); OSError when nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"{path}: {error!r}") from error
    finally:
        connection.close()


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()
    except FileNotFoundError:
        return ""


def descendants_of(pid):
    found = []
    for child in children_of(pid):
        found.append(child)
        found.extend(descendants_of(child))
    return found


def status_field(pid, name):
    try:
        for line in read_text(f"/proc/{pid}/status").splitlines():
            if line.startswith(name + ":"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""


TOOLS = {"snapworker": ("snapworker",), "criu": ("criu", "ld-criu.so")}


def is_tool(comm, name=None):
    """Is it a worker, or a CRIU, which may run by way of an ld.so of its own?"""
    return any(comm in TOOLS[tool] for tool in ([name] if name else TOOLS))


class Start:
    """pid is that of snapinit as this process sees it; stdio holds paths unless the test gave fds."""

    def __init__(self, folder, *, own_net):
        self.folder = folder
        self.own_net = own_net
        self.pid = None
        self.process = None  # parent of snapinit, whose status it repeats
        self.stdout_path = os.path.join(folder, "stdout")
        self.stderr_path = os.path.join(folder, "stderr")

    # --- streams

    def open_streams(self, stdio):
        """Descriptors for 0, 1, 2: those in stdio, else /dev/null and append-mode files."""
        given = dict(stdio or {})
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        opened = []

        def stream(number, path, how):
            if number in given:
                return given[number]
            fd = os.open(path, how, 0o666)
            opened.append(fd)
            return fd

        fds = [stream(0, "/dev/null", os.O_RDONLY | os.O_CLOEXEC),
               stream(1, self.stdout_path, flags), stream(2, self.stderr_path, flags)]
        return fds, opened

    @property
    def stdout(self):
        return read_text(self.stdout_path)

    @property
    def stderr(self):
        return read_text(self.stderr_path)

    def records(self, *events):
        found = snaplog.parse(self.stderr)
        return snaplog.named(found, *events) if events else found

    def wait_record(self, *events, seconds=30):
        """The first record with one of these events."""
        def look():
            found = self.records(*events)
            if found:
                return found[0]
            if self.process.poll() is not None:
                found = self.records(*events)
                if found:
                    return found[0]
                raise AssertionError(f"ended with {self.process.returncode} before "
                                     f"{' or '.join(events)}:\n{self.tail()}")
            return None

        return wait_until(lambda: f"no {' or '.join(events)} within {seconds} s:\n{self.tail()}",
                          look, seconds)

    def tail(self, lines=40):
        return "\n".join((self.stderr.splitlines() + self.stdout.splitlines()[-8:])[-lines:])

    # --- the engine

    def http(self, port, path, **options):
        if self.own_net:
            return namespaces.in_network_of(self.pid,
                                            lambda: http_request(port, path, **options))
        return http_request(port, path, **options)

    def try_http(self, port, path, **options):
        try:
            return self.http(port, path, **options)
        except OSError:
            return None

    def wait_http(self, port, path, *, seconds=30, **options):
        """Body of the first answer with status 200."""
        def ask():
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.tail()}")
            answer = self.try_http(port, path, timeout=5, **options)
            return answer if answer and answer[0] == 200 else None

        return wait_until(lambda: f"no answer to {path} within {seconds} s:\n{self.tail()}", ask,
                          seconds)[1]

    def processes(self):
        """[(pid here, pid inside, comm, parent here)] below snapinit, zombies left out."""
        found = []
        for pid in descendants_of(self.pid):
            state = status_field(pid, "State")
            if not state or state.startswith("Z"):
                continue
            inside = status_field(pid, "NSpid").split()
            found.append((pid, int(inside[-1]) if inside else 0, status_field(pid, "Name"),
                          int(status_field(pid, "PPid") or 0)))
        return found

    def engine_roots(self):
        """snapinit's children that are neither worker nor CRIU: exactly one, if all is well."""
        return [entry for entry in self.processes()
                if entry[3] == self.pid and not is_tool(entry[2])]

    def tools(self, name=None):
        """Workers and CRIUs."""
        return [entry for entry in self.processes() if is_tool(entry[2], name)]

    # --- the end

    def signal(self, number):
        os.kill(self.pid, number)

    def wait_exit(self, seconds=20):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Timeout(f"still there after {seconds} s:\n{self.tail()}") from None

    def terminate(self, seconds=20):
        """TERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(seconds)

    def close(self):
        if self.process is None:
            return
        if self.process.poll() is None and self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


PR_CAPBSET_DROP = 24


class HostStart(Start):
    """
    snapinit as PID 1 of namespaces made here, without a container runtime: the fastest start.
    The host's files, but /tmp, /run and /dev/shm of its own; rights as a container of the setting has.
    """

    def __init__(self, folder, args, *, caps=None, uid=0, gid=0, env=None, cwd="/", stdio=None,
                 hostname="host", own_net=True, closed=(), prepare=None, tmp=True, no_new_privs=False):
        super().__init__(folder, own_net=own_net)
        fds, opened = self.open_streams(stdio)
        dropped = [oci.ALL_CAPS.index(cap) for cap in oci.ALL_CAPS
                   if caps is not None and cap not in caps]
        pid_read, pid_write = os.pipe()
        os.set_inheritable(pid_write, True)

        def become_init():
            namespaces.prctl(namespaces.PR_SET_PDEATHSIG, signal.SIGKILL)
            namespaces.unshare(namespaces.CLONE_NEWPID | namespaces.CLONE_NEWNS |
                               namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC |
                               (namespaces.CLONE_NEWNET if own_net else 0))
            child = os.fork()
            if child:
                os.write(pid_write, b"%d" % child)
                os.closerange(0, 4096)
                _, status = os.waitpid(child, 0)
                os._exit(os.waitstatus_to_exitcode(status) & 0xff)
            namespaces.mount("proc", "/proc", "proc")
            if tmp:
                namespaces.mount_over("/tmp", "mode=1777")
                namespaces.mount_over("/dev/shm", "mode=1777")
                namespaces.mount_over("/run", "mode=755")
            if own_net:
                namespaces.loopback_up()
            _set_hostname(hostname)
            if prepare:
                prepare()
            for number in dropped:
                namespaces.prctl(PR_CAPBSET_DROP, number)
            if no_new_privs:
                namespaces.prctl(38, 1)
            os.chdir(cwd)
            if uid or gid:
                os.setgroups([])
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            for fd in closed:
                os.close(fd)
            os.close(pid_write)

        try:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                args, stdin=fds[0], stdout=fds[1], stderr=fds[2], env=env, close_fds=True,
                pass_fds=[pid_write], preexec_fn=become_init)
            self.pid = int(os.read(pid_read, 16))
        finally:
            os.close(pid_read)
            os.close(pid_write)
            for fd in opened:
                os.close(fd)


def _set_hostname(name):
    libc = ctypes.CDLL(None)
    libc.sethostname(name.encode(), len(name))
