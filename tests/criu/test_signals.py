# SPDX-License-Identifier: Apache-2.0
"""
What PID 1 does with signals, left-over processes and inherited sockets while a real CRIU captures and
wakes. The cases without one are in tests/system/test_init_table.py.
"""

import os
import signal
import socket

import pytest

from lib import engines
from lib.starts import status_field, wait_until

SENT = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, 37, 64)
GRACE = ("--grace", "10m")


@pytest.fixture(scope="module")
def good(module_bench):
    engine = engines.signal_service(module_bench.programs)
    store, answer = module_bench.captured(engine)
    return engine, store, answer


def heard(start):
    """CONT left out: the one with which a stopped tree goes on after a capture and at a wake."""
    got = [int(line.split()[1]) for line in start.stdout.splitlines() if line.startswith("got ")]
    return [sig for sig in got if sig != signal.SIGCONT]


def wait_heard(start, *signals):
    wait_until(lambda: f"{signals} in {heard(start)}\n{start.tail()}",
               lambda: sorted(set(heard(start)) & set(signals)) == sorted(signals), 20)


def wait_state(start, state):
    wait_until(lambda: f"no {state}:\n{start.tail()}",
               lambda: any(record.get("to") == state for record in start.records("state.entered")), 30)


def wait_waking(start):
    """It is the first state of all, which no record tells; a worker is only there with signals taken over."""
    wait_until(lambda: f"no worker:\n{start.tail()}", lambda: start.tools("snapworker") or start.records("wake.done"), 30)


@pytest.mark.parametrize("when", ["capturing", "frozen", "thawed"])
def test_signals_during_a_capture_arrive_once_each(bench, when):
    """Held or passed on: none is lost, none comes twice, and the capture succeeds."""
    engine = engines.signal_service(bench.programs)
    with bench.start(bench.workplace.store(), engine, capture="first-boot",
                     extra=("--log-level", "debug", "-r", "WINCH:TTIN", "-r", "HUP:0")) as start:
        if when == "capturing":
            start.wait_http(engine.port, "/health")
        else:
            wait_state(start, when)
        for sig in SENT:
            start.signal(sig)
        wait_heard(start, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, 37, 64)
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
        assert engine.ask(start) == b"PASS"
        assert sorted(heard(start)) == sorted([10, 12, 21, 37, 64])


def test_signals_during_a_wake_arrive_once_each(bench, good):
    engine, store, answer = good
    with bench.start(store, engine, extra=("--log-level", "debug")) as start:
        wait_waking(start)
        for sig in SENT:
            start.signal(sig)
        record = start.wait_record("wake.done", "wake.failed", "boot.cold")
        assert record["event"] == "wake.done", start.tail()
        wait_heard(start, *SENT)
        assert engine.ask(start) == answer
        assert sorted(heard(start)) == sorted(int(sig) for sig in SENT)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_stop_signal_during_a_wake_ends_it(bench, good, sig):
    """QUIT is one only because it is named; nothing is booted, and nothing is left."""
    engine, store, _ = good
    with bench.start(store, engine, extra=("--log-level", "debug", "--stop-signal", "QUIT")) as start:
        wait_waking(start)
        start.signal(sig)
        # had the wake been quicker, the engine would have heard it
        if not wait_until("end", lambda: start.process.poll() is not None or sig in heard(start), 20):
            return
        if sig not in heard(start):
            assert start.wait_exit() == 128 + sig
            assert not start.records("boot.cold"), start.tail()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_wish_to_end_kills_a_woken_engine(bench, good, second):
    engine, store, answer = good
    with bench.start(store, engine, extra=GRACE) as start:
        start.wait_record("wake.done")
        assert engine.ask(start) == answer
        start.signal(signal.SIGTERM)
        wait_heard(start, signal.SIGTERM)
        start.signal(second)
        assert start.wait_exit() == 137
        assert start.records("grace.over")
        assert not start.records("boot.cold"), start.tail()


def test_second_wish_to_end_does_not_wait_for_a_dump_that_hangs(bench):
    """The store is as after a KILL from outside: no snapshot, and a lease until it runs out."""
    if not bench.programs.has_faults():
        pytest.skip("this build has no fault points")
    engine = engines.signal_service(bench.programs)
    store = bench.workplace.store()
    with bench.start(store, engine, capture="first-boot", env={"SNAPINIT_FAULT": "capture.freeze=hang"},
                     extra=("--log-level", "debug", *GRACE)) as start:
        wait_state(start, "frozen")
        start.signal(signal.SIGTERM)
        start.signal(signal.SIGUSR1)
        wait_until("the first TERM", lambda: not int(status_field(start.pid, "ShdPnd") or "0", 16), 20)
        start.signal(signal.SIGTERM)
        assert start.wait_exit() == 137
        assert len(start.records("capture.failed")) == 1, start.tail()
        assert heard(start) == []
    assert not os.path.lexists(os.path.join(store, "current"))
    os.unlink(os.path.join(store, "lease"))
    with bench.start(store, engine, capture="first-boot") as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
    assert sorted(name for name in os.listdir(store) if name.startswith("gen-")) == [done["snapshot"]]


def test_what_a_woken_engine_leaves_has_its_grace(bench, good):
    engine, store, answer = good
    with bench.start(store, engine, extra=("--grace", "500ms", "-e", "137")) as start:
        start.wait_record("wake.done")
        assert engine.ask(start) == answer
        start.wait_http(engine.port, "/left")
        os.kill(start.engine_roots()[0][0], signal.SIGKILL)
        # 137 is made 0, and the stubborn process does not hold the end for longer than the grace
        assert start.wait_exit() == 0
        assert "left-over" in start.records("grace.over")[0]["msg"]


def test_woken_engine_in_the_place_of_dumb_init(bench, good):
    """By another name and the environment alone: signals are rewritten, the engine is woken."""
    engine, store, answer = good
    link = os.path.join(bench.workplace.folder("names"), "dumb-init")
    os.symlink(bench.programs.snapinit, link)
    args = [link, "-r", "15:3", "--", *engine.argv]
    env = {"SNAPINIT_SNAPSHOT": store, "SNAPINIT_WORKER": bench.programs.snapworker,
           "SNAPINIT_CRIU": bench.programs.criu, "SNAPINIT_LOG_FORMAT": "json", "SNAPINIT_READY": engine.ready,
           "SNAPINIT_ORACLE": engine.oracle}
    with bench.start_with(args, engine, env=env) as start:
        record = start.wait_record("wake.done", "wake.failed", "wake.refused", "boot.cold")
        assert record["event"] == "wake.done", start.tail()
        assert engine.ask(start) == answer
        start.signal(signal.SIGTERM)
        wait_heard(start, signal.SIGQUIT)
        assert signal.SIGTERM not in heard(start)


# --- sockets of a service manager ---------------------------------------------------------------


def listening(bench, store, engine, **options):
    """A start that inherits a listener at 3, as from a service manager: snapinit is PID 1."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def give():
        os.dup2(listener.fileno(), 3, inheritable=True)

    env = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "web"}
    start = bench.start(store, engine, env=env, prepare=give, **options)
    listener.close()
    return start


def test_inherited_sockets_are_told_and_not_given_to_the_engine(bench):
    engine = engines.signal_service(bench.programs)
    store = bench.workplace.store()
    with listening(bench, store, engine, capture="first-boot") as start:
        done = start.wait_record("capture.done", "capture.failed", seconds=60)
        assert done["event"] == "capture.done", start.tail()
        assert len(start.records("listen.dropped")) == 1
        assert start.wait_http(engine.port, "/listen") == b""
        # none of them stays with snapinit: one is its own, the control socket
        kinds = [os.readlink(f"/proc/{start.pid}/fd/{fd}")[:7]
                 for fd in os.listdir(f"/proc/{start.pid}/fd")]
        assert kinds.count("socket:") == 1
    # the listener that the engine opened is in the snapshot, and the variables do not refuse it
    for give in (listening, lambda bench, store, engine: bench.start(store, engine)):
        with give(bench, store, engine) as start:
            record = start.wait_record("wake.done", "wake.refused", "wake.failed", "boot.cold")
            assert record["event"] == "wake.done", start.tail()
            assert engine.ask(start) == b"PASS"
            assert start.wait_http(engine.port, "/listen") == b""
            assert status_field(start.engine_roots()[0][0], "NSpid").split()[-1] == "1000"


def test_address_of_a_listener_that_somebody_has_refuses_the_wake(bench, good):
    engine, store, _ = good
    with bench.start(store, engine, own_net=False, extra=("--fallback", "none")) as first:
        first.wait_record("wake.done", "wake.failed", "wake.refused")
        with bench.start(store, engine, own_net=False, extra=("--fallback", "none")) as second:
            record = second.wait_record("wake.done", "wake.failed", "wake.refused")
            assert record["event"] == "wake.refused", second.tail()
            assert str(engine.port) in record["msg"]
