# SPDX-License-Identifier: Apache-2.0
"""config.json for an OCI runtime, and the capability sets and seccomp profiles in it."""

import json
import os

# what Docker and podman give a container by default
DOCKER_CAPS = ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
               "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
               "SYS_CHROOT")

# in the order of their numbers in linux/capability.h
ALL_CAPS = ("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID",
            "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
            "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
            "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
            "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
            "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
            "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE")

# settings of DESIGN 5: rights, and whether a seccomp filter is on the container
SETTINGS = {
    "A": (ALL_CAPS, False),
    "B": (DOCKER_CAPS + ("CHECKPOINT_RESTORE",), False),
    "C": (DOCKER_CAPS + ("CHECKPOINT_RESTORE",), True),
}

MASKED_PATHS = ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                "/sys/firmware"]
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def capabilities_here():
    """The bounding set of this process: a container cannot have more."""
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("CapBnd:"):
                return int(line.split()[1], 16)
    return 0


def possible(caps):
    """Those of caps that this machine can give."""
    here = capabilities_here()
    return tuple(cap for cap in caps if here >> ALL_CAPS.index(cap) & 1)


def mask_of(caps):
    mask = 0
    for cap in caps:
        mask |= 1 << ALL_CAPS.index(cap)
    return mask


def find_seccomp_profile():
    """podman's default profile (golang-github-containers-common); None: not on this machine."""
    for path in (os.environ.get("SNAP_SECCOMP_PROFILE"), "/usr/share/containers/seccomp.json",
                 "/etc/containers/seccomp.json"):
        if path and os.path.exists(path):
            return path
    return None


def _applies(rule, caps, machine):
    includes = rule.get("includes") or {}
    excludes = rule.get("excludes") or {}
    have = {"CAP_" + cap for cap in caps}
    if any(cap not in have for cap in includes.get("caps") or []):
        return False
    if any(cap in have for cap in excludes.get("caps") or []):
        return False
    if includes.get("arches") and machine not in includes["arches"]:
        return False
    return machine not in (excludes.get("arches") or [])


def seccomp_for(path, caps, machine="amd64"):
    """podman's profile, whose rules depend on capabilities, as the OCI section seccomp."""
    with open(path, encoding="utf-8") as text:
        profile = json.load(text)
    rules = []
    for rule in profile["syscalls"]:
        if not _applies(rule, caps, machine):
            continue
        made = {"names": rule["names"], "action": rule["action"]}
        if rule.get("args"):
            made["args"] = rule["args"]
        if rule.get("errnoRet") is not None:
            made["errnoRet"] = rule["errnoRet"]
        rules.append(made)
    section = {
        "defaultAction": profile["defaultAction"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }
    if profile.get("defaultErrnoRet") is not None:
        section["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return section


def seccomp_denying(names, errno):
    """The OCI section seccomp that answers these calls with errno and lets all others through."""
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno}],
    }


def _mount(destination, kind, source, *options):
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def mounts(shm=True, tmp=True, cgroup=False):
    made = [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance",
               "ptmxmode=0666", "mode=0620", "gid=5"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    ]
    if cgroup:
        made.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev",
                           "relatime", "ro"))
    if shm:
        made.append(_mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777"))
    if tmp:
        made.append(_mount("/tmp", "tmpfs", "tmp", "nosuid", "nodev", "mode=1777"))
        made.append(_mount("/run", "tmpfs", "run", "nosuid", "nodev", "mode=755"))
    return made


def config(root, args, *, hostname, cwd="/", env=(), caps=(), uid=0, gid=0, setting_filter=None,
           readonly=False, terminal=False, no_new_privs=False, own_net=True, more_mounts=(),
           tmp=True, shm=True, nofile=None, memory=None, cgroup=False, privileged=False):
    caps = ["CAP_" + cap for cap in caps]
    # a user who is not root loses at exec what is not ambient; so does Docker's
    held = caps if uid == 0 else []
    namespaces = ["pid", "mount", "uts", "ipc"] + (["network"] if own_net else [])
    made = {
        "ociVersion": "1.0.2",
        "hostname": hostname,
        "process": {
            "terminal": terminal,
            "user": {"uid": uid, "gid": gid},
            "args": list(args),
            "env": list(env),
            "cwd": cwd,
            "capabilities": {"bounding": caps, "effective": held, "permitted": held,
                             "inheritable": [], "ambient": []},
            "rlimits": [],
            "noNewPrivileges": no_new_privs,
        },
        "root": {"path": str(root), "readonly": readonly},
        "mounts": mounts(shm=shm, tmp=tmp, cgroup=cgroup) + list(more_mounts),
        "linux": {
            "namespaces": [{"type": name} for name in namespaces],
            "maskedPaths": [] if privileged else MASKED_PATHS,
            "readonlyPaths": [] if privileged else READONLY_PATHS,
            "resources": {},
        },
    }
    if nofile:  # else those of who starts the container, as Docker does it
        made["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": nofile, "soft": nofile}]
    if setting_filter:
        made["linux"]["seccomp"] = setting_filter
    if memory:
        made["linux"]["resources"]["memory"] = {"limit": memory}
    return made
