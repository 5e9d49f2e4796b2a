# SPDX-License-Identifier: Apache-2.0
"""The completion scripts in the shells they are for: each loads without a word, and completes a verb,
an option, a choice and what stands behind the options; each knows every option of the tables."""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SNAP_BUILD", SOURCE / "build" / "dev"))
SNAPCTL = str(BUILD / "cli" / "snapctl")
PATIENCE = 60

# what is typed, and what must be among the candidates
CASES = [
    ("snapctl cre", "create"),
    ("snapctl create --outp", "--output"),
    ("snapctl create --for d", "docker"),
    ("snapctl verify --wak", "--wake"),
    ("snapctl run --fille", "--filler"),
    ("snapctl run --filler ri", "ring"),
    ("snapctl help doc", "doctor"),
    ("snapctl completion z", "zsh"),
    ("snapctl config -- --fille", "--filler"),
    ("snapctl inspect /us", "/usr"),
    ("snapinit --capture fi", "first-boot"),
    ("snapinit --wake-t", "--wake-timeout"),
    ("snapinit --engine lla", "llama-server"),
]


def script(shell):
    done = subprocess.run([SNAPCTL, "completion", shell], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


def tables():
    dump = subprocess.run([SNAPCTL, "__options"], capture_output=True, check=True).stdout
    dump = json.loads(dump)
    yield "snapinit", dump["snapinit"]
    for verb in dump["verbs"]:
        yield verb["name"], verb["options"]


@pytest.fixture(name="script_file", scope="module")
def script_file_fixture(tmp_path_factory):
    def make(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        path = tmp_path_factory.mktemp("completion") / f"script.{shell}"
        path.write_text(script(shell))
        return str(path)
    return make


BASH = """
source "$1" || exit 1
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_"$1" && printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(path, words):
    done = subprocess.run(["bash", "--norc", "-c", BASH, "bash", path, *words], capture_output=True,
                          text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("typed, wanted", CASES)
def test_bash_completes(script_file, typed, wanted):
    found = bash(script_file("bash"), typed.split(" "))
    assert wanted in found
    if wanted != "/usr":
        assert found == [wanted]


@pytest.mark.parametrize("typed, wanted", [
    # bash makes words of = and :
    (["snapctl", "create", "--for", "="], ["docker", "k8s", "full"]),
    (["snapctl", "create", "--for", "=", "k"], ["k8s"]),
    (["snapctl", "create", "--for", "=", "k8s", "--warm"], ["--warmup"]),
    (["snapinit", "--ready", "ht"], ["http://"]),
    # a value that looks like an option is none
    (["snapctl", "create", "--user", "--", "--warm"], ["--warmup"]),
    # behind the command the line is not ours
    (["snapinit", "--grace", "1s", "true", "--wake"], []),
    (["snapctl", "doctor", ""], []),
])
def test_bash_knows_where_it_is(script_file, typed, wanted):
    assert bash(script_file("bash"), typed) == wanted


def test_bash_knows_every_option(script_file):
    path = script_file("bash")
    for table, options in tables():
        words = ["snapinit"] if table == "snapinit" else ["snapctl", table]
        found = bash(path, [*words, "--"])
        assert {f"--{option['name']}" for option in options} <= set(found), table


def test_bash_script_is_clean(script_file):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "-s", "bash", script_file("bash")], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout


def fish(path, typed):
    done = subprocess.run(["fish", "--no-config", "-c", f"source {path}; complete -C '{typed}'"],
                          capture_output=True, text=True, timeout=PATIENCE, check=False,
                          env={**os.environ, "HOME": os.path.dirname(path)})
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("typed, wanted", CASES)
def test_fish_completes(script_file, typed, wanted):
    assert any(word.rstrip("/") == wanted for word in fish(script_file("fish"), typed))


def test_fish_knows_every_option(script_file):
    path = script_file("fish")
    for table, options in tables():
        typed = "snapinit --" if table == "snapinit" else f"snapctl {table} --"
        assert {f"--{option['name']}" for option in options} <= set(fish(path, typed)), table


class Zsh:
    """A zsh on a terminal, because it completes nowhere else."""

    def __init__(self, path):
        env = {"HOME": os.path.dirname(path), "PATH": os.environ["PATH"], "TERM": "dumb",
               "LC_ALL": "C.UTF-8", "PS1": "", "HISTFILE": ""}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("zsh", ["zsh", "-f", "-i"], env)
        self.seen = ""
        self.send("unsetopt zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste; PS1=; PS2=\n")
        self.send("autoload -Uz compinit && compinit -u -D; zstyle ':completion:*' menu no\n")
        self.send("snapctl() { print -r -- \"<$*>\" }; snapinit() { print -r -- \"<$*>\" }\n")
        self.send(f"source {path} && print -r -- 'loa'ded\n")
        self.wait_for("loaded")

    def send(self, text):
        os.write(self.fd, text.encode())

    def wait_for(self, pattern):
        end = time.monotonic() + PATIENCE
        while True:
            match = re.search(pattern, self.seen)
            if match:
                return match
            if time.monotonic() > end:
                pytest.fail(f"zsh: no {pattern!r} in {self.seen!r}")
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")

    def complete(self, typed):
        """The words of the line after a press of TAB, as the command gets them."""
        self.seen = ""
        self.send(typed + "\t\n")
        return self.wait_for(r"<([^>\r\n]*)>")[1].split()

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture(name="zsh", scope="module")
def zsh_fixture(script_file):
    shell = Zsh(script_file("zsh"))
    yield shell
    shell.close()


@pytest.mark.parametrize("typed, wanted", CASES)
def test_zsh_completes(zsh, typed, wanted):
    assert zsh.complete(typed)[-1].rstrip("/") == wanted


def test_zsh_knows_every_option():
    text = script("zsh")
    for table, options in tables():
        start = "_snapinit() {" if table == "snapinit" else f"\n\t{table})\n"
        part = text[text.index(start) + len(start):]
        part = part[:part.index("\n}\n" if table == "snapinit" else ";;\n")]
        for option in options:
            assert re.search(rf"--{option['name']}(=?)\[", part), (table, option["name"])
