# SPDX-License-Identifier: Apache-2.0
"""Where the programs under test are, and the command lines that start them."""

import os
import shutil
import subprocess

# cap_sys_ptrace is in no default set; with =ep the kernel would refuse to execute the file then
WORKER_FILE_CAPS = "cap_checkpoint_restore,cap_setpcap,cap_sys_ptrace=p"


class Programs:
    def __init__(self, build=None, prefix=None, source=None):
        here = os.path.dirname(os.path.abspath(__file__))
        self.source = source or os.environ.get("SNAP_SOURCE") or os.path.dirname(
            os.path.dirname(here))
        self.build = build or os.environ.get("SNAP_BUILD") or os.path.join(self.source, "build/dev")
        self.prefix = prefix or os.environ.get("SNAP_PREFIX") or os.path.join(self.source,
                                                                             "build/prefix")
        self.snapinit = os.path.join(self.build, "init/snapinit")
        self.snapworker = os.path.join(self.build, "worker/snapworker")
        self.snapctl = os.path.join(self.build, "cli/snapctl")
        self.criu = os.path.join(self.prefix, "usr/sbin/criu")
        self.paths = self._read_paths()

    def _read_paths(self):
        try:
            with open(os.path.join(self.prefix, "paths.env"), encoding="utf-8") as lines:
                return dict(line.strip().split("=", 1) for line in lines if "=" in line)
        except FileNotFoundError:
            return {}

    def why_missing(self):
        """None, or what is not built or set up."""
        for path in (self.snapinit, self.snapworker, self.criu):
            if not os.path.exists(path):
                return f"{path} does not exist (./dev setup, ./dev build)"
        return None

    def has_faults(self):
        """Is this a build that obeys SNAPINIT_FAULT?"""
        with open(self.snapworker, "rb") as program:
            return b"SNAPINIT_FAULT" in program.read()

    def is_sanitized(self):
        """A build whose programs need memory that they do not need otherwise."""
        with open(self.snapworker, "rb") as program:
            return b"__asan_init" in program.read()

    def fixture(self, name):
        for folder in (os.path.join(self.build, "tests/fixtures"),
                       os.path.join(self.source, "tests/fixtures")):
            path = os.path.join(folder, name)
            if os.path.exists(path):
                return path
        raise FileNotFoundError(f"tests/fixtures/{name} is not built")

    def with_file_caps(self, folder):
        """A copy whose worker is capable without being root."""
        made = Programs(self.build, self.prefix, self.source)
        made.snapinit = shutil.copy2(self.snapinit, os.path.join(folder, "snapinit"))
        made.snapworker = shutil.copy2(self.snapworker, os.path.join(folder, "snapworker"))
        subprocess.run(["setcap", WORKER_FILE_CAPS, made.snapworker], check=True)
        return made

    def snapinit_args(self, store, engine, *, capture=None, extra=()):
        args = [self.snapinit, "--snapshot", store, "--worker", self.snapworker,
                "--criu", self.criu, "--log-format", "json"]
        if capture:
            args += ["--capture", capture]
        if engine.ready:
            args += ["--ready", engine.ready]
        if engine.oracle:
            args += ["--oracle", engine.oracle]
        return args + list(extra) + ["--"] + list(engine.argv)
