# SPDX-License-Identifier: Apache-2.0
"""The command lines that the READMEs of tini 0.19 and dumb-init 1.2.5 and their --help print, unchanged, with
snapinit where the program was. Each runs in a root of its own, in which the files that the lines name
exist, and once more with the program itself, so that what is expected is what it does."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import inits, processes  # noqa: E402
from lib.inits import SNAPINIT, wait_for  # noqa: E402

# $1 root, $2 program that is tini, $3 program that is dumb-init; the rest is what PID 1 runs
MAKE_ROOT = r"""
set -eu
root=$1 tini=$2 dumb=$3
shift 3
mount -t tmpfs none "$root"
cd "$root"
mkdir usr proc dev tmp your my
mount --rbind /usr usr
mount -t proc proc proc
mount --rbind /dev dev
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$name"; done
cp "$tini" tini
cp "$dumb" tmp/dumb-init
cp "$tini" tmp/tini
mount --bind tmp/tini usr/bin/tini
mount --bind tmp/dumb-init usr/bin/dumb-init
mount -t tmpfs none usr/sbin
cp "$tini" usr/sbin/tini
script() { cat >"$1"; chmod 755 "$1"; }
script your/program <<'END'
#!/bin/sh
echo "program $*"
exit 5
END
script my/script <<'END'
#!/bin/sh
echo "script $*"
exit 6
END
script docker-entrypoint.sh <<'END'
#!/bin/sh
echo "entrypoint $*"
exit 7
END
script tmp/service <<'END'
#!/usr/bin/dumb-init /bin/sh
trap "wait; exit 9" TERM # else it would end first, and PID 1 with it
sh -c 'trap "echo background got TERM; exit" TERM; echo up; while :; do sleep 0.02; done' &
sh -c 'trap "echo foreground got TERM; exit" TERM; echo up; while :; do sleep 0.02; done' &
wait
END
exec chroot "$root" "$@"
"""

SH = ["sh", "-c"]
SLEEPER = ["sh", "-c", "echo up; sleep 10"]

# name: command, status, words of the output, and what is sent once it has said "up"
TINI = {
    'ENTRYPOINT ["/tini", "--"] CMD ["/your/program", "-and", "-its", "arguments"]':
        (["/tini", "--", "/your/program", "-and", "-its", "arguments"], 5, "program -and -its arguments\n"),
    "/tini -v -- /your/program": (["/tini", "-v", "--", "/your/program"], 5, "program \n"),
    'ENTRYPOINT ["/sbin/tini", "--"]': (["/sbin/tini", "--", "/your/program"], 5, "program \n"),
    "installed as /usr/bin/tini": (["/usr/bin/tini", "--", "/your/program"], 5, "program \n"),
    'ENTRYPOINT ["/tini", "--", "/docker-entrypoint.sh"]':
        (["/tini", "--", "/docker-entrypoint.sh", "server"], 7, "entrypoint server\n"),
    "tini -s -- ...": (["tini", "-s", "--", "/your/program"], 5, "program \n"),
    "export TINI_SUBREAPER=": ([*SH, "export TINI_SUBREAPER=; tini -- /your/program"], 5, "program \n"),
    "tini -e 143 -- ...": (["tini", "-e", "143", "--", *SH, "echo up; exec sleep 10"], 0, "up\n", signal.SIGTERM),
    "tini -g -- sh -c 'sleep 10'": (["tini", "-g", "--", *SLEEPER], 130, "up\n", signal.SIGINT),
    "tini -p SIGTERM -- ...": (["tini", "-p", "SIGTERM", "--", "/your/program"], 5, "program \n"),
    "tini -v    -- bash -c 'exit 1'": (["tini", "-v", "--", "bash", "-c", "exit 1"], 1, ""),
    "tini -vv   -- true": (["tini", "-vv", "--", "true"], 0, ""),
    "tini -vvv  -- pwd": (["tini", "-vvv", "--", "pwd"], 0, "/\n"),
    "tini [OPTIONS] PROGRAM -- [ARGS]": (["tini", "-g", "/your/program", "--", "-v"], 5, "program -v\n"),
    "tini --version": (["tini", "--version"], 0, "tini version "),
}
DUMB_INIT = {
    'ENTRYPOINT ["/usr/bin/dumb-init", "--"] CMD ["/my/script", "--with", "--args"]':
        (["/usr/bin/dumb-init", "--", "/my/script", "--with", "--args"], 6, "script --with --args\n"),
    'ENTRYPOINT ["dumb-init", "--rewrite", "2:3", "--"]':
        (["dumb-init", "--rewrite", "2:3", "--", "bash", "-c", "trap 'echo QUIT; exit 8' QUIT; echo up; "
          "while :; do sleep 0.02; done"], 8, "QUIT\n", signal.SIGINT),
    "dumb-init --rewrite 15:3":
        (["dumb-init", "--rewrite", "15:3", "bash", "-c", "trap 'echo QUIT; exit 8' QUIT; echo up; "
          "while :; do sleep 0.02; done"], 8, "QUIT\n", signal.SIGTERM),
    "dumb-init python -c 'while True: pass'":
        (["dumb-init", "python3", "-SEc", "print('up', flush=True)\nwhile True: pass"], 143, "up\n", signal.SIGTERM),
    'CMD ["bash", "-c", "do-some-pre-start-thing && exec my-server"]':
        (["/usr/bin/dumb-init", "--", "bash", "-c", "true && exec /my/script server"], 6, "script server\n"),
    "dumb-init dumb-init echo 'oh, hi'": ([*SH, "DUMB_INIT_SETSID=0 dumb-init dumb-init echo 'oh, hi'"], 0, "oh, hi\n"),
    "dumb-init --single-child": (["dumb-init", "--single-child", "/my/script"], 6, "script \n"),
    "DUMB_INIT_SETSID=0 dumb-init": ([*SH, "DUMB_INIT_SETSID=0 exec dumb-init /my/script"], 6, "script \n"),
    "#!/usr/bin/dumb-init /bin/sh": (["/tmp/service"], 9, "background got TERM\n", signal.SIGTERM),
    "dumb-init -v": (["dumb-init", "-v", "/my/script"], 6, "script \n"),
    "dumb-init --help": (["dumb-init", "--help"], 0, ""),
    "dumb-init -V": (["dumb-init", "-V"], 0, ""),
}
LINES = {**TINI, **DUMB_INIT}


@pytest.fixture(scope="module", name="theirs")
def _theirs():
    if os.geteuid() != 0:
        pytest.skip("SKIP: only root can make a root file system of its own")
    found = [shutil.which("tini"), shutil.which("dumb-init")]
    if not all(found) or found != ["/usr/bin/tini", "/usr/bin/dumb-init"]:
        pytest.skip("SKIP: tini and dumb-init are not installed (./dev setup)")
    if b"__asan" in pathlib.Path(SNAPINIT).read_bytes():
        pytest.skip("SKIP: a build with sanitizers needs libraries that are not in /usr of the root")
    return found


def names_below(pid):
    """A signal while dash forks reaches its child or not; with tini it is the same."""
    names = []
    for child in processes.children_of(pid):
        try:
            names += [pathlib.Path(f"/proc/{child}/comm").read_text().strip(), *names_below(child)]
        except OSError:
            pass
    return names


@pytest.mark.parametrize("who", ["snapinit", "theirs"])
@pytest.mark.parametrize("line", LINES)
def test_line_of_a_readme(theirs, tmp_path, line, who):
    command, status, text, *sent = LINES[line]
    programs = theirs if who == "theirs" else [SNAPINIT, SNAPINIT]
    root = tmp_path / "root"
    root.mkdir()
    outer = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", MAKE_ROOT, "sh", str(root), *programs]
    run = inits.Started([*outer, *command], tmp_path / "run")
    try:
        if sent:
            run.must_say("up")
            if command == ["/tmp/service"]:
                assert run.says("up", times=2)
            if "sleep" in command[-1]:
                assert wait_for(lambda: "sleep" in names_below(run.outer))
            os.kill(processes.children_of(run.outer)[0], sent[0])
        got = run.wait()
        assert got == str(status), run.errors()
        if text:
            assert wait_for(lambda: text in run.output(), 3), run.output() + run.errors()
    finally:
        run.end()


def test_docker_finds_a_version(tmp_path):
    """`docker info` runs docker-init --version and takes what stands behind "tini version"."""
    program = tmp_path / "docker-init"
    program.symlink_to(SNAPINIT)
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert text.startswith("tini version 0.1.0") and text.count("\n") == 1
