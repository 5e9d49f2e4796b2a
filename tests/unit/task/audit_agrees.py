#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Does the audit agree with CRIU? Each kind of holdings.c is held by a process in a pid and mount
namespace of its own, the audit is asked, then CRIU dumps it and lets it run. A kind whose two
answers differ from the table in holdings.c fails the test. --table prints what CRIU said.

With --unprivileged all three have no more capabilities than a Docker container has by default,
and CHECKPOINT_RESTORE (setting B); kinds that then cannot be made are skipped.

usage: audit_agrees.py HOLD AUDIT_PID CRIU [--table] [--unprivileged] [NAME...]
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIP = 77
NOT_OFFERED = 77
CRIU_OPTIONS = ("--leave-running -v4 --network-lock skip --tcp-established --skip-in-flight "
                "--file-locks --ghost-limit 64M --link-remap --ext-unix-sk "
                "--manage-cgroups=ignore").split()
DOCKER_CAPS = ("chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service "
               "net_raw sys_chroot mknod audit_write setfcap checkpoint_restore").split()
# lines that come before the real cause, or in every run
NOISE = ("RLIMIT_NOFILE", "Dump files", "Dumping FAILED")


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("hold")
    parser.add_argument("audit_pid")
    parser.add_argument("criu")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--unprivileged", action="store_true")
    parser.add_argument("--dropped", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    return parser.parse_intermixed_args()


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(SKIP)


def kinds(args):
    """name, CRIU's answer, "~" if transient, part of the finding, why it goes beyond CRIU"""
    mode = "--list-unprivileged" if args.unprivileged else "--list"
    text = subprocess.run([args.hold, mode], check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        kind = line.split("\t")
        if not args.names or kind[0] in args.names:
            yield kind


def first_error(path):
    """The first error line of CRIU's log that names a cause."""
    errors = []
    with open(path, errors="replace") as log:
        for line in log:
            if "Error (" in line:
                errors.append(" ".join(line.split("): ", 1)[-1].split()))
    telling = [e for e in errors if not any(word in e for word in NOISE)]
    return (telling or errors or ["no error line"])[0]


def dump(args, pid, work):
    images = tempfile.mkdtemp(dir=work)
    mode = ["--unprivileged"] if args.unprivileged else []
    result = subprocess.run([args.criu, "dump", "-t", str(pid), "-D", images, "-o", "dump.log",
                             *CRIU_OPTIONS, *mode], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, timeout=60)
    answer = "dumps" if result.returncode == 0 else "refuses"
    cause = "" if answer == "dumps" else first_error(os.path.join(images, "dump.log"))
    shutil.rmtree(images, ignore_errors=True)
    return answer, cause


def try_kind(args, work, name):
    """(not offered because, audit's lines, CRIU's answer, CRIU's cause)"""
    child = subprocess.Popen([args.hold, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    try:
        line = child.stdout.readline().strip()
        if line != "ready":
            return line or "it ended", [], "", ""
        mode = ["--unprivileged"] if args.unprivileged else []
        audit = subprocess.run([args.audit_pid, *mode, str(child.pid)], capture_output=True,
                               text=True, timeout=60)
        if audit.returncode != 0:
            return "", [f"audit failed: {audit.stderr.strip()}"], "", ""
        return "", audit.stdout.splitlines(), *dump(args, child.pid, work)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()
        child.stdout.close()


def reap():
    """Left-over processes of a kind must not disturb the next one."""
    me = os.getpid()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in (1, me):
            with open(f"/proc/{entry}/stat") as stat:
                parent = int(stat.read().rsplit(")", 1)[1].split()[1])
            if parent in (1, me):
                os.kill(int(entry), signal.SIGKILL)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def judge(kind, lines, answer):
    """None, or what is wrong."""
    _, expected, transient, finding, _ = kind
    if "left the engine" not in finding:
        # helpers outside the tree are left-overs by design
        lines = [line for line in lines if "left the engine's tree" not in line]
    if answer != expected:
        return f"CRIU {answer}, expected {expected}"
    if finding and not any(finding in line and line.startswith("~") == bool(transient)
                           for line in lines):
        return f"the audit does not say '{finding}': {lines}"
    if not finding and lines:
        return f"the audit finds what CRIU {answer}: {lines}"
    return None


def inside(args):
    if not args.dropped:
        subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)
    if args.unprivileged and not args.dropped:
        bounds = ",".join(["-all"] + [f"+{cap}" for cap in DOCKER_CAPS])
        os.execvp("setpriv", ["setpriv", "--bounding-set", bounds, "--inh-caps", "-all",
                              sys.executable, __file__, "--dropped", *sys.argv[1:]])
    work = os.environ["SNAP_HELD_DIR"]
    bad = tried = 0
    for kind in kinds(args):
        start = time.monotonic()
        absent, lines, answer, cause = try_kind(args, work, kind[0])
        reap()
        if absent:
            print(f"{kind[0]}: SKIP: not offered here: {absent}", flush=True)
            continue
        tried += 1
        wrong = judge(kind, lines, answer)
        bad += wrong is not None
        if args.table or wrong:
            seconds = time.monotonic() - start
            print(f"{kind[0]}\t{seconds:.1f} s\t{answer}\t{cause}\t{' / '.join(lines)}"
                  + (f"\tWRONG: {wrong}" if wrong else ""), flush=True)
    print(f"{tried} kinds tried, {bad} disagree")
    return 1 if bad or not tried else 0


def main():
    args = parse_arguments()
    if args.inside:
        sys.exit(inside(args))
    if os.geteuid() != 0:
        skip("needs root for namespaces")
    if not os.access(args.criu, os.X_OK):
        skip(f"no CRIU at {args.criu}")
    # outside of the new mount namespace: what is mounted below goes with it
    with tempfile.TemporaryDirectory(prefix="snap-agrees-") as work:
        result = subprocess.run(["unshare", "--pid", "--mount", "--fork", "--mount-proc",
                                 "--kill-child", sys.executable, __file__, "--inside",
                                 *sys.argv[1:]], stdin=subprocess.DEVNULL,
                                env={**os.environ, "SNAP_HELD_DIR": work})
    sys.exit(result.returncode)


if __name__ == "__main__":
    main()
