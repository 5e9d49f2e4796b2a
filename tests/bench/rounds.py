# SPDX-License-Identifier: Apache-2.0
"""All starts of one case: rivals in turns, so that whatever the machine does beside hits them all."""

import shutil
import statistics

import memory
from failure import BenchError, say, say_error
from rivals import Cold, Floor

CACHES = ("warm", "evicted")


def percentile(values, share):
    """The smallest value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


class Series:
    """The starts of one rival in one state of the page cache."""

    def __init__(self, rival, cache):
        self.rival = rival
        self.cache = cache
        self.attempts = []
        self.error = None

    def median(self, what):
        return statistics.median(getattr(attempt, what) for attempt in self.attempts)

    def p95(self, what):
        return percentile([getattr(attempt, what) for attempt in self.attempts], 95)

    def phases(self):
        """{name: median}, in the order of the first start."""
        return {name: statistics.median(attempt.phases.get(name, 0) for attempt in self.attempts)
                for name in (self.attempts[0].phases if self.attempts else {})}

    def kernel_cache(self):
        return "/".join(sorted({attempt.kernel_cache for attempt in self.attempts})) or "-"


class Measurement:
    """One case."""

    def __init__(self, context, rivals, caches, rounds):
        self.context = context
        self.case = context.case
        self.rivals = rivals
        self.rounds = rounds
        self.series = [Series(rival, cache) for cache in caches for rival in rivals]
        self.answer = None

    def fail(self, rival, error):
        say_error(BenchError(f"{self.case.name}: {rival.name}: {error}", error.log))
        for series in self.series:
            if series.rival is rival and series.error is None:
                series.error = str(error)

    def prepare(self):
        """What each starts from, and the answer that all must give."""
        say(f"{self.case.name}: making the snapshots")
        self.answer = Cold(self.context).start("warm").answer
        for rival in self.rivals:
            try:
                rival.prepare()
            except BenchError as error:
                self.fail(rival, error)
        sizes = [series.rival.bytes for series in self.series
                 if series.error is None and not isinstance(series.rival, (Cold, Floor))]
        for rival in self.rivals:
            if isinstance(rival, Floor):
                rival.set_bytes(min(sizes) if sizes else self.case.memory)

    def start(self, series):
        """One start; a failure is told at once and ends the series."""
        rival = series.rival
        try:
            (memory.warm if series.cache == "warm" else memory.evict)(rival.files())
            memory.settle(self.case.memory)
            attempt = rival.start(series.cache)
            if attempt.answer not in (None, self.answer):
                raise BenchError(f"answered {attempt.answer!r}, before it was {self.answer!r}")
            series.attempts.append(attempt)
        except BenchError as error:
            series.error = str(error)
            say_error(BenchError(f"{self.case.name}: {rival.name}, page cache {series.cache}: "
                                 f"{error}", error.log))

    def run(self):
        self.prepare()
        for number in range(self.rounds):
            turn = number % len(self.series)
            for series in self.series[turn:] + self.series[:turn]:
                if series.error is None:
                    self.start(series)
            last = [f"{series.rival.name}/{series.cache} {series.attempts[-1].first_ms:.0f} ms"
                    for series in self.series if series.attempts and series.error is None]
            say(f"{self.case.name}: round {number + 1} of {self.rounds}: {', '.join(last)}")

    def close(self):
        shutil.rmtree(self.context.folder, ignore_errors=True)
