#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Writes examples/seccomp/snapinit.json from podman's default profile; `--check` compares and writes
nothing.

The result is flat, a section `seccomp` of an OCI config.json: containerd takes a profile of the node
as that and ignores rules that depend on capabilities. So they are decided here, for CAPS.
"""

import hashlib
import json
import pathlib
import sys

SKIP = 77
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lib import oci  # noqa: E402

TARGET = ROOT / "examples/seccomp/snapinit.json"
# golang-github-containers-common 0.50.1+ds1-4 of Debian 12
SOURCE_SHA256 = "cc374cf23846ce1f62f4dc807a8e2b8673c783c6f56cb475467621035d281e6c"
CAPS = ("CHECKPOINT_RESTORE", "SETPCAP")  # what examples/kubernetes gives, and a wake needs
EPERM = 1

# why each: examples/seccomp/README.md
ADDED = ("io_uring_enter", "io_uring_register", "io_uring_setup")
# podman lets them through because the capability is missing anyway; Docker and containerd do not
WITHHELD = ("fsconfig", "fsmount", "fsopen", "fspick", "keyctl", "mount", "mount_setattr",
            "move_mount", "open_tree", "pidfd_getfd", "pivot_root", "reboot", "setns", "syslog",
            "umount", "umount2", "unshare")


def without(rule, names):
    return {**rule, "names": sorted(name for name in rule["names"] if name not in names)}


def made_from(source):
    section = oci.seccomp_for(source, CAPS)
    rules = [without(rule, ADDED + WITHHELD) for rule in section["syscalls"]]
    rules.append({"names": list(ADDED), "action": "SCMP_ACT_ALLOW"})
    rules.append({"names": list(WITHHELD), "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM})
    section["syscalls"] = [rule for rule in rules if rule["names"]]
    plain = [name for rule in section["syscalls"] if "args" not in rule for name in rule["names"]]
    assert len(plain) == len(set(plain)), "a call with two answers"
    return (json.dumps(section, indent="\t") + "\n").encode()


def main():
    source = oci.find_seccomp_profile()
    if source is None:
        print("SKIP: podman's seccomp profile is not here (golang-github-containers-common)")
        return SKIP
    digest = hashlib.sha256(pathlib.Path(source).read_bytes()).hexdigest()
    if digest != SOURCE_SHA256:
        print(f"SKIP: {source} is another version than the one that {TARGET.name} was made from")
        return SKIP
    made = made_from(source)
    if sys.argv[1:] == ["--check"]:
        if TARGET.is_file() and TARGET.read_bytes() == made:
            return 0
        print(f"{TARGET.relative_to(ROOT)}: not what tools/make_seccomp.py writes", file=sys.stderr)
        return 1
    TARGET.write_bytes(made)
    return 0


sys.exit(main())
