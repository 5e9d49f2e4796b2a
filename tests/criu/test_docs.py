# SPDX-License-Identifier: Apache-2.0
"""
The commands that README, docs and manual pages show. Every one is run here as it is written, or by
the test that is named, or is not run for a reason; a command that is in none of the lists fails.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import textwrap

import pytest

from lib import engines, namespaces, starts
from lib.starts import wait_until

PORT = 8000
README_LINES = 10  # within so many the way to a wake begins

# what is run elsewhere, by the beginning of the command
BY = {
    "./dev demo": "tests/criu/test_bench.py",  # its measuring; the table is printed by hand-run ./dev demo
    "./dev bench wake": "tests/criu/test_bench.py",
    "ctest --test-dir build/dev -L fuzz": "tests/fuzz/CMakeLists.txt",
    "source <(snapctl completion zsh)": "tests/system/test_completion.py",
    "snapctl completion fish": "tests/system/test_completion.py",
    "cd examples/rag-agent": "tests/criu/test_rag_agent.py",
    "cd examples/podman": "tests/criu/test_examples.py",
    "./run.sh": "tests/criu/test_rag_agent.py",
    "curl 'http://127.0.0.1:8090/ask": "tests/criu/test_rag_agent.py",
}
NOT_RUN = {
    "./dev bundle && ./dev build && tests/gpu/run.sh --pack": "docs/gpu.md: for a machine with a GPU",
    "unshare --pid --fork --kill-child --mount-proc build/dev/init/snapinit": "docs/hacking.md: by hand",
    "gdb -p": "docs/hacking.md: by hand, in a debugger",
    "strace -f": "docs/hacking.md: by hand",
    "snapctl create --for full --output /tmp/store": "docs/hacking.md: as README's, beside a debugger",
    "snapctl run --snapshot /tmp/store": "docs/hacking.md: as README's, beside a debugger",
    "snapctl inspect /tmp/store": "docs/hacking.md: as README's, beside a debugger",
    "SNAPINIT_FAULT=": "docs/hacking.md, docs/testing.md: hangs on purpose, for a debugger",
    "unshare -pf --kill-child --mount-proc build/prefix/bin/criu restore": "docs/hacking.md: by hand",
    "snapctl export --criu /tmp/exported": "docs/hacking.md: by hand",
    "ctest --test-dir build/dev -L 'unit|lint'": "this is run by it",
    "export SNAP_": "has been done for this test",
    "./dev test": "this is it",
    "./dev build": "who runs this test has built already",
    "./dev check": "other builds of everything: longer than CI has",
    "./dev fuzz": "ten minutes for each target",
    "./dev setup": "has run before",
}
# lines of a block that are a result, or no command of a shell
NO_COMMAND = ("COPY ", "ENTRYPOINT ", "CMD ", "RUN ", "FROM ", "#", "└", "...", "snapinit (PID 1)")


def source():
    return os.environ["SNAP_SOURCE"]


def documents():
    names = ["README.md", *glob.glob("docs/*.md", root_dir=source()),
             *glob.glob("docs/man/*.scd.in", root_dir=source()),
             *glob.glob("examples/*/README.md", root_dir=source())]
    return sorted(names)


def blocks(name):
    """[(line number, text)] of the fenced blocks without a language."""
    with open(os.path.join(source(), name), encoding="utf-8") as text:
        content = text.read()
    return [(content[:m.start()].count("\n") + 1, m.group(1))
            for m in re.finditer(r"^```\n(.*?)^```", content, re.M | re.S)]


def commands_of(block):
    """What a shell would be given: continuations joined, comments and results left out."""
    joined = re.sub(r"[ \t]*\\{1,2}\n[ \t]*", " ", re.sub(r"\s+# .*", "", block))
    joined = re.sub(r"\n\s+(?=-- )", " ", joined)
    lines = joined.splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    return prompted or [line for line in lines if is_command(line)]


def is_command(line):
    word = line.split(" ")[0]
    return (not line.startswith(NO_COMMAND) and
            (word.startswith(("./", "SNAP")) or
             word in ("snapctl", "snapinit", "ctest", "cmake", "export", "source", "cd", "curl", "unshare",
                      "podman", "docker", "gdb", "strace", "sudo")))


def all_commands():
    return [(name, command) for name in documents() for _, block in blocks(name)
            for command in commands_of(block)]


class Shell:
    """Runs commands as a user would who has the programs in PATH, with /srv and /var/lib/snap of its own."""

    def __init__(self, bench, folder):
        self.bench = bench
        programs = bench.programs
        bins = os.path.join(folder, "bin")
        os.mkdir(bins)
        for name, target in (("snapctl", programs.snapctl),
                             ("llama-server", os.path.join(programs.prefix, "bin/llama-server"))):
            os.symlink(target, os.path.join(bins, name))
        self.env = {**os.environ, "PATH": bins + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME": folder,
                    "SNAPCTL_CRIU": programs.criu}
        self.folder = folder

    @staticmethod
    def apart():
        namespaces.unshare(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWNET)
        namespaces.mount(None, "/", None, namespaces.MS_REC | namespaces.MS_PRIVATE)
        namespaces.loopback_up()
        # nobody else's containers are named there
        os.makedirs("/run/snapinit", mode=0o711, exist_ok=True)
        namespaces.mount_over("/run/snapinit", "mode=711")

    def start(self, script, **options):
        return subprocess.Popen(["bash", "-ec", script], cwd=self.folder, env=self.env,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                preexec_fn=self.apart, **options)

    def run(self, script, seconds=120):
        process = self.start(script)
        out, _ = process.communicate(timeout=seconds)
        assert process.returncode == 0, f"{script}\n{out}"
        return out


@pytest.fixture(name="shell")
def make_shell(bench):
    return Shell(bench, bench.workplace.folder("docs"))


def test_every_command_is_run_or_told_why_not():
    known = {**BY, **NOT_RUN}
    shown = all_commands()
    assert len(shown) > 25
    ours = [command for commands in RUN_HERE.values() for command in commands]
    for name, command in shown:
        assert command in ours or command.startswith(tuple(known)), f"{name}: {command}"
    for beginning in BY:
        assert any(command.startswith(beginning) for _, command in shown), beginning
    for where in set(BY.values()):
        assert os.path.exists(os.path.join(source(), where)), where
    for name, commands in RUN_HERE.items():
        for command in commands:
            assert (name, command) in shown, f"{name} does not show: {command}"


def test_readme_leads_to_every_document():
    with open(os.path.join(source(), "README.md"), encoding="utf-8") as text:
        readme = text.read()
    for name in glob.glob("docs/*", root_dir=source()):
        if name != "docs/CMakeLists.txt":
            assert f"]({name})" in readme, name


def test_readme_begins_with_a_wake_of_ones_own_server(shell, tmp_path):
    line, block = next((line, block) for line, block in blocks("README.md") if "snapctl run" in block)
    commands = commands_of(block)
    assert line <= README_LINES and len(commands) <= 5
    *before, last = commands
    setup = f"mkdir -p {tmp_path}/lib && mount --bind {tmp_path}/lib /var/lib\n"
    before = [command for command in before
              if not command.startswith(("./dev build", "export PATH="))]
    process = shell.start(setup + "\n".join(before) + "\necho now the last\nexec " + last)
    seen = []
    try:
        for text in process.stdout:
            seen.append(text)
            if "now the last\n" in seen and "wake.done" in text:
                break
        assert "wake.done" in seen[-1], "".join(seen)
        answer = namespaces.in_network_of(process.pid, lambda: starts.http_request(PORT, "/"))
        assert answer[0] == 200
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_control_socket_answers_as_its_page_says(bench, shell):
    engine = engines.pyservice(bench.programs)
    with bench.start(bench.workplace.store(), engine, capture="on-request") as start:
        engine.ask(start)
        wait_until("its socket", lambda: os.path.exists(f"/proc/{start.pid}/root/run/snapinit.sock"), 10)
        for name in ("docs/control.md", "docs/man/snapctl-ps.1.scd.in", "docs/man/snapctl-state.1.scd.in",
                     "docs/man/snapctl-log-level.1.scd.in", "docs/man/snapctl-capture.1.scd.in"):
            for command in RUN_HERE[name]:
                real = command.replace("4711", str(start.pid))
                if "--name" in command:
                    real = (f"snapctl run {command[command.index('--name'):]} -- sleep 60 & "
                            f"for i in $(seq 100); do {command} && break; sleep 0.1; done; kill $!; wait $! || true; "
                            f"[ $i -lt 100 ]")
                elif "--pid" not in command and " ps" not in command:
                    real = f"nsenter -t {start.pid} -m -p {shell.env['PATH'].split(':')[0]}/{real}"
                out = shell.run(real)
                if " ps" in command:
                    assert str(start.pid) in out
                if " capture" in command:
                    assert "gen-" in out
        assert engine.ask(start)


def test_manuals_examples_work(shell, llama, tmp_path):
    model = next(word for word in llama.argv if word.endswith(".gguf"))
    shutil.copy(model, os.path.join(shell.folder, "m.gguf"))
    setup = f"mkdir -p {tmp_path}/srv && mount --bind {tmp_path}/srv /srv\n"
    man = {name: commands for name, commands in RUN_HERE.items() if name.startswith("docs/man/snapctl-")}
    create, = man["docs/man/snapctl-create.1.scd.in"]
    run, = man["docs/man/snapctl-run.1.scd.in"]
    diff, = man["docs/man/snapctl-diff.1.scd.in"]
    move, = man["docs/man/snapctl-import.1.scd.in"]
    config, = man["docs/man/snapctl-config.1.scd.in"]
    out = shell.run(setup + textwrap.dedent(f"""
        {create}
        {run} >run.log 2>&1 &
        pid=$!
        for i in $(seq 600); do grep -q 'wake.done\\|engine is awake' run.log && break; sleep 0.1; done
        cat run.log
        kill $pid; wait $pid || true
        cp -a /srv/snapshot /srv/snap
        mkdir /srv/other
    """))
    assert "wake.done" in out or "engine is awake" in out, out
    export, restore = man["docs/man/snapctl-export.1.scd.in"]
    out = shell.run(setup + textwrap.dedent(f"""
        {export}
        {restore} 2>&1 &
        pid=$!
        for i in $(seq 600); do curl -sf http://127.0.0.1:8080/health && break; sleep 0.1; done
        kill -KILL $pid
        wait $pid || true
        for i in $(seq 200); do curl -sf http://127.0.0.1:8080/health || break; sleep 0.1; done
        curl -sf http://127.0.0.1:8080/health || echo it is gone
    """))
    assert '"status":"ok"' in out and "it is gone" in out, out
    # what was killed with its namespace may still be on its way out
    wait_until("an end of the namespace", lambda: not shell.bench.workplace.leftovers(), 20)
    shell.run(setup + move.replace("ssh other snapctl import - /srv/snap",
                                   "snapctl import - /srv/other/snap"))
    shell.run(setup + diff.replace("/srv/snap/gen-7", "/srv/snap/gen-1").replace("less what", "cat what"))
    out = shell.run(config)
    assert re.search(r"grace\s+5s\s+environment SNAPINIT_GRACE", out)
    shell.run("\n".join(man["docs/man/snapctl-completion.1.scd.in"]) + "\ncomplete -p snapctl")


RUN_HERE = {
    "README.md": [
        "export PATH=$PWD/build/release/cli:$PATH",
        "snapctl doctor",
        "snapctl create --for full --output /var/lib/snap --ready http://127.0.0.1:8000/ "
        "-- python3 -m http.server 8000 --bind 127.0.0.1",
        "snapctl run --snapshot /var/lib/snap -- python3 -m http.server 8000 --bind 127.0.0.1",
    ],
    "docs/control.md": ["snapctl ps", "snapctl state", "snapctl state --name llm",
                        "snapctl state --pid 4711", "snapctl capture --pid 4711", "snapctl log-level debug"],
    "docs/man/snapctl-ps.1.scd.in": ["snapctl ps"],
    "docs/man/snapctl-state.1.scd.in": ["snapctl state --pid 4711"],
    "docs/man/snapctl-log-level.1.scd.in": ["snapctl log-level --pid 4711 debug"],
    "docs/man/snapctl-capture.1.scd.in": ["snapctl capture --pid 4711"],
    "docs/man/snapctl-create.1.scd.in": [
        "snapctl create --for docker --output /srv/snapshot -- "
        "llama-server --model m.gguf --host 127.0.0.1 --port 8080"],
    "docs/man/snapctl-run.1.scd.in": [
        "snapctl run --for docker --snapshot /srv/snapshot -- "
        "llama-server --model m.gguf --host 127.0.0.1 --port 8080"],
    "docs/man/snapctl-export.1.scd.in": [
        "snapctl export --criu /srv/images /srv/snapshot | tail -n 1 > restore",
        "unshare --pid --fork --kill-child --mount-proc sh restore < /dev/null"],
    "docs/man/snapctl-diff.1.scd.in": ["snapctl diff /srv/snap/gen-7 /srv/snap > what || less what"],
    "docs/man/snapctl-import.1.scd.in": [
        "snapctl export --tar - /srv/snap | ssh other snapctl import - /srv/snap"],
    "docs/man/snapctl-config.1.scd.in": [
        "SNAPINIT_GRACE=5s snapctl config --show-origin -- --snapshot /snapshot"],
    "docs/man/snapctl-completion.1.scd.in": ["source <(snapctl completion bash)"],
}
