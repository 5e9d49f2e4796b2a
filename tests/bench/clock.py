# SPDX-License-Identifier: Apache-2.0
"""
The two clocks of a start, both from the exec of its first program: to the first valid answer, and
to all of the memory touched. All times are CLOCK_MONOTONIC, in nanoseconds.
"""

import socket
import threading
import time
from dataclasses import dataclass

from lib import namespaces

from cases import PORT
from failure import BenchError

POLL_S = 0.0005
ANSWER_LIMIT_S = 180


@dataclass(frozen=True)
class Times:
    first_ns: int
    touched_ns: int
    answer: str


def body_of(received):
    """The body of a whole answer with status 200, else None."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end or head.split(b" ")[1:2] != [b"200"]:
        return None
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return body if len(body) == int(line.split(b":")[1]) else None
    return body


def ask(request, limit_s=ANSWER_LIMIT_S):
    """(body, when its last byte came); body is None while nobody answers well."""
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=limit_s) as connection:
            connection.sendall(request)
            while piece := connection.recv(65536):
                received += piece
    except OSError:
        return None, 0
    return body_of(received), time.monotonic_ns()


def first_answer(request, check):
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while True:
        body, at_ns = ask(request)
        if body is not None:
            return body, at_ns
        check()
        if time.monotonic() > deadline:
            raise BenchError(f"no answer within {ANSWER_LIMIT_S} s")
        time.sleep(POLL_S)


def measure(pid, case, check):
    """Times of the start whose PID 1 is pid; check() raises when there will be no answer."""
    def run():
        body, first_ns = first_answer(case.answer, check)
        answer, touched_ns = case.stable(body), first_ns
        if case.touch:
            body, touched_ns = ask(case.touch)
            if body is None:
                raise BenchError("the first request was answered, the one that touches was not")
            answer += " " + case.stable(body)
        return Times(first_ns, touched_ns, answer)

    try:
        return namespaces.in_network_of(pid, run)
    except OSError as error:
        raise BenchError(f"the start is gone: {error}") from error


class Silence:
    """A client that asks without a break: the longest time that it went without an answer."""

    def __init__(self, pid, request):
        self.times = []
        self.wanted = True
        self.thread = threading.Thread(
            target=lambda: namespaces.in_network_of(pid, lambda: self.run(request)))
        self.thread.start()

    def run(self, request):
        while self.wanted:
            body, at_ns = ask(request, 30)
            if body is not None:
                self.times.append(at_ns)
            time.sleep(POLL_S)

    def end(self):
        """Milliseconds; None where fewer than two answers came."""
        self.wanted = False
        self.thread.join()
        gaps = [b - a for a, b in zip(self.times, self.times[1:])]
        return max(gaps) / 1e6 if gaps else None
