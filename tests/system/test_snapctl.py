# SPDX-License-Identifier: Apache-2.0
"""snapctl as its users see it: containers, snapshots made and woken, damage found, the doctor."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests"))

from lib import damaged_manifests, generations  # noqa: E402
from lib.processes import children_of, is_alive  # noqa: E402

BUILD = pathlib.Path(os.environ.get("SNAP_BUILD", SOURCE / "build" / "dev"))
PREFIX = pathlib.Path(os.environ.get("SNAP_PREFIX", SOURCE / "build" / "prefix"))
SNAPCTL = str(BUILD / "cli" / "snapctl")
PYTHON = "/usr/bin/python3"
PATIENCE = 60
VERBS = ["create", "run", "inspect", "diff", "verify", "export", "import", "gc", "ps", "state", "capture",
         "log-level", "doctor", "version", "config", "completion", "help"]
NOBODY = 65534

ENGINE = """
import http.server, os, socket, sys, time
port, delay, peer = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if peer != "none":
    held = socket.socket(socket.AF_UNIX)
    held.connect(peer)
state = list(range(1000))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = {"/health": "ok", "/sum": str(sum(state)), "/now": str(time.monotonic_ns()),
                "/pid": str(os.getpid())}.get(self.path, "?")
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *args):
        pass
time.sleep(delay)
print("the engine speaks on stdout", flush=True)
http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")
needs_criu = pytest.mark.skipif(
    os.geteuid() != 0 or not (PREFIX / "usr/sbin/criu").exists(),
    reason="snapshots need root and CRIU in the prefix")


IS_SANITIZED = b"__asan_init" in pathlib.Path(SNAPCTL).read_bytes()

# the leak check of a sanitizer build cannot trace its own process in a user namespace, and ends it
NO_LEAK_CHECK = {"ASAN_OPTIONS": "detect_leaks=0"}


def wait_for(condition, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"in vain: {what}")
        time.sleep(0.01)


def clean_env(**more):
    ours = ("SNAPINIT_", "SNAPCTL_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    env["SNAPCTL_CRIU"] = str(PREFIX / "usr/sbin/criu")
    env["SNAPINIT_CRIU"] = env["SNAPCTL_CRIU"]
    env.update(more)
    return env


def snapctl(*args, patience=PATIENCE, **how):
    how.setdefault("env", clean_env())
    return subprocess.run([SNAPCTL, *map(str, args)], capture_output=True, text=True,
                          timeout=patience, check=False, stdin=how.pop("stdin", subprocess.DEVNULL),
                          **how)


def result(done, status=0):
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, path, patience=PATIENCE):
    def once():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None
    return wait_for(once, f"http://127.0.0.1:{port}{path}", patience)


class Service:
    """An engine, its store, and what snapctl needs to be told about both."""

    def __init__(self, folder):
        self.folder = folder
        self.store = folder / "store"
        self.port = free_port()
        self.script = folder / "engine.py"
        self.script.write_text(ENGINE)
        self.script.chmod(0o644)

    def command(self, delay=0, peer="none"):
        return [PYTHON, str(self.script), str(self.port), str(delay), str(peer)]

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def create(self, *options, oracle="/sum", delay=0, peer="none", **how):
        return snapctl("create", "--output", self.store, "--ready", self.url("/health"),
                       "--oracle", "GET " + self.url(oracle), *options, "--",
                       *self.command(delay, peer), cwd=self.folder, **how)

    def generations(self):
        return sorted(path.name for path in self.store.glob("gen-*"))

    def current(self):
        return (self.store / "current").read_text().strip()

    @contextlib.contextmanager
    def running(self, *options):
        """snapctl run of this engine, ended by TERM"""
        command = [SNAPCTL, "run", *options, "--ready", self.url("/health"), "--oracle",
                   "GET " + self.url("/sum"), "--", *self.command()]
        with open(self.folder / "run.log", "w+", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=clean_env(SNAPINIT_LOG_FORMAT="json"), cwd=self.folder)
            try:
                yield process
            finally:
                process.terminate()
                process.wait(PATIENCE)

    def events(self):
        found = []
        for line in (self.folder / "run.log").read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError):
                found.append(json.loads(line)["event"])
        return found


@pytest.fixture(name="service")
def make_service():
    # every user must get here: pytest's own folders are private
    folder = pathlib.Path(tempfile.mkdtemp(prefix="test_snapctl."))
    folder.chmod(0o755)
    yield Service(folder)
    shutil.rmtree(folder)


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [
    [], ["bogus"], ["create"], ["create", "--output", "/x"], ["create", "--bogus", "--", "true"],
    ["create", "--output", "/x", "--for", "podman", "--", "true"],
    ["create", "--output", "/x", "--user", "no.such.user", "--", "true"],
    ["create", "--", "true"], ["export", "/x"], ["export", "--criu", "/x"],
    ["export", "--criu", "/x", "--tar", "/y", "/z"], ["export", "--tar", "/y"],
    ["export", "--criu", "/x", "--compress", "none", "/z"], ["import", "/x"], ["import", "-"],
    ["import", "/no/such/file", "/x"], ["diff"], ["diff", "a", "b", "c"], ["gc"],
    ["gc", "--keep", "all", "/x"],
    ["inspect", "--rate", "fast", "/x"], ["inspect"], ["inspect", "a", "b"], ["verify"],
    ["doctor", "superfluous"], ["help", "bogus"]])
def test_usage_error_is_one_line_and_status_2(words):
    done = snapctl(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("snapctl: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_in_two_ways(verb):
    text = result(snapctl(verb, "--help"))
    assert text.startswith(f"Usage: snapctl {verb} ")
    assert result(snapctl("help", verb)) == text


def test_help_lists_all_verbs_and_no_hidden_one():
    text = result(snapctl("help"))
    assert text == result(snapctl("--help"))
    for verb in VERBS:
        assert f"\n  {verb} " in text
    assert "__" not in text


def test_options_may_stand_behind_the_folder():
    assert snapctl("inspect", "/no/such/store", "--json").returncode == 4


def test_failure_is_json_too_when_json_is_wanted():
    done = snapctl("inspect", "--json", "/no/such/store")
    assert done.returncode == 4
    told = json.loads(done.stdout)
    assert told["schema"] == "snapctl.error/v1"
    assert told["code"] == "no-snapshot"


def test_what_was_nearly_right_is_suggested():
    done = snapctl("inspct", "/x")
    assert result(done, 2) == "" and "did you mean inspect?" in done.stderr
    done = snapctl("inspect", "--verify-file", "/x")
    assert result(done, 2) == "" and "did you mean --verify-files? --help lists all" in done.stderr


@needs_root
def test_accept_takes_what_the_gate_knows():
    done = snapctl("run", "--accept", "path", "--", "true")
    assert done.returncode == 125
    assert "'path' is not argv, cwd, " in done.stderr and "env:NAME" in done.stderr
    for words in ["cpu", "env", "env:PATH", "listener:127.0.0.1:80"]:
        assert snapctl("run", "--accept", words, "--", "true").returncode == 0
    for words in ["env:", "schema", "image", "kernel:6", ""]:
        assert snapctl("run", "--accept", words, "--", "true").returncode == 125


@needs_root
@pytest.mark.parametrize("verb", ["create", "import"])
@pytest.mark.parametrize("below,status", [("absent", 2), ("file", 2), ("read-only", 3)])
def test_store_that_cannot_be_made_has_one_status(tmp_path, verb, below, status):
    (tmp_path / "file").touch()
    archive = tmp_path / "archive"
    whole = generations.Generation(generations.CHUNKS).put(str(tmp_path / "whole"), "gen-1")
    result(snapctl("export", "--tar", archive, whole))
    (tmp_path / "read-only").mkdir()
    store = tmp_path / below / "store"
    prefix = ["unshare", "--mount", "sh", "-c",
              f"mount -t tmpfs -o ro none {tmp_path}/read-only && exec \"$@\"", "sh"]
    words = {"create": ["create", "--output", store, "--ready", "none", "--", "true"],
             "import": ["import", archive, store]}[verb]
    done = subprocess.run([*prefix, SNAPCTL, *map(str, words)], capture_output=True, text=True, check=False,
                          env=clean_env())
    result(done, status)
    assert "cannot make store" in done.stderr


def test_full_disk_is_no_success():
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([SNAPCTL, "help"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr


def test_version_tells_all_parts():
    told = json.loads(result(snapctl("version", "--json")))
    assert told["schema"] == "snapctl.version/v1"
    assert told["snapinit"]["version"] == told["snapctl"]
    assert "+wake" in told["snapinit"]["features"]
    text = result(snapctl("--version"))
    assert text.startswith(f"snapctl {told['snapctl']}\n")
    if told["criu"]["version"]:
        assert f"criu {told['criu']['version']} " in text


# --- run --------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("status", [0, 1, 2, 42, 126, 200, 255])
def test_run_mirrors_the_exit_status(status):
    assert snapctl("run", "--", "sh", "-c", f"exit {status}").returncode == status


@needs_root
@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "USR2"])
def test_run_tells_the_signal_that_ended_the_command(name):
    done = snapctl("run", "--", "sh", "-c", f"kill -{name} $$")
    assert done.returncode == 128 + getattr(signal, f"SIG{name}")


@needs_root
@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_run_forwards_signals(name):
    script = f"trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([SNAPCTL, "run", "--", "bash", "-c", script], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True, env=clean_env()) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout.readline() == "got\n"
        assert process.wait(PATIENCE) == 7


@needs_root
def test_signal_in_the_first_moment_is_not_lost():
    for _ in range(10):
        with subprocess.Popen([SNAPCTL, "run", "--", "sleep", "30"], env=clean_env()) as process:
            wait_for(lambda p=process: children_of(p.pid) or p.poll() is not None, "no container")
            process.terminate()
            assert process.wait(PATIENCE) == 143


@needs_root
def test_container_dies_with_snapctl():
    with subprocess.Popen([SNAPCTL, "run", "--", "sleep", "300"], stdin=subprocess.DEVNULL,
                          env=clean_env()) as process:
        init = wait_for(lambda: children_of(process.pid), "no container")[0]
        engine = wait_for(lambda: children_of(init), "no engine")[0]
        process.kill()
        process.wait(PATIENCE)
        wait_for(lambda: not is_alive(init) and not is_alive(engine), "the container lives on")


@needs_root
def test_run_passes_stdin_environment_and_folder(tmp_path):
    done = subprocess.run([SNAPCTL, "run", "--", "sh", "-c", "cat; echo $COLOUR; pwd"],
                          input="from stdin\n", capture_output=True, text=True, check=True,
                          cwd=tmp_path, env=clean_env(COLOUR="green"))
    assert done.stdout == f"from stdin\ngreen\n{tmp_path}\n"


@needs_root
def test_container_has_own_pids_and_no_foreign_descriptors():
    script = "cat /proc/1/comm; ls /proc/self/fd | wc -l; hostname"
    with open("/dev/null", "rb") as extra:
        os.set_inheritable(extra.fileno(), True)
        out = result(snapctl("run", "--", "sh", "-c", script, pass_fds=[extra.fileno()]))
    comm, descriptors, host = out.split()
    assert comm == "snapinit"
    assert int(descriptors) == 4  # 0, 1, 2 and the one that ls reads with
    assert host == socket.gethostname()


def caps_of(*options):
    out = result(snapctl("run", *options, "--", "grep", "Cap", "/proc/self/status"))
    return {line.split(":")[0]: int(line.split()[1], 16) for line in out.splitlines()}


DOCKER_AND_CR = 0x100a80425fb


@needs_root
@pytest.mark.parametrize("kind", ["docker", "k8s"])
def test_run_for_docker_has_its_capabilities(kind):
    ours = int(next(line.split()[1] for line in open("/proc/self/status", encoding="ascii")
                    if line.startswith("CapPrm")), 16)
    want = DOCKER_AND_CR & ours
    caps = caps_of("--for", kind)
    assert (caps["CapEff"], caps["CapPrm"], caps["CapBnd"]) == (want, want, want)
    assert caps["CapInh"] == caps["CapAmb"] == 0


@needs_root
def test_run_as_another_user_has_no_capabilities():
    caps = caps_of("--user", "1234:2345", "--for", "docker")
    assert caps["CapEff"] == caps["CapPrm"] == 0
    out = result(snapctl("run", "--user", "1234:2345", "--", "sh", "-c", "id -u; id -g; id -G"))
    assert out.split() == ["1234", "2345", "2345"]


@needs_root
def test_options_of_snapinit_pass():
    done = snapctl("run", "--for", "docker", "--bogus", "--", "true")
    assert done.returncode == 125
    assert "--bogus" in done.stderr and "snapinit" in done.stderr
    assert result(snapctl("run", "--grace", "1s", "--for=full", "--", "echo", "a")) == "a\n"


@needs_root
@pytest.mark.parametrize("words,status", [
    (["--for", "podman", "--", "true"], 125), (["--user", "no.such.user", "--", "true"], 125),
    (["--snapinit", "/no/such", "--", "true"], 125), (["--for", "full"], 125),
    (["--", "/no/such/command"], 127), (["--", "/etc"], 126)])
def test_run_fails_like_an_init(words, status):
    assert snapctl("run", *words).returncode == status


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root")
def test_run_without_rights_is_in_a_user_namespace():
    out = result(snapctl("run", "--for", "docker", "--", "cat", "/proc/self/uid_map",
                         "/proc/self/status", user=NOBODY))
    assert out.split()[:3] == ["0", str(NOBODY), "1"]
    effective = int(next(line.split()[1] for line in out.splitlines() if "CapEff" in line), 16)
    assert effective >> 40 & 1 and not effective >> 21 & 1  # CHECKPOINT_RESTORE, not SYS_ADMIN


# no rights, and no user namespace to have them in. The sysctl is that of the user namespace: nobody
# else has less by it
WITHOUT_ANYTHING = ["unshare", "-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces && "
                    "exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"", "sh"]


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root")
@pytest.mark.parametrize("options", [[], ["--user", "1"]], ids=["", "--user"])
def test_run_without_rights_or_user_namespaces_says_what_is_missing(options):
    done = subprocess.run([*WITHOUT_ANYTHING, SNAPCTL, "run", *options, "--", "true"],
                          capture_output=True, text=True, check=False, user=NOBODY)
    assert done.returncode == 125
    assert "CAP_SYS_ADMIN" in done.stderr and "user namespaces" in done.stderr


# --- create, inspect, verify, wake ------------------------------------------------------------


@needs_criu
@pytest.mark.parametrize("kind", ["docker", "full"])
def test_snapshot_is_made_looked_at_checked_and_woken(service, kind):
    done = service.create("--for", kind, "--json")
    made = json.loads(result(done))  # the engine's own words are not in it
    assert "the engine speaks on stdout" in done.stderr
    assert made["schema"] == "snapctl.create/v1"
    assert made["generation"] == "gen-1" and made["verified"] is True
    assert made["bytes"] > 1 << 20
    assert 0 < made["frozen_ms"] <= made["capture_ms"]
    assert 0 < made["wake_ms"] and 0 < made["cold_boot_ms"]
    assert service.current() == "gen-1"

    seen = json.loads(result(snapctl("inspect", "--json", service.store)))
    assert seen["schema"] == "snapctl.inspect/v1"
    assert seen["gate"] == {"ok": True, "reasons": []}
    assert seen["verified"] is True and seen["current"] is True
    assert seen["manifest"]["identity"]["argv"] == service.command()
    assert seen["manifest"]["oracle_answer"] == str(sum(range(1000)))
    assert seen["manifest"]["unprivileged"] is (kind == "docker")
    assert sum(seen["image_bytes"].values()) == made["bytes"]

    checked = json.loads(result(snapctl("verify", "--wake", "--json", service.store)))
    assert checked["ok"] is True and checked["damaged"] == []
    assert checked["wake"]["ok"] is True

    with service.running("--for", kind, "--snapshot", str(service.store), "--fallback", "none"):
        assert ask(service.port, "/sum") == str(sum(range(1000)))
        assert ask(service.port, "/pid") == "1000"
        # it answers before snapinit knows that it does, and TERM must not come in between
        wait_for(lambda: set(service.events()) & {"wake.done", "wake.failed"}, "the wake's record")
    assert "wake.done" in service.events() and "boot.cold" not in service.events()


@needs_criu
def test_result_and_inspection_as_text(service):
    line = result(service.create("--quiet"))
    store, generation, _, unit, verified = line.split()
    assert (store, generation, unit, verified) == (str(service.store), "gen-1", "MiB", "verified")
    text = result(snapctl("inspect", service.store))
    assert f"command      {' '.join(service.command())}\n" in text
    assert "wakes here   yes\n" in text
    assert str(sum(range(1000))) not in text  # the oracle's answer is for --json
    assert "intact" in result(snapctl("verify", service.store))


@needs_criu
def test_quiet_leaves_the_engines_words_only(service):
    done = service.create("--quiet")
    result(done)
    assert done.stderr == "the engine speaks on stdout\n"


@needs_criu
def test_inspection_tells_why_a_snapshot_does_not_wake_here(service):
    result(service.create())
    done = snapctl("inspect", "--json", service.store, env=clean_env(ANOTHER="1"))
    gate = json.loads(result(done))["gate"]
    assert gate["ok"] is False
    assert any("ANOTHER" in reason for reason in gate["reasons"])


@pytest.fixture(name="theirs")
def make_service_of_nobody(service):
    """One whose folder belongs to somebody without any right."""
    os.chown(service.folder, NOBODY, NOBODY)
    return service


@needs_criu
@pytest.mark.parametrize("kind", ["docker", "full"])
def test_inspection_and_trial_wake_without_rights_are_in_a_user_namespace(theirs, kind):
    if IS_SANITIZED:
        pytest.skip("the leak check of a sanitizer cannot trace its own process in a user namespace")
    how = {"user": NOBODY, "cwd": theirs.folder}
    result(theirs.create("--for", kind, user=NOBODY))
    told = json.loads(result(snapctl("inspect", "--json", theirs.store, **how)))
    assert told["gate"] == {"ok": True, "reasons": []} and told["user_namespace"] is True
    assert "yes, in the user namespace" in result(snapctl("inspect", theirs.store, **how))
    result(snapctl("verify", "--wake", theirs.store, **how))
    told = json.loads(result(snapctl("inspect", "--json", theirs.store, user=NOBODY, env=clean_env(ANOTHER="1"))))
    assert told["gate"]["ok"] is False and len(told["gate"]["reasons"]) == 1


@needs_criu
def test_anothers_store_is_refused_by_its_owner_in_all_verbs(theirs):
    result(theirs.create(user=NOBODY))
    reason = f"owned by uid {NOBODY}"
    told = json.loads(result(snapctl("inspect", "--json", theirs.store)))
    assert told["gate"]["ok"] is False and reason in told["gate"]["reasons"][-1]
    for options in [], ["--wake"]:
        done = snapctl("verify", "--json", *options, theirs.store)
        told = json.loads(result(done, 5))
        assert told["ok"] is False and told["damaged_files"] == 0 and reason in told["foreign"]
        assert reason in done.stderr and told["wake"] is None
    done = snapctl("run", "--snapshot", theirs.store, "--fallback", "none", "--", *theirs.command())
    assert done.returncode == 222 and reason in done.stderr


@needs_criu
def test_no_wake_boots_cold(service):
    result(service.create())
    with service.running("--no-wake", "--for", "docker", "--snapshot", str(service.store)):
        ask(service.port, "/health")
        assert ask(service.port, "/pid") != "1000"
    assert "wake.done" not in service.events()


@needs_criu
def test_unverified_snapshot_is_published_when_asked_for(service):
    made = json.loads(result(service.create("--no-verify", "--json")))
    assert made["verified"] is False and made["wake_ms"] is None
    assert service.current() == "gen-1"


@needs_criu
def test_second_snapshot_takes_over(service):
    result(service.create())
    assert json.loads(result(service.create("--json")))["generation"] == "gen-2"
    assert service.current() == "gen-2"
    result(snapctl("verify", service.store, "--generation", "gen-1"))


@pytest.fixture(name="peer")
def make_peer(service):
    """A unix socket of somebody outside the engine's tree."""
    with socket.socket(socket.AF_UNIX) as listener:
        path = service.folder / "peer.socket"
        listener.bind(str(path))
        listener.listen()
        yield path


@needs_criu
@pytest.mark.parametrize("case,status", [
    ("never ready", 6), ("no such command", 2), ("ends at once", 6), ("answers otherwise", 13),
    ("holds an outside connection", 7), ("no such user's worker", 3), ("no CRIU", 3)])
def test_failed_attempt_leaves_the_store_as_it_was(service, peer, case, status):
    result(service.create())
    if case == "never ready":
        done = service.create("--ready-timeout", "1s", delay=30)
    elif case == "no such command":
        done = snapctl("create", "--output", service.store, "--", "/no/such/command")
    elif case == "ends at once":
        done = snapctl("create", "--output", service.store, "--ready", service.url("/health"), "--",
                       "sh", "-c", "exit 3")
    elif case == "answers otherwise":
        done = service.create(oracle="/now")
    elif case == "holds an outside connection":
        done = service.create(peer=peer)
    elif case == "no such user's worker":
        if has_file_capabilities():
            pytest.skip("snapworker has file capabilities here")
        os.chown(service.store, NOBODY, NOBODY)
        done = service.create("--user", str(NOBODY))
        os.chown(service.store, 0, 0)
    else:
        done = service.create("--criu", "/no/such/criu")
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("snapctl: create: ")
    assert service.generations() == ["gen-1"]
    assert service.current() == "gen-1"
    assert not (service.store / "lease").exists()
    result(snapctl("verify", "--wake", service.store))


def has_file_capabilities():
    try:
        return bool(os.getxattr(BUILD / "worker" / "snapworker", "security.capability"))
    except OSError:
        return False


@needs_criu
def test_engine_of_another_user_is_captured_and_woken(service):
    tools = service.folder / "tools"
    for name in ["init/snapinit", "worker/snapworker"]:
        (tools / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILD / name, tools / name)
    if not shutil.which("setcap") or subprocess.run(
            ["setcap", "cap_checkpoint_restore,cap_setpcap=ep", tools / "worker/snapworker"],
            check=False).returncode:
        pytest.skip("file capabilities cannot be set here")
    snapinit = ["--snapinit", str(tools / "init/snapinit")]
    made = json.loads(result(service.create("--user", "1234:2345", *snapinit, "--json")))
    assert made["verified"] is True
    assert service.store.stat().st_uid == 1234
    assert (service.store / "current").stat().st_uid == 1234
    seen = json.loads(result(snapctl("inspect", "--json", service.store)))
    assert seen["manifest"]["identity"]["uid"] == 1234
    assert seen["gate"]["ok"] is True, seen["gate"]
    assert "yes, as its user (snapctl run --user 1234:2345)" in result(snapctl("inspect", service.store))
    result(snapctl("verify", "--wake", *snapinit, service.store))


@needs_root
def test_failed_attempt_leaves_no_store_that_was_not_there(service):
    conf = service.folder / "conf"
    conf.write_text("grace = soon\n")
    done = service.create("--config", conf)
    assert result(done, 2) == "" and f"{conf}:1: 'soon'" in done.stderr
    assert not service.store.exists()
    how = ["--output", service.store, "--ready", service.url("/health"), "--", "false"]
    result(snapctl("create", *how), 6)
    assert not service.store.exists()
    service.store.mkdir(mode=0o700)
    result(snapctl("create", *how), 6)
    assert service.store.exists()


@needs_criu
@pytest.mark.parametrize("name,status", [("TERM", 143), ("INT", 130)])
def test_interrupted_attempt_leaves_no_lock_behind(service, name, status):
    result(service.create())
    words = [SNAPCTL, "create", "--output", service.store, "--ready", service.url("/health"), "--",
             *service.command(delay=30)]
    with subprocess.Popen(words, env=clean_env(), cwd=service.folder, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        wait_for(lambda: any(children_of(child) for child in children_of(process.pid)), "no engine")
        process.send_signal(getattr(signal, f"SIG{name}"))
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, err
    assert out == ""
    assert service.generations() == ["gen-1"]
    result(service.create())


@needs_criu
def test_time_limit_ends_an_attempt_that_holds_the_lease(service):
    """The build's fault point makes the worker hang while it holds lease and generation."""
    done = service.create("--timeout", "4s", env=clean_env(SNAPINIT_FAULT="capture.quiet=hang"))
    if done.returncode == 0:
        pytest.skip("this build has no fault points")
    # as of a capture that its --timeout leaves behind
    assert done.returncode == 11 and "--timeout" in done.stderr, done.stderr
    assert service.generations() == []
    result(service.create())


@needs_criu
def test_every_damaged_file_is_named(service):
    result(service.create())
    images = service.store / "gen-1" / "criu"
    pages, core = images / "pages-1.img", next(images.glob("core-*.img"))
    data = bytearray(pages.read_bytes())
    data[len(data) // 2] ^= 1
    pages.write_bytes(data)
    core.unlink()
    done = snapctl("verify", "--json", service.store)
    told = json.loads(result(done, 5))
    assert {item["name"] for item in told["damaged"]} == {f"criu/{pages.name}", f"criu/{core.name}"}
    assert told["ok"] is False and told["wake"] is None
    text = result(snapctl("verify", service.store, "--wake"), 5)
    assert f"gen-1/criu/{pages.name} has digest " in text and f"criu/{core.name} is missing" in text
    assert json.loads(result(snapctl("inspect", "--json", "--verify-files", service.store),
                             5))["damaged"] == told["damaged"]


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def has_pages(service):
    return (service.store / "gen-1" / "pages.dat").exists()


@needs_criu
@pytest.mark.parametrize("case,name,words", [
    ("content", "pages.dat", "chunk 0 of "), ("short", "pages.dat", " bytes, pages.map says "),
    ("gone", "pages.dat", "is missing"), ("open", "pages.dat", "mode 0644"),
    ("map", "pages.map", "has digest ")])
def test_damaged_page_files_are_named(service, case, name, words):
    result(service.create())
    assert has_pages(service)
    data, table = (service.store / "gen-1" / part for part in ("pages.dat", "pages.map"))
    if case == "content":
        flip(data, 9)
    elif case == "short":
        data.write_bytes(data.read_bytes()[:-4096])
    elif case == "gone":
        data.unlink()
    elif case == "open":
        data.chmod(0o644)
    else:
        flip(table, 70)
    damaged = json.loads(result(snapctl("verify", "--json", service.store), 5))["damaged"]
    assert [item["name"] for item in damaged] == [name]
    assert words in damaged[0]["problem"]
    assert f"gen-1/{name} " in result(snapctl("verify", service.store), 5)
    assert json.loads(result(snapctl("inspect", "--json", "--verify-files", service.store),
                             5))["damaged"] == damaged
    to = service.folder / "images"
    done = snapctl("export", "--criu", to, service.store)
    if case != "open":
        assert done.returncode == 5 and done.stdout == ""
        assert not to.exists()


@needs_criu
def test_file_beside_the_page_files_is_damage(service):
    result(service.create())
    (service.store / "gen-1" / "pages.old").write_bytes(b"x")
    assert "pages.old is not in the manifest" in result(snapctl("verify", service.store), 5)


@needs_criu
def test_inspection_tells_what_became_of_memory(service):
    result(service.create())
    pages = json.loads(result(snapctl("inspect", "--json", service.store)))["pages"]
    rows = pages["mappings"]
    for key in ("stored_bytes", "zero_bytes", "shared_bytes", "kept_bytes", "data_bytes"):
        assert pages[key] == sum(row[key] for row in rows), key
    assert 0 < pages["data_bytes"] <= pages["file_bytes"]
    assert pages["memory_bytes"] == pages["stored_bytes"] > 1 << 20
    sizes = [sum(row[f"{kind}_bytes"] for kind in ("stored", "zero", "shared", "kept"))
             for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert any("stack" in row["kept"] and row["name"] == "[stack]" for row in rows)
    text = result(snapctl("inspect", service.store))
    top = text.partition("pages        ")[2].splitlines()
    assert top[1].split() == ["stored", "in", "file", "zero", "shared", "CRIU", "pid", "mapping"]
    assert top[12].endswith(f"{len(rows) - 10} more, --all shows them")
    assert top[13].endswith("in total")
    whole = result(snapctl("inspect", "--all", service.store))
    assert len(whole.splitlines()) == len(text.splitlines()) + len(rows) - 10 - 1


@needs_criu
def test_forecast_is_fixed_and_bytes_by_rate(service):
    result(service.create())
    slow, fast = (json.loads(result(snapctl("inspect", "--json", "--rate", rate, service.store)))
                  for rate in ("0.01", "1000"))
    pages, told = slow["pages"], slow["wake_forecast"]
    assert told["bytes_per_s"] == 1e7
    assert told["stream_ms"] >= pages["data_bytes"] / 1e7 * 1e3
    assert told["predicted_ms"] == told["fixed_ms"] + told["criu_ms"] + told["stream_ms"]
    assert fast["wake_forecast"]["predicted_ms"] < told["predicted_ms"]
    assert "would wake   in about " in result(snapctl("inspect", "--rate", "2", service.store))
    assert json.loads(result(snapctl("inspect", "--json", service.store)))["wake_forecast"] is None


@needs_criu
def test_snapshot_without_pages_says_so(service):
    env = clean_env(SNAPINIT_PAGES="off")
    result(service.create(env=env))
    assert not has_pages(service)
    seen = json.loads(result(snapctl("inspect", "--json", "--rate", "1", service.store)))
    assert seen["pages"] is None
    assert seen["wake_forecast"]["stream_ms"] == 0 < seen["wake_forecast"]["criu_ms"]
    assert "pages        none, all memory is in CRIU's images" in result(
        snapctl("inspect", service.store))
    told = json.loads(result(snapctl("export", "--json", "--criu", service.folder / "images",
                                     service.store)))
    assert told["merged_bytes"] == 0
    names = [path.name for path in (service.store / "gen-1" / "criu").iterdir()]
    assert sorted(names) == sorted(path.name for path in (service.folder / "images").iterdir())


@needs_criu
def test_export_tells_how_to_restore(service):
    result(service.create("--for", "docker"))
    to = service.folder / "images"
    told = json.loads(result(snapctl("export", "--json", "--criu", to, service.store)))
    assert told["schema"] == "snapctl.export/v1" and told["generation"] == "gen-1"
    assert told["files"] == len(list(to.iterdir()))
    assert told["bytes"] == sum(path.stat().st_size for path in to.iterdir())
    words = told["restore"]
    assert words[:2] == ["criu", "restore"] and words[words.index("--images-dir") + 1] == str(to)
    assert "--unprivileged" in words
    assert sum(word.startswith("--inherit-fd=fd[") for word in words) == 3
    again = snapctl("export", "--criu", service.folder / "other", "--generation", "gen-1",
                    service.store)
    line, command = result(again).splitlines()
    assert line.startswith(f"{service.store} gen-1 {service.folder}/other ")
    assert command.startswith(" ".join(told["criu_program"]) + " restore ") and "'--inherit-fd=fd[0]:pipe:[" in command


@needs_criu
@pytest.mark.parametrize("name,status", [("TERM", 143), ("INT", 130)])
def test_interrupted_export_leaves_nothing(service, name, status):
    result(service.create())
    to = service.folder / "images"
    for attempt in range(40):
        with subprocess.Popen([SNAPCTL, "export", "--criu", to, service.store], env=clean_env(),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(0.001 + 0.0005 * attempt)
            process.send_signal(getattr(signal, f"SIG{name}"))
            ended = process.wait(PATIENCE)
        if ended == status:
            assert not to.exists()
            return
        if to.exists():
            assert ended == 0
            shutil.rmtree(to)
    pytest.skip("never interrupted in time")


@needs_criu
def test_damaged_manifest_is_named(service):
    result(service.create())
    manifest = service.store / "gen-1" / "manifest.json"
    manifest.write_text(manifest.read_text()[:-20])
    assert "gen-1/manifest.json" in result(snapctl("verify", service.store), 5)
    assert snapctl("inspect", service.store).returncode == 5


@needs_criu
def test_file_open_to_others_is_damage(service):
    result(service.create())
    (service.store / "gen-1" / "criu" / "pages-1.img").chmod(0o644)
    assert "mode 0644" in result(snapctl("verify", service.store), 5)


@needs_criu
def test_trial_wake_asks_the_oracle_though_the_snapshot_is_verified(service):
    result(service.create())
    manifest = service.store / "gen-1" / "manifest.json"
    told = json.loads(manifest.read_text())
    assert told["verified"] is True
    told["oracle_answer"] = "another"
    manifest.write_text(json.dumps(told))
    assert "digest" in result(snapctl("verify", service.store), 5)
    manifest.write_bytes(damaged_manifests.seal(told))
    result(snapctl("verify", service.store))
    done = snapctl("verify", "--wake", "--json", service.store)
    assert json.loads(result(done, 13))["wake"]["code"] == "oracle-mismatch"


# --- doctor -----------------------------------------------------------------------------------


def examine(*options, status=0, **how):
    done = snapctl("doctor", "--json", *options, patience=3 * PATIENCE, **how)
    told = json.loads(result(done, status))
    assert told["schema"] == "snapctl.doctor/v1"
    return told, {check["id"]: check for check in told["checks"]}


@needs_criu
def test_doctor_finds_nothing_wrong_here():
    told, checks = examine()
    assert told["ok"] is True and told["setting"] in "AB"
    assert len(checks) == len(told["checks"]) >= 15
    for check in told["checks"]:
        assert check["status"] in ("ok", "warn", "skip"), check
        assert check["message"]
    for name in ["kern.version", "cap.ckpt", "sec.seccomp", "sys.ptrace", "sys.set_tid", "fs.store",
                 "mem.limit", "lim.nofile", "criu.version"]:
        assert name in checks
    assert checks["trial.wake"]["status"] == "ok", checks["trial.wake"]


@needs_criu
def test_doctor_leaves_nothing_behind(tmp_path):
    examine(env=clean_env(TMPDIR=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@needs_criu
def test_doctor_without_trial_says_so():
    assert examine("--no-trial")[1]["trial.wake"]["status"] == "skip"


@needs_criu
def test_doctor_looks_at_a_store(tmp_path):
    store = tmp_path / "store"
    assert examine("--no-trial", "--store", store)[1]["fs.store"]["status"] == "warn"
    check = examine("--no-trial", "--store", store / "absent", status=3)[1]["fs.store"]
    assert check["status"] == "fail" and "folder above" in check["remedy"]
    store.mkdir(mode=0o700)
    assert examine("--no-trial", "--store", store)[1]["fs.store"]["status"] == "ok"
    store.chmod(0o755)
    assert examine("--no-trial", "--store", store)[1]["fs.store"]["status"] == "warn"
    examine("--no-trial", "--strict", "--store", store, status=3)
    store.chmod(0o777)
    check = examine("--no-trial", "--store", store, status=3)[1]["fs.store"]
    assert check["status"] == "fail" and check["remedy"]


@needs_criu
def test_doctor_inside_a_container_names_its_setting():
    done = snapctl("run", "--for", "docker", "--", SNAPCTL, "doctor", "--json")
    assert json.loads(result(done))["setting"] == "B"


@needs_criu
def test_doctor_without_rights_answers_for_the_user_namespace(theirs):
    if has_file_capabilities():
        pytest.skip("snapworker has file capabilities here")
    how = {"user": NOBODY, "env": clean_env(TMPDIR=str(theirs.folder), **NO_LEAK_CHECK)}
    told, checks = examine(**how)
    assert told["setting"] == "B" and told["user_namespace"] is True
    assert checks["trial.wake"]["status"] == "ok", checks["trial.wake"]
    done = snapctl("doctor", "--no-trial", **how)
    assert result(done).startswith("Not root") and "setting B in a user namespace" in done.stdout
    assert examine("--no-trial")[0]["user_namespace"] is False


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root")
def test_doctor_without_rights_or_user_namespaces_fails_and_tells_remedies():
    if has_file_capabilities():
        pytest.skip("snapworker has file capabilities here")
    done = subprocess.run([*WITHOUT_ANYTHING, SNAPCTL, "doctor", "--json", "--no-trial"], capture_output=True,
                          text=True, check=False, user=NOBODY, env=clean_env())
    told = json.loads(result(done, 3))
    checks = {check["id"]: check for check in told["checks"]}
    assert told["setting"] == "none" and told["user_namespace"] is False
    assert checks["cap.ckpt"]["status"] == "fail" and "--cap-add" in checks["cap.ckpt"]["remedy"]


@needs_criu
def test_doctor_misses_criu():
    _, checks = examine("--criu", "/no/such/criu", status=3)
    assert checks["criu.version"]["status"] == "fail"
    assert checks["trial.wake"]["status"] == "skip"
