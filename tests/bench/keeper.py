#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""PID 1 of the namespaces in which CRIU is measured: runs what it is told.

One JSON object a line on stdin is one program: {"argv", "env", "log", "pid", "wait", "ready"}.
pid: the number that it gets; log: where its output goes; ready: it gets a descriptor, for which
{fd} in argv stands, and closes it when it is ready; wait: it is waited for. The reply, one line
of JSON, has pid, began_ns (just before exec), ready_ns and ended_ns where asked for, and status.

It is small, and no part of what is measured: the clock starts at the exec of what it runs.
"""

import json
import os
import subprocess
import sys
import time


def next_pid(pid):
    with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as last:
        last.write(str(pid - 1))


def spawn(order, ready_fd):
    stamp_read, stamp_write = os.pipe()
    argv = [word.replace("{fd}", str(ready_fd)) for word in order["argv"]]
    # opened here, for CRIU dumps no descriptor of another mount namespace
    with open(order.get("log") or os.devnull, "ab") as log:
        if order.get("pid"):
            next_pid(order["pid"])
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=order["env"], cwd="/",
            start_new_session=True, pass_fds=[ready_fd] if ready_fd >= 0 else [],
            preexec_fn=lambda: os.write(stamp_write, b"%d" % time.monotonic_ns()))
    os.close(stamp_write)
    began_ns = int(os.read(stamp_read, 32))
    os.close(stamp_read)
    return process, began_ns


def obey(order):
    ready_read, ready_write = os.pipe() if order.get("ready") else (-1, -1)
    process, began_ns = spawn(order, ready_write)
    reply = {"pid": process.pid, "began_ns": began_ns, "status": None}
    if order.get("ready"):
        os.close(ready_write)
        reply["ready"] = len(os.read(ready_read, 1)) == 1
        reply["ready_ns"] = time.monotonic_ns()
        os.close(ready_read)
    if order.get("wait"):
        reply["status"] = process.wait()
        reply["ended_ns"] = time.monotonic_ns()
    return reply


def main():
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
