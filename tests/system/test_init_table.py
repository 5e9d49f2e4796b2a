# SPDX-License-Identifier: Apache-2.0
"""One table of what is expected of a PID 1: each case runs against snapinit, against snapinit under the
names of tini, dumb-init and catatonit, and against these three where they claim to do it. What differs is
the table in docs/init.md, made from the expectations that the runs confirm; `update` as an argument of this
file writes it there."""

import functools
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import inits, processes  # noqa: E402
from lib.inits import ALL, FIXTURES, NOT_COMING, PATIENCE, PRINTER, SOURCE, THEIRS, dialect_of, wait_for  # noqa: E402

DOCUMENT = SOURCE / "docs" / "init.md"
MODES = ["PID 1", "child"]


@functools.lru_cache(maxsize=None)
def can_be_pid_1():
    return os.geteuid() == 0 and subprocess.run([*inits.PID_1, "true"], capture_output=True, check=False).returncode == 0


class Bench:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.started = []

    def program(self, init):
        program = inits.program_of(init, self.folder)
        if not program:
            pytest.skip(f"SKIP: {init} is not installed (./dev setup)")
        if inits.version_of(init) != inits.COMPARED.get(init):
            pytest.skip(f"SKIP: {init} is {inits.version_of(init)}, and {inits.COMPARED[init]} is what is described")
        return program

    def start(self, init, *words, **options):
        run = inits.Started([self.program(init), *words], self.folder / f"run{len(self.started)}", **options)
        self.started.append(run)
        return run

    def shell(self, init, script, options=(), **more):
        return self.start(init, *options, "--", "sh", "-c", script, **more)

    def end(self):
        for run in self.started:
            run.end()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="module")
def long_bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("signals"))
    yield made
    made.end()


# --- signals × modes ----------------------------------------------------------------------------

STOPPING = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
FAULTS = {signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
SIGNALS = [s for s in range(1, 32) if s not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD)] + [34, 37, 49, 64]


def name_of(sig):
    return signal.Signals(sig).name[3:] if sig < 32 else f"RTMIN+{sig - 34}"


def fate_of(init, mode, sig):
    """What becomes of a signal: it is passed on, nothing happens, or the init dies of it."""
    if init in ("tini", "catatonit") and sig in FAULTS:
        return "kills the init" if mode == "child" else "lost"
    if init == "catatonit" and sig in STOPPING:
        return "lost"
    if init in ("snapinit", "as tini", "as catatonit", "tini") and sig in (signal.SIGTTIN, signal.SIGTTOU):
        return "lost"
    if dialect_of(init) == "dumb-init" and sig in STOPPING:
        return None  # it stops, and everything with it: a case of its own below
    return "passed on"


@pytest.fixture(scope="module")
def printers(long_bench):
    """A running signal printer for each init and mode, started again when it has ended."""
    running = {}

    def get(init, mode):
        run = running.get((init, mode))
        if run is None or run.poll() is not None:
            run = long_bench.start(init, "--", PRINTER, pid_1=mode == "PID 1").must_say("ready")
            running[init, mode] = run
        return run

    return get


@pytest.mark.parametrize("sig", SIGNALS, ids=name_of)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("init", ALL)
def test_signal(printers, init, mode, sig):
    fate = fate_of(init, mode, sig)
    if fate is None:
        return
    if mode == "PID 1" and not can_be_pid_1():
        pytest.skip("SKIP: no pid namespace can be made here")
    run = printers(init, mode)
    run.kill(sig)
    if fate == "passed on":
        run.must_say(f"got {sig}\n")
    elif fate == "lost":
        assert not run.says(f"got {sig}\n", NOT_COMING)
        assert run.poll() is None
    else:
        assert run.wait() == str(128 + sig)


def lost_signals(init, mode):
    lost = [name_of(s) for s in SIGNALS if fate_of(init, mode, s) == "lost"]
    deadly = [name_of(s) for s in SIGNALS if fate_of(init, mode, s) == "kills the init"]
    parts = [f"not {' '.join(lost)}"] if lost else ["all"]
    return "; ".join(parts + ([f"dies of {' '.join(deadly)}"] if deadly else []))


# --- cases --------------------------------------------------------------------------------------

CASES = []


def case(title, expect, claims=None, options=None):
    """
    expect: outcome for each init; "*" for those not named, and ours under another's name is expected to do
    as that one does. claims: whose options have it (all). options: of each.
    """
    def add(fn):
        CASES.append((title, expect, claims or ["snapinit", *THEIRS], options or {}, fn))
        return fn
    return add


def expected(expect, init):
    for key in (init, dialect_of(init), "*"):
        if key in expect:
            return expect[key]
    raise KeyError(init)


def claimed(claims):
    return [init for init in ALL if dialect_of(init) in claims]


GROUP = {"snapinit": ["-g"], "tini": ["-g"], "catatonit": ["-g"]}
GRACE = {"snapinit": ["--grace", "300ms"]}


# --- exit statuses ---


@case("exit status of the command, 0 to 255", {"*": "the same"})
def exit_statuses(bench, init, options):
    program, env = bench.program(init), inits.clean_env()
    for code in range(256):
        got = subprocess.run([program, "--", "sh", "-c", f"exit {code}"], env=env, stdin=subprocess.DEVNULL,
                             capture_output=True, start_new_session=True, check=False).returncode
        if got != code:
            return f"{got} for {code}"
    return "the same"


@case("command killed by signal N", {"*": "128+N"})
def killed_by_signal(bench, init, options):
    for sig in (1, 6, 9, 11, 15, 34, 64):
        status = bench.shell(init, f"ulimit -c 0; kill -{sig} $$").wait()
        if status != str(128 + sig):
            return f"{status} for {sig}"
    return "128+N"


@case("command not found", {"*": "127", "dumb-init": "2", "catatonit": "1", "as dumb-init": "127", "as catatonit": "127"})
def not_found(bench, init, options):
    return bench.start(init, "--", "/nonexistent/program").wait()


@case("command not found in PATH",
      {"*": "127", "dumb-init": "2", "catatonit": "1", "as dumb-init": "127", "as catatonit": "127"})
def not_found_in_path(bench, init, options):
    return bench.start(init, "--", "no-such-program-anywhere").wait()


@case("command not executable",
      {"*": "126", "dumb-init": "2", "catatonit": "1", "as dumb-init": "126", "as catatonit": "126"})
def not_executable(bench, init, options):
    return bench.start(init, "--", "/etc/passwd").wait()


@case("command is a folder", {"*": "126", "dumb-init": "2", "catatonit": "1", "as dumb-init": "126", "as catatonit": "126"})
def is_a_folder(bench, init, options):
    return bench.start(init, "--", "/").wait()


@case("script whose interpreter is missing",
      {"*": "127", "dumb-init": "2", "catatonit": "1", "as dumb-init": "127", "as catatonit": "127"})
def no_interpreter(bench, init, options):
    script = bench.folder / "script"
    script.write_text("#!/nonexistent/shell\n")
    script.chmod(0o755)
    return bench.start(init, "--", str(script)).wait()


@case("script without an interpreter line", {"*": "run by sh"})
def no_interpreter_line(bench, init, options):
    script = bench.folder / "script"
    script.write_text("exit 7\n")
    script.chmod(0o755)
    return "run by sh" if bench.start(init, "--", str(script)).wait() == "7" else "not run"


@case("no command, or an unknown option", {"*": "1", "snapinit": "125"})
def usage_errors(bench, init, options):
    statuses = {bench.start(init, *words).wait() for words in ([], ["--"], ["-z", "true"], ["--no-such-option", "true"])}
    return "/".join(sorted(statuses))


@case("`-e 143`: the command exits 143", {"*": "0"}, ["snapinit", "tini"], {"*": ["-e", "143"]})
def remapped_exit(bench, init, options):
    return bench.shell(init, "exit 143", options).wait()


@case("`-e 143`: the command is killed by TERM", {"*": "0"}, ["snapinit", "tini"], {"*": ["-e", "143"]})
def remapped_signal(bench, init, options):
    return bench.shell(init, "kill -15 $$", options).wait()


@case("`-e N` for each of 0 to 255", {"*": "0"}, ["snapinit", "tini"])
def every_remap(bench, init, options):
    program, env = bench.program(init), inits.clean_env()
    for code in range(256):
        got = subprocess.run([program, "-e", str(code), "--", "sh", "-c", f"exit {code}"], env=env,
                             stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=False).returncode
        if got != 0:
            return f"{got} for {code}"
    return "0"


@case("`-e` for all but the status that comes", {"*": "the same"}, ["snapinit", "tini"])
def remaps_of_others(bench, init, options):
    for code in (0, 1, 63, 64, 255):
        words = [word for n in range(256) if n != code for word in ("-e", str(n))]
        status = bench.start(init, *words, "--", "sh", "-c", f"exit {code}").wait()
        if status != str(code):
            return f"{status} for {code}"
    return "the same"


@case("`-e 256`, `-e x`", {"*": "1", "snapinit": "125"}, ["snapinit", "tini"])
def remap_nonsense(bench, init, options):
    return "/".join(sorted({bench.start(init, "-e", word, "--", "true").wait() for word in ("256", "-1", "x")}))


@case("SIGCHLD was ignored by the parent", {"*": "status kept", "tini": "never ends", "as tini": "status kept",
                                            "catatonit": "never ends", "as catatonit": "status kept"})
def ignored_sigchld(bench, init, options):
    run = bench.shell(init, "exit 9", preexec=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    status = run.wait(1.5 if init in ("tini", "catatonit") else inits.PATIENCE)
    return {"9": "status kept", "runs on": "never ends"}.get(status, status)


# --- orphans ---


@case("10,000 orphans", {"*": "all reaped"})
def many_orphans(bench, init, options):
    run = bench.start(init, "--", str(FIXTURES / "orphan_maker"), "10000", pid_1=True)
    status = run.wait(120)
    text = run.output().strip()
    return "all reaped" if (status, text) == ("0", "10000 made, 0 left, 0 zombies") else f"{status}: {text}"


@case("double fork, not PID 1", {"*": "adopted and reaped", "tini": "not adopted", "as tini": "adopted and reaped",
                                 "dumb-init": "not adopted", "as dumb-init": "adopted and reaped"})
def double_fork(bench, init, options):
    run = bench.shell(init, "sh -c 'sleep 0.4 & echo orphan $! .; exit 0'; echo up; exec sleep 1000").must_say("up")
    orphan = int(re.search(r"orphan (\d+)", run.output())[1])
    parent = int(processes.stat_of(orphan)[1])
    gone = wait_for(lambda: processes.stat_of(orphan) is None)
    return "adopted and reaped" if parent == run.pid and gone else "not adopted"


@case("double fork, not PID 1, asked to adopt", {"*": "adopted and reaped"}, ["snapinit", "tini"], {"*": ["-s"]})
def asked_double_fork(bench, init, options):
    run = bench.shell(init, "sh -c 'sleep 0.4 & echo orphan $! .; exit 0'; echo up; exec sleep 1000", options).must_say("up")
    orphan = int(re.search(r"orphan (\d+)", run.output())[1])
    parent = int(processes.stat_of(orphan)[1])
    gone = wait_for(lambda: processes.stat_of(orphan) is None)
    return "adopted and reaped" if parent == run.pid and gone else "not adopted"


@case("`TINI_SUBREAPER=`", {"*": "adopted"}, ["snapinit", "tini"])
def adopt_by_environment(bench, init, options):
    run = bench.shell(init, "sh -c 'sleep 5 & echo orphan $! .; exit 0'; echo up; exec sleep 1000",
                      env={"TINI_SUBREAPER": ""}).must_say("up")
    orphan = int(re.search(r"orphan (\d+)", run.output())[1])
    return "adopted" if int(processes.stat_of(orphan)[1]) == run.pid else "not adopted"


UNTIL_REAPED = "while kill -0 $(cat orphan) 2>/dev/null; do sleep 0.01; done"


@case("`-w`: an orphan is reaped", {"*": "told on standard error"}, ["snapinit", "tini"], {"*": ["-s", "-w"]})
def warned_reaping(bench, init, options):
    run = bench.shell(init, f"sh -c 'sleep 0.1 & echo $! >orphan'; {UNTIL_REAPED}; exit 0", options)
    run.wait()
    return "told on standard error" if re.search(r"[Rr]eaped", run.errors()) else "not told"


@case("an orphan's death", {"*": "does not end the init"})
def orphan_is_not_the_child(bench, init, options):
    run = bench.shell(init, f"sh -c '(sleep 0.1; exit 3) & echo $! >orphan; exit 4'; {UNTIL_REAPED}; exit 5", pid_1=True)
    return "does not end the init" if run.wait() == "5" else "ends it"


# --- the end ---

LEFT = "sh -c 'trap \"echo left got TERM; exit\" TERM; echo left $$ .; while :; do sleep 0.02; done' & " \
       "while ! [ -e go ]; do sleep 0.01; done; exit 6"


def leftover(bench, init, script, options=(), **more):
    run = bench.shell(init, script, options, **more).must_say("left ")
    left = int(re.search(r"left (\d+)", run.output())[1])
    (run.folder / "go").touch()
    assert run.wait() == "6"
    if run.says("left got TERM", NOT_COMING):
        return "gets TERM"
    return "lives on" if processes.is_alive(left) else "is killed"


@case("left in the command's group after its end, not PID 1", {"*": "lives on", "dumb-init": "gets TERM"})
def left_in_group(bench, init, options):
    return leftover(bench, init, LEFT)


@case("left in a session of its own, not PID 1", {"*": "lives on"})
def left_in_session(bench, init, options):
    return leftover(bench, init, LEFT.replace("sh -c", "setsid sh -c", 1))


@case("left in a session of its own, `--grace`", {"*": "gets TERM"}, ["snapinit"], GRACE)
def left_with_grace(bench, init, options):
    return leftover(bench, init, LEFT.replace("sh -c", "setsid sh -c", 1), options)


@case("left, ignores TERM, `--grace`", {"*": "is killed"}, ["snapinit"], GRACE)
def left_and_stubborn(bench, init, options):
    return leftover(bench, init, LEFT.replace("trap \"echo left got TERM; exit\" TERM", "trap \"\" TERM"), options)


@case("left, stopped, `--grace`", {"*": "gets TERM"}, ["snapinit"], GRACE)
def left_and_stopped(bench, init, options):
    run = bench.shell(init, LEFT, options).must_say("left ")
    left = int(re.search(r"left (\d+)", run.output())[1])
    os.kill(left, signal.SIGSTOP)
    (run.folder / "go").touch()
    assert run.wait() == "6"
    return "gets TERM" if run.says("left got TERM", NOT_COMING) else "does not"


@case("TERM ignored, `--grace`", {"*": "all killed, 137"}, ["snapinit"], GRACE)
def grace_over(bench, init, options):
    run = bench.shell(init, "trap '' TERM; echo up; while :; do sleep 0.05; done", options).must_say("up")
    run.kill(signal.SIGTERM)
    status = run.wait()
    return f"all killed, {status}" if "grace.over" in run.errors() else status


STUBBORN = "trap 'echo TERM' TERM; trap 'echo INT' INT; echo up; while :; do sleep 0.02; done"


@case("second TERM, `--grace 10m`", {"*": "all killed at once, 137"}, ["snapinit"], {"*": ["--grace", "10m"]})
def second_term(bench, init, options):
    run = bench.shell(init, STUBBORN, options).must_say("up")
    run.kill(signal.SIGTERM)
    run.must_say("TERM")
    assert run.poll() is None
    run.kill(signal.SIGTERM)
    return f"all killed at once, {run.wait()}"


@case("INT after TERM, `--grace 10m`", {"*": "all killed at once, 137"}, ["snapinit"], {"*": ["--grace", "10m"]})
def int_after_term(bench, init, options):
    run = bench.shell(init, STUBBORN, options).must_say("up")
    run.kill(signal.SIGTERM)
    run.must_say("TERM")
    run.kill(signal.SIGINT)
    return f"all killed at once, {run.wait()}"


@case("HUP after TERM, `--grace 10m`", {"*": "passed on"}, ["snapinit"], {"*": ["--grace", "10m"]})
def hup_after_term(bench, init, options):
    run = bench.shell(init, "trap 'echo HUP' HUP; " + STUBBORN, options).must_say("up")
    run.kill(signal.SIGTERM)
    run.must_say("TERM")
    run.kill(signal.SIGHUP)
    run.must_say("HUP")
    return "passed on" if run.poll() is None else "ends"


@case("TERM three times, no grace", {"*": "passed on three times"})
def third_term(bench, init, options):
    run = bench.start(init, "--", PRINTER).must_say("ready")
    for n in range(1, 4):
        run.kill(signal.SIGTERM)
        if not run.says("got 15\n", times=n):
            return f"passed on {n - 1} times"
    return "passed on three times"


@case("QUIT with `--stop-signal QUIT --grace`", {"*": "passed on, then killed"}, ["snapinit"],
      {"*": ["--stop-signal", "QUIT", "--grace", "300ms"]})
def stop_signal(bench, init, options):
    run = bench.start(init, *options, "--", PRINTER).must_say("ready")
    run.kill(signal.SIGQUIT)
    run.must_say("got 3\n")
    return "passed on, then killed" if run.wait() == "137" else run.wait()


@case("TERM with `--stop-signal RTMIN+3 --grace`", {"*": "starts the grace, too"}, ["snapinit"],
      {"*": ["--stop-signal", "RTMIN+3", "--grace", "300ms"]})
def term_beside_stop_signal(bench, init, options):
    run = bench.start(init, *options, "--", PRINTER).must_say("ready")
    run.kill(signal.SIGTERM)
    return "starts the grace, too" if run.wait() == "137" else "starts none"


@case("processes left at the end of PID 1", {"*": "none"})
def left_in_namespace(bench, init, options):
    run = bench.shell(init, LEFT.replace("sh -c", "setsid sh -c", 1), pid_1=True).must_say("left ")
    namespace = os.readlink(f"/proc/{run.pid}/ns/pid")
    (run.folder / "go").touch()
    assert run.wait() == "6"

    def left():
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and processes.is_alive(entry) and os.readlink(f"/proc/{entry}/ns/pid") == namespace:
                    found.append(entry)
            except OSError:
                pass
        return found

    return "none" if wait_for(lambda: not left()) else f"{len(left())}"


# --- whom signals reach ---


def reach_of(bench, init, options, **more):
    run = bench.start(init, *options, "--", PRINTER, "pair", **more).must_say("ready").must_say("child leader")
    run.kill(signal.SIGUSR1)
    run.must_say("got 10\n")
    # the parent's line ends with the child's: "child got 10" holds "got 10"
    return "the group" if run.says("child got 10\n", 2 if wants_group(init, options, more) else NOT_COMING) \
        and run.says("\ngot 10\n", 2) else "the command"


def wants_group(init, options, more):
    return dialect_of(init) == "dumb-init" or "-g" in options or "TINI_KILL_PROCESS_GROUP" in more.get("env", {})


@case("signals go to", {"*": "the command", "dumb-init": "the group"})
def reach_by_default(bench, init, options):
    return reach_of(bench, init, [])


@case("signals go to, `-g`", {"*": "the group"}, ["snapinit", "tini", "catatonit"], GROUP)
def reach_with_g(bench, init, options):
    return reach_of(bench, init, options)


@case("signals go to, `TINI_KILL_PROCESS_GROUP`", {"*": "the group"}, ["snapinit", "tini"])
def reach_by_environment(bench, init, options):
    return reach_of(bench, init, [], env={"TINI_KILL_PROCESS_GROUP": "0"})


@case("signals go to, `-c`", {"*": "the command"}, ["snapinit", "dumb-init"], {"*": ["-c"]})
def reach_with_c(bench, init, options):
    return reach_of(bench, init, options)


@case("signals go to, `--single-child`", {"*": "the command"}, ["snapinit", "dumb-init"], {"*": ["--single-child"]})
def reach_with_single_child(bench, init, options):
    return reach_of(bench, init, options)


@case("signals go to, `DUMB_INIT_SETSID=0`", {"*": "the command"}, ["dumb-init"])
def reach_without_setsid(bench, init, options):
    return reach_of(bench, init, [], env={"DUMB_INIT_SETSID": "0"})


def standing_of(run):
    line = re.search(r"^ready .*", run.output(), re.MULTILINE)[0]
    words = dict(re.findall(r"(leader|group|session|foreground)=(\d)", line))
    session = "a session" if words["session"] == "1" else "a group" if words["leader"] == "1" else "nothing"
    return session + (", foreground" if words["foreground"] == "1" else "")


@case("the command leads", {"*": "a group", "dumb-init": "a session"})
def standing(bench, init, options):
    return standing_of(bench.start(init, "--", PRINTER).must_say("ready"))


@case("the command leads, `-c`", {"*": "a group", "dumb-init": "nothing", "as dumb-init": "a group"},
      ["snapinit", "dumb-init"], {"*": ["-c"]})
def standing_with_c(bench, init, options):
    return standing_of(bench.start(init, *options, "--", PRINTER).must_say("ready"))


@case("`--docker-init-compat=dumb-init`: the command leads", {"*": "a session"}, ["snapinit"],
      {"*": ["--docker-init-compat=dumb-init"]})
def standing_in_dialect(bench, init, options):
    return standing_of(bench.start(init, *options, "--", PRINTER).must_say("ready"))


@case("`--docker-init-compat -g echo -- x`, and an unknown option", {"*": "x; 1"}, ["snapinit"],
      {"*": ["--docker-init-compat"]})
def dialect_of_docker(bench, init, options):
    run = bench.start(init, *options, "-g", "echo", "--", "x")
    run.wait()
    return f"{run.output().strip()}; {bench.start(init, *options, '-z', 'true').wait()}"


# --- rewriting ---


def rewritten(bench, init, options, sig):
    run = bench.start(init, *options, "--", PRINTER).must_say("ready")
    run.kill(sig)
    if run.says("got ", 2 if f"{int(sig)}:0" not in options else NOT_COMING):
        return re.search(r"got (\d+)", run.output())[1]
    return "nothing"


for words, sent, wanted in [(["-r", "15:3"], 15, "3"), (["--rewrite", "15:3"], 15, "3"), (["--rewrite=15:3"], 15, "3"),
                            (["-r", "15:0"], 15, "nothing"), (["-r", "2:3", "-r", "15:1"], 15, "1"),
                            (["-r", "1:15", "-r", "1:2"], 1, "2"), (["-r", "15:3"], 2, "2")]:
    @case(f"`{' '.join(words)}`: {sent} comes, the command gets", {"*": wanted}, ["snapinit", "dumb-init"], {"*": words})
    def rewriting(bench, init, options, sent=sent):
        return rewritten(bench, init, options, sent)

for words, sent, wanted in [(["-r", "TERM:QUIT"], 15, "3"), (["-r", "SIGTERM:RTMIN+3"], 15, "37"), (["-r", "64:15"], 64, "15"),
                            (["-r", "TERM:QUIT,HUP:USR1"], 1, "10")]:
    @case(f"`{' '.join(words)}`: {sent} comes, the command gets",
          {"*": wanted, "dumb-init": "refused, 1", "as dumb-init": wanted}, ["snapinit", "dumb-init"], {"*": words})
    def rewriting_names(bench, init, options, sent=sent):
        if init == "dumb-init":
            return f"refused, {bench.start(init, *options, '--', PRINTER).wait()}"
        return rewritten(bench, init, options, sent)


@case("`-r` with nonsense", {"*": "1", "snapinit": "125"}, ["snapinit", "dumb-init"])
def rewrite_nonsense(bench, init, options):
    words = ["15", "15:", ":15", "x:3", "15:x", "0:3", "99:3", "15:99"]
    return "/".join(sorted({bench.start(init, "-r", word, "--", "true").wait() for word in words}))


# --- terminals and stopping ---


def command_is_stopped(run):
    pids = [int(p) for p in processes.children_of(run.pid)]
    return wait_for(lambda: pids and all((processes.stat_of(p) or "X")[0] == "T" for p in pids))


for stop in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
    @case(f"{stop.name[3:]}, not PID 1", {"*": "init and command stop, CONT wakes both"}, ["dumb-init"])
    def stop_with_child(bench, init, options, stop=stop):
        run = bench.start(init, "--", PRINTER).must_say("ready")
        run.kill(stop)
        if not command_is_stopped(run) or not wait_for(lambda: processes.stat_of(run.pid)[0] == "T"):
            return "does not stop"
        run.kill(signal.SIGCONT)
        run.must_say("got 18\n")
        return "init and command stop, CONT wakes both"


@case("`-r 20:20`: TSTP, not PID 1", {"*": "the command gets 20, the init stops"}, ["dumb-init"], {"*": ["-r", "20:20"]})
def stop_alone(bench, init, options):
    run = bench.start(init, *options, "--", PRINTER).must_say("ready")
    run.kill(signal.SIGTSTP)
    run.must_say("got 20\n")
    stopped = wait_for(lambda: processes.stat_of(run.pid)[0] == "T")
    run.kill(signal.SIGCONT)
    return "the command gets 20, the init stops" if stopped else "the init runs on"


@case("on a terminal the command leads",
      {"*": "a group, foreground", "dumb-init": "a session, foreground"})
def standing_on_terminal(bench, init, options):
    return standing_of(bench.start(init, "--", PRINTER, terminal=True).must_say("ready"))


@case("on a terminal, PID 1, the command leads",
      {"*": "a group, foreground", "dumb-init": "a session, foreground"})
def standing_on_terminal_pid_1(bench, init, options):
    return standing_of(bench.start(init, "--", PRINTER, terminal=True, pid_1=True).must_say("ready"))


# dumb-init lets go of the terminal for its child: the HUP and CONT of that are not for the child
@case("on a terminal the command hears at its start", {"*": "nothing"})
def first_signals_on_terminal(bench, init, options):
    run = bench.start(init, "--", PRINTER, terminal=True).must_say("ready")
    return "a signal" if run.says("got ", NOT_COMING) else "nothing"


@case("Ctrl-C on a terminal", {"*": "the command gets INT once"})
def interrupt_key(bench, init, options):
    run = bench.start(init, "--", PRINTER, terminal=True).must_say("ready")
    os.write(run.master, b"\x03")
    run.must_say("got 2\n")
    run.kill(signal.SIGUSR1)
    run.must_say("got 10\n")
    return f"the command gets INT {'once' if run.output().count('got 2') == 1 else 'twice'}"


@case("Ctrl-Z on a terminal, PID 1", {"*": "the command gets TSTP"})
def suspend_key(bench, init, options):
    run = bench.start(init, "--", PRINTER, terminal=True, pid_1=True).must_say("ready")
    os.write(run.master, b"\x1a")
    return "the command gets TSTP" if run.says("got 20\n", 3) else "it gets none"


# catatonit blocks the keyboard's stop signal in its child
@case("an interactive shell on a terminal", {"*": "has job control", "catatonit": "cannot stop its jobs",
                                             "as catatonit": "has job control"})
def job_control(bench, init, options):
    run = bench.start(init, "--", "bash", "--norc", "--noprofile", "-i", terminal=True, env={"PS1": "> ", "TERM": "dumb"})
    run.must_say("> ")
    os.write(run.master, b"sleep 100\n")
    wait_for(lambda: any((processes.stat_of(p) or [0])[0] == "S" for c in processes.children_of(run.pid) for p in processes.children_of(c)))
    time.sleep(0.1)
    os.write(run.master, b"\x1a")
    if not run.says("Stopped", 5 if init != "catatonit" else 1):
        return "cannot stop its jobs"
    os.write(run.master, b"kill %1; exit 5\n")
    run.says("exit", 2)
    os.write(run.master, b"exit 5\n")
    status = run.wait(5)
    return "has job control" if "no job control" not in run.output() and status == "5" else \
        f"has none ({status}: {run.output()!r})"


@case("the terminal goes away", {"*": "the command gets HUP"})
def hangup(bench, init, options):
    run = bench.start(init, "--", "sh", "-c", f"exec {PRINTER} > {bench.folder}/heard", terminal=True)
    heard = bench.folder / "heard"
    assert wait_for(lambda: heard.exists() and "ready" in heard.read_text())
    os.close(run.master)
    run.master = os.open("/dev/null", os.O_RDWR)
    return "the command gets HUP" if wait_for(lambda: "got 1\n" in heard.read_text()) else "it hears nothing"


# --- what the command is given ---


def with_listener(bench, init, listen_pid, pid_1=False):
    read_end, write_end = os.pipe()

    # LISTEN_PID is the init's own pid, as a service manager has it: exec keeps the shell's
    text = "$$" if listen_pid == "init" else listen_pid
    program = bench.program(init)
    to_3 = "" if read_end == 3 else f"exec 3<&{read_end} {read_end}<&-; "
    run = inits.Started(["bash", "-c", f"{to_3}LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID={text} exec {program} -- sh -c "
                         "'echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES; read line <&3 && echo line $line'"],
                        bench.folder / "listen", pid_1=pid_1, pass_fds=[read_end])
    bench.started.append(run)
    os.write(write_end, b"hello\n")
    os.close(write_end)
    os.close(read_end)
    run.wait()
    words = run.output().split()
    assert words[-2:] == ["line", "hello"], (run.output(), run.errors())
    assert words[2:4] == ["1", "web"]
    return words


for mode in MODES:
    @case(f"`LISTEN_PID` names the init, {mode}", {"*": "rewritten to the command's", "tini": "left alone",
                                                  "dumb-init": "left alone", "as tini": "rewritten to the command's",
                                                  "as dumb-init": "rewritten to the command's"})
    def listen_pid(bench, init, options, mode=mode):
        words = with_listener(bench, init, "init", mode == "PID 1")
        return "rewritten to the command's" if words[0] == words[1] else "left alone"


@case("`LISTEN_PID` names somebody else", {"*": "left alone"})
def foreign_listen_pid(bench, init, options):
    return "left alone" if with_listener(bench, init, "4000000")[1] == "4000000" else "rewritten"


def hold_of_init(bench, init):
    read_end, write_end = os.pipe()
    run = bench.shell(init, "echo up; exec sleep 1000", pass_fds=[write_end]).must_say("up")
    os.close(write_end)
    child = processes.children_of(run.pid)[0]
    name = os.readlink(f"/proc/self/fd/{read_end}")

    def has(pid):
        return name in [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]

    inherited = has(child)
    held = has(run.pid) and not wait_for(lambda: not has(run.pid), NOT_COMING)
    os.close(read_end)
    return inherited, held


@case("inherited descriptors", {"*": "are the command's"})
def inherited_descriptors(bench, init, options):
    return "are the command's" if hold_of_init(bench, init)[0] else "are closed"


@case("inherited descriptors, in the init", {"*": "closed", "tini": "kept open", "dumb-init": "kept open",
                                             "as tini": "closed", "as dumb-init": "closed"})
def held_descriptors(bench, init, options):
    return "kept open" if hold_of_init(bench, init)[1] else "closed"


@case("folder of the command", {"*": "as it was"})
def folder_of_command(bench, init, options):
    run = bench.start(init, "--", "pwd")
    run.wait()
    return "as it was" if run.output() == f"{run.folder}\n" else run.output()


@case("folder of the init", {"*": "/", "tini": "as it was", "as tini": "/", "catatonit": "as it was", "as catatonit": "/"})
def folder_of_init(bench, init, options):
    run = bench.shell(init, "echo up; exec sleep 1000").must_say("up")
    moved = wait_for(lambda: os.readlink(f"/proc/{run.pid}/cwd") == "/", NOT_COMING if init in ("tini", "catatonit") else PATIENCE)
    return "/" if moved else "as it was"


@case("environment of the command", {"*": "as it was"})
def environment_of_command(bench, init, options):
    run = bench.start(init, "--", "env", "-0", env={"PID_1_ODD": "a=b\nc"})
    run.wait()
    wanted = inits.clean_env(PID_1_TEST=str(run.folder), PID_1_ODD="a=b\nc")
    got = dict(entry.split("=", 1) for entry in run.output().split("\0") if "=" in entry)
    return "as it was" if got == wanted else str(set(got.items()) ^ set(wanted.items()))


def signal_fields(run):
    return {k: int(v, 16) for k, v in re.findall(r"^(Sig\w+):\s*(\w+)$", run.output(), re.MULTILINE)}


def inherit_signals():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})


@case("signal mask that was inherited", {"*": "is the command's", "dumb-init": "is cleared",
                                         "as dumb-init": "is the command's"})
def inherited_mask(bench, init, options):
    run = bench.start(init, "--", "cat", "/proc/self/status", preexec=inherit_signals)
    run.wait()
    blocked = signal_fields(run)["SigBlk"]
    return "is the command's" if blocked & 1 << (signal.SIGUSR2 - 1) else "is cleared"


@case("signals that were ignored", {"*": "are ignored by the command", "dumb-init": "are not",
                                    "as dumb-init": "are ignored by the command"})
def inherited_ignored(bench, init, options):
    run = bench.start(init, "--", "cat", "/proc/self/status", preexec=inherit_signals)
    run.wait()
    return "are ignored by the command" if signal_fields(run)["SigIgn"] & 1 else "are not"


@case("signals that were neither blocked nor ignored", {"*": "are neither", "catatonit": "TSTP TTIN TTOU are blocked",
                                                       "as catatonit": "are neither"})
def clean_signals(bench, init, options):
    run = bench.start(init, "--", "cat", "/proc/self/status")
    run.wait()
    fields = signal_fields(run)
    if fields["SigIgn"] | fields["SigCgt"]:
        return str(fields)
    blocked = [name_of(s) for s in range(1, 32) if fields["SigBlk"] & 1 << (s - 1)]
    return f"{' '.join(blocked)} are blocked" if blocked else "are neither"


# --- its own life ---


@case("`-p TERM`: its parent ends", {"*": "the command gets TERM"}, ["snapinit", "tini"])
def parent_death(bench, init, options):
    program = bench.program(init)
    run = inits.Started(["sh", "-c", f"{program} -p SIGTERM -- {PRINTER} & exec sleep 1000"], bench.folder / "parent")
    bench.started.append(run)
    run.must_say("ready")
    os.kill(run.outer, signal.SIGKILL)
    return "the command gets TERM" if run.says("got 15\n") else "nothing happens"


@case("`-p KILL`: its parent ends", {"*": "the init dies"}, ["snapinit", "tini"])
def parent_death_kill(bench, init, options):
    program = bench.program(init)
    run = inits.Started(["sh", "-c", f"{program} -p SIGKILL -- {PRINTER} & exec sleep 1000"], bench.folder / "parent")
    bench.started.append(run)
    run.must_say("ready")
    own = processes.children_of(run.outer)[0]
    os.kill(run.outer, signal.SIGKILL)
    return "the init dies" if wait_for(lambda: not processes.is_alive(own)) else "it lives on"


@case("`-p NONSENSE`", {"*": "1", "snapinit": "125"}, ["snapinit", "tini"])
def parent_death_nonsense(bench, init, options):
    return bench.start(init, "-p", "NONSENSE", "--", "true").wait()


def is_calm(pid):
    """What its start has to do is done; one that wakes every second is calm in between."""
    before = inits.switches_of(pid)
    time.sleep(0.3)
    return inits.switches_of(pid) == before


@case("idle for 2.5 s", {"*": "sleeps", "tini": "wakes every second", "as tini": "sleeps"})
def idle(bench, init, options):
    run = bench.shell(init, "echo up; exec sleep 1000").must_say("up")
    assert wait_for(lambda: is_calm(run.pid))
    before = inits.switches_of(run.pid)
    time.sleep(2.5)
    return "sleeps" if inits.switches_of(run.pid) - before <= 1 else "wakes every second"


@case("says without being asked, PID 1", {"*": "nothing"})
def silence(bench, init, options):
    run = bench.shell(init, "echo out; echo err >&2", pid_1=True)
    run.wait()
    return "nothing" if (run.output(), run.errors()) == ("out\n", "err\n") else run.output() + run.errors()


@case("`-v`", {"*": "says more on standard error", "tini": "says more on standard output",
               "as tini": "says more on standard error"}, ["snapinit", "tini", "dumb-init"], {"*": ["-v"]})
def verbosity(bench, init, options):
    run = bench.shell(init, "true", options, pid_1=True)
    run.wait()
    return "says more on standard " + ("error" if run.errors() else "output" if run.output() else "nothing")


for variable, value, claims in [("TINI_VERBOSITY", "3", ["snapinit", "tini"]),
                                ("DUMB_INIT_DEBUG", "1", ["snapinit", "dumb-init"]),
                                ("CATATONIT_DEBUG", "", ["snapinit", "catatonit"])]:
    @case(f"`{variable}={value}`", {"*": "says more"}, claims)
    def verbosity_by_environment(bench, init, options, variable=variable, value=value):
        run = bench.shell(init, "true", pid_1=True, env={variable: value})
        run.wait()
        return "says more" if run.errors() + run.output() else "says nothing"


@case("`--version`", {"*": "tini version … on standard output", "snapinit": "snapinit … on standard output",
                      "dumb-init": "dumb-init v… on standard error"})
def version(bench, init, options):
    run = bench.start(init, "--version")
    assert run.wait() == "0"
    where = "output" if run.output() else "error"
    text = (run.output() or run.errors()).splitlines()[0]
    return re.sub(r"[0-9].*", "…", text).strip() + f" on standard {where}"


@case("`-V`", {"*": "as --version"}, ["snapinit", "dumb-init", "catatonit"])
def version_letter(bench, init, options):
    texts = []
    for word in ("-V", "--version"):
        run = bench.start(init, word)
        assert run.wait() == "0"
        texts.append((run.output(), run.errors()))
    return "as --version" if texts[0] == texts[1] else str(texts)


@case("`-h`", {"*": "help on standard output, 0", "dumb-init": "help on standard error, 0",
               "catatonit": "help on standard error, 0", "as dumb-init": "help on standard output, 0",
               "as catatonit": "help on standard output, 0"})
def help_letter(bench, init, options):
    run = bench.start(init, "-h")
    status = run.wait()
    return f"help on standard {'output' if 'sage' in run.output() else 'error' if 'sage' in run.errors() else 'nothing'}, {status}"


for letter, claims in (("-l", ["snapinit", "tini"]), ("-L", ["snapinit", "catatonit"])):
    @case(f"`{letter}`", {"*": "a licence, 0"}, claims)
    def licence(bench, init, options, letter=letter):
        run = bench.start(init, letter)
        status = run.wait()
        return f"a licence, {status}" if re.search("[Ll]icen[cs]e|Permission", run.output()) else run.output()


def minds(pid, sig):
    """It has blocked that signal, or has a handler for it: its start is over."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    # it blocks signals, too, until it executes the init
    if lines[0].split()[1] == "unshare":
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk:", "SigCgt:"))]
    return any(mask >> (sig - 1) & 1 for mask in masks)


for sig in (signal.SIGTERM, signal.SIGINT):
    @case(f"`-P`: {sig.name[3:]}", {"*": "exit 0"}, ["snapinit", "catatonit"], {"*": ["-P"]})
    def pause_ends(bench, init, options, sig=sig):
        run = bench.start(init, *options, pid_1=True)
        assert wait_for(lambda: minds(run.pid, sig))
        assert run.poll() is None
        run.kill(sig)
        return f"exit {run.wait()}"


@case("`-P`: HUP, USR1", {"*": "nothing"}, ["snapinit", "catatonit"], {"*": ["-P"]})
def pause_goes_on(bench, init, options):
    run = bench.start(init, *options)
    assert wait_for(lambda: minds(run.pid, signal.SIGHUP) and minds(run.pid, signal.SIGUSR1))
    run.kill(signal.SIGHUP)
    run.kill(signal.SIGUSR1)
    return "nothing" if run.wait(NOT_COMING) == "runs on" else "ends"


@case("`-P`: orphans", {"*": "reaped"}, ["snapinit", "catatonit"], {"*": ["-P"]})
def pause_reaps(bench, init, options):
    run = bench.start(init, *options, pid_1=True)
    assert wait_for(lambda: processes.children_of(run.outer) and processes.stat_of(run.pid)[0] == "S")
    enter = ["nsenter", "--target", str(run.pid), "--pid", "--mount"]
    subprocess.run([*enter, "sh", "-c", "(sleep 1 &)"], check=True)
    adopted = wait_for(lambda: processes.children_of(run.pid), 1)
    return "reaped" if adopted and wait_for(lambda: not processes.children_of(run.pid)) else "not reaped"


@case("inside itself", {"*": "works"})
def nested(bench, init, options):
    program = bench.program(init)
    run = bench.start(init, "--", program, "--", program, "--", "sh", "-c", "echo up; exit 12", pid_1=True)
    return "works" if run.wait() == "12" and "up" in run.output() else run.output() + run.errors()


@case("`--` and options of the command", {"*": "are the command's"})
def words_of_command(bench, init, options):
    run = bench.start(init, "--", "printf", "%s,", "-v", "--help", "--", "-x")
    run.wait()
    return "are the command's" if run.output() == "-v,--help,--,-x," else run.output()


@case("command without `--` before it, with options", {"*": "runs", "tini": "refused, 1", "catatonit": "refused, 1",
                                                       "as tini": "runs", "as catatonit": "runs"})
def without_dashes(bench, init, options):
    run = bench.start(init, "sh", "-c", "exit 7")
    status = run.wait()
    return "runs" if status == "7" else f"refused, {status}"


@case("`-- echo -- x`", {"*": "-- x"})
def dashes_twice(bench, init, options):
    run = bench.start(init, "--", "echo", "--", "x")
    run.wait()
    return run.output().strip()


@case("`echo -- x`, without `--` before it", {"*": "-- x", "tini": "x", "catatonit": "x"})
def dashes_after_command(bench, init, options):
    run = bench.start(init, "echo", "--", "x", env={"TINI_VERBOSITY": "0"})
    run.wait()
    return run.output().strip()


@case("`echo a -- x`, without `--` before it", {"*": "a -- x", "tini": "a x", "catatonit": "a x", "as tini": "a -- x",
                                                "as catatonit": "a -- x"})
def dashes_later(bench, init, options):
    run = bench.start(init, "echo", "a", "--", "x", env={"TINI_VERBOSITY": "0"})
    run.wait()
    return run.output().strip()


@case("closed standard input and output", {"*": "stay closed", "tini": "refused, 1", "as tini": "stay closed"})
def closed_stdio(bench, init, options):
    result = bench.folder / "fds"
    status = subprocess.run(["sh", "-c", f"exec {bench.program(init)} -- sh -c '[ -e /proc/self/fd/1 ] || echo closed >{result}' "
                             "<&- >&-"], env=inits.clean_env(), check=False, start_new_session=True,
                            stderr=subprocess.DEVNULL).returncode
    return "stay closed" if result.exists() else f"refused, {status}"


ROWS = [(index, init) for index, (_, _, claims, _, _) in enumerate(CASES) for init in claimed(claims)]


@pytest.mark.parametrize("index, init", ROWS, ids=[f"{CASES[i][4].__name__}-{i}-{init}" for i, init in ROWS])
def test_case(bench, index, init):
    _, expect, _, options, fn = CASES[index]
    if not can_be_pid_1():
        pytest.skip("SKIP: no pid namespace can be made here")
    assert fn(bench, init, options.get(dialect_of(init), options.get("*", []))) == expected(expect, init)


# --- the document -------------------------------------------------------------------------------


def cell(text):
    return text.replace("|", "\\|")


def row_of(title, outcome, claims):
    """One line of the table, or None where all agree."""
    columns = [outcome(init) if init in claims else "–" for init in ["snapinit", *THEIRS]]
    odd = [f"{name}: {outcome('as ' + name)}" for name in THEIRS if name in claims and outcome(f"as {name}") != outcome(name)]
    told = {c for c in columns if c != "–"}
    if len(told) == 1 and not odd:
        return None
    return "| " + " | ".join(cell(c) for c in [title, *columns, "; ".join(odd) or "as theirs"]) + " |"


def make_table():
    lines = ["| | snapinit | tini | dumb-init | catatonit | snapinit under their names |", "| --- | --- | --- | --- | --- | --- |"]
    everybody = ["snapinit", *THEIRS]
    for mode in MODES:
        lines.append(row_of(f"signals passed on, {mode}", lambda init, m=mode: lost_signals(init, m), everybody))
    for title, expect, claims, _, _ in CASES:
        lines.append(row_of(title, lambda init, e=expect: expected(e, init), claims))
    return "\n".join(line for line in lines if line) + "\n"


def make_agreement():
    """Cases in which all that claim them do the same."""
    lines = []
    for title, expect, claims, _, _ in CASES:
        if row_of(title, lambda init, e=expect: expected(e, init), claims) is None:
            who = "" if len(claims) == 4 else f" ({', '.join(claims)})"
            lines.append(f"- {title}: {expected(expect, claims[0])}{who}")
    return "\n".join(lines) + "\n"


def section(name):
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name}: made by a test -->\n")[2].partition(f"<!-- {name}: end -->")[0]


def test_there_are_as_many_cases_as_promised():
    assert len(CASES) + len(SIGNALS) * len(MODES) >= 80
    assert len(CASES) >= 80


def test_differences_in_the_document_are_those_that_were_found():
    assert section("differences") == make_table()


def test_agreements_in_the_document_are_those_that_were_found():
    assert section("agreements") == make_agreement()


def test_picture_in_the_document_is_the_supervisors():
    program = inits.BUILD / "tests" / "unit" / "init" / "test_supervisor"
    picture = subprocess.run([program, "--print"], capture_output=True, text=True, check=True).stdout
    assert section("states") == picture


def update_document():
    """Write what is made into docs/init.md."""
    program = inits.BUILD / "tests" / "unit" / "init" / "test_supervisor"
    picture = subprocess.run([program, "--print"], capture_output=True, text=True, check=True).stdout
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, content in (("differences", make_table()), ("agreements", make_agreement()), ("states", picture)):
        begin, end = f"<!-- {name}: made by a test -->\n", f"<!-- {name}: end -->"
        head, _, rest = text.partition(begin)
        text = head + begin + content + end + rest.partition(end)[2]
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["update"]:
        update_document()
    else:
        print(make_table())
        print(make_agreement())
