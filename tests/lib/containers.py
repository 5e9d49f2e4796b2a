# SPDX-License-Identifier: Apache-2.0
"""
Containers under crun. Each has the machine's own root file system below a fresh overlay, so that
programs lie where they always do and nothing that one container wrote is seen by the next.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import termios

from . import namespaces, oci
from .starts import Start, descendants_of, status_field, wait_until

CGROUP_V2 = "/sys/fs/cgroup/unified"


def why_impossible():
    """None, or what this machine lacks for a container of ours."""
    if os.geteuid() != 0:
        return "containers need root"
    if not shutil.which("crun"):
        return "crun is not installed"
    with open("/proc/filesystems", encoding="ascii") as kinds:
        if "\toverlay\n" not in kinds.read():
            return "this kernel has no overlayfs"
    return None


class Workplace:
    """
    A mount namespace of our own and a tmpfs in it: with the last process of the test everything
    mounted is gone, whatever happened.
    """

    def __init__(self):
        self.path = f"{namespaces.WORKPLACES}{os.getpid()}"
        self._serial = 0

    def open(self):
        namespaces.unshare(namespaces.CLONE_NEWNS)
        namespaces.mount(None, "/", None, namespaces.MS_REC | namespaces.MS_PRIVATE)
        namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
        if CGROUP_V2 in namespaces.mount_points():
            namespaces.umount(CGROUP_V2)  # crun 1.8 refuses the hybrid layout
        os.makedirs(self.path, mode=0o755)
        namespaces.mount("tmpfs", self.path, "tmpfs", 0, "mode=755")

    def folder(self, name):
        self._serial += 1
        path = f"{self.path}/{self._serial:04d}-{name}"
        os.mkdir(path, 0o755)
        return path

    def store(self, name="store", uid=0):
        """An empty store, as who runs a container would make it."""
        path = self.folder(name)
        os.chmod(path, 0o700)
        os.chown(path, uid, uid)
        return path

    def leftovers(self):
        """Processes and mounts of ours that nobody took away."""
        found = [f"mount {point}" for point in namespaces.mount_points()
                 if point.startswith(self.path + "/")]
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
        found += [f"process {pid} ({status_field(pid, 'Name')})"
                  for pid in descendants_of(os.getpid())]
        return found

    def close(self):
        for point in reversed(namespaces.mount_points()):
            if point.startswith(self.path):
                namespaces.umount(point)
        os.rmdir(self.path)


class Container(Start):
    """One container, running when the constructor returns."""

    count = 0

    def __init__(self, workplace, args, *, store=None, store_readonly=False, setting="B",
                 filtered=None, seccomp=None, uid=0, gid=None, env=None, cwd="/", readonly=False, tmp=True,
                 shm=True, net="own", stdio=None, terminal=False, no_new_privs=False,
                 nofile=None, memory=None, cgroup=False, hostname=None, binds=(), caps=None,
                 base="/"):
        Container.count += 1
        self.name = f"snap-{os.getpid()}-{Container.count}"
        super().__init__(workplace.folder(self.name), own_net=net == "own")
        self.base = base  # folder that the fresh root is laid over
        self.hostname = hostname or f"host-{Container.count}"
        self.root = os.path.join(self.folder, "root")
        self.runtime = os.path.join(self.folder, "crun")
        self.master = None
        rights, has_filter = oci.SETTINGS[setting]
        if caps is not None:
            rights = caps
        if filtered is not None:
            has_filter = filtered
        rights = oci.possible(rights)
        profile = seccomp  # the OCI section itself, else podman's where the setting has a filter
        if profile is None and has_filter:
            profile = oci.seccomp_for(oci.find_seccomp_profile(), rights)
        more = [{"destination": to, "type": "bind", "source": source,
                 "options": ["bind", mode]} for source, to, mode in binds]
        if tmp and base == "/":
            more += [{"destination": path, "type": "bind", "source": path,
                      "options": ["rbind", "rw"]}
                     for path in namespaces.hidden_by(["/tmp", "/run"])]
        if store:
            more.append({"destination": "/snapshot", "type": "bind", "source": store,
                         "options": ["bind", "ro" if store_readonly else "rw"]})
        self._mount_root(more)
        made = oci.config(
            self.root, args, hostname=self.hostname, cwd=cwd, caps=rights, uid=uid,
            gid=uid if gid is None else gid, setting_filter=profile, readonly=readonly,
            terminal=terminal, no_new_privs=no_new_privs, own_net=net == "own", more_mounts=more,
            tmp=tmp, shm=shm, nofile=nofile, memory=memory, cgroup=cgroup,
            privileged=setting == "A",
            env=[f"{key}={value}" for key, value in (env or default_env(self.hostname)).items()])
        with open(os.path.join(self.folder, "config.json"), "w", encoding="utf-8") as out:
            json.dump(made, out)
        try:
            self._run(stdio, terminal)
        except BaseException:
            self.close()
            raise

    def _mount_root(self, more):
        """A fresh root; mount points are made in it, for crun cannot make them in a read-only one."""
        upper, work = os.path.join(self.folder, "upper"), os.path.join(self.folder, "work")
        for path in (upper, work, self.root, self.runtime):
            os.mkdir(path, 0o755)
        namespaces.mount("overlay", self.root, "overlay", 0,
                         f"lowerdir={self.base},upperdir={upper},workdir={work}")
        for entry in more:
            os.makedirs(self.root + entry["destination"], exist_ok=True)

    def _run(self, stdio, terminal):
        pid_file = os.path.join(self.folder, "pid")
        command = ["crun", "--root", self.runtime, "run", "--bundle", self.folder,
                   "--pid-file", pid_file]
        listener = None
        if terminal:
            path = os.path.join(self.folder, "console")
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(10)
            command += ["--console-socket", path]
        fds, opened = self.open_streams(stdio)
        try:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                command + [self.name], stdin=fds[0], stdout=fds[1], stderr=fds[2])
            if listener:
                connection, _ = listener.accept()
                _, received, _, _ = socket.recv_fds(connection, 1024, 1)
                self.master = received[0]
                connection.close()
        finally:
            if listener:
                listener.close()
            for fd in opened:
                os.close(fd)

        def started():
            if os.path.exists(pid_file) and os.path.getsize(pid_file) > 0:
                return True
            if self.process.poll() is not None:
                raise AssertionError(f"crun ended with {self.process.returncode}:\n{self.tail()}")
            return False

        wait_until("pid file", started, 10)
        with open(pid_file, encoding="ascii") as text:
            self.pid = int(text.read())

    def window(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                    rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + bytes(4))

    def close(self):
        if self.process and self.process.poll() is None and self.pid is None:
            subprocess.run(["crun", "--root", self.runtime, "delete", "--force", self.name],
                           check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        super().close()
        if self.master is not None:
            os.close(self.master)
            self.master = None
        if os.path.isdir(os.path.join(self.runtime, self.name)):
            subprocess.run(["crun", "--root", self.runtime, "delete", "--force", self.name],
                           check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.root in namespaces.mount_points():
            namespaces.umount(self.root)
        shutil.rmtree(os.path.join(self.folder, "upper"), ignore_errors=True)


def default_env(hostname):
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME": hostname, "HOME": "/root", "LANG": "C.UTF-8"}
