# SPDX-License-Identifier: Apache-2.0
"""What was measured, for people (a table a case) and for programs (one JSON object a line)."""

import datetime
import json
import os
import platform

from failure import read_text


def speed(amount, ms):
    """GB/s"""
    return amount / ms / 1e6 if ms else 0.0


def ratio(a, b):
    return round(a / b, 3) if a and b else None


class Row:
    """A series with what it is compared to: the others of its case in the same page cache."""

    def __init__(self, series, all_series, case):
        self.case = case
        self.series = series
        self.others = {other.rival.name: other for other in all_series
                       if other.cache == series.cache and other.attempts and not other.error}
        self.first = series.median("first_ms")
        self.touched = series.median("touched_ms")

    def first_of(self, name):
        return self.others[name].median("first_ms") if name in self.others else None

    def as_dict(self):
        series = self.series
        amount = series.rival.bytes
        return {
            "case": self.case, "rival": series.rival.name, "cache": series.cache,
            "rounds": len(series.attempts),
            "first_ms_median": round(self.first, 3),
            "first_ms_p95": round(series.p95("first_ms"), 3),
            "touched_ms_median": round(self.touched, 3),
            "bytes": amount, "gb_per_s": round(speed(amount, self.touched), 3),
            "phases": {name: round(value, 3) for name, value in series.phases().items()},
            "kernel_cache": series.kernel_cache(),
            "ratio_vs_criu": ratio(self.first_of("criu"), self.first),
            "ratio_vs_cold": ratio(self.first_of("cold"), self.first),
            "ratio_vs_floor": ratio(self.first, self.first_of("floor")),
            "options": series.rival.options,
        }


def rows_of(measurement):
    return [Row(series, measurement.series, measurement.case.name).as_dict()
            for series in measurement.series if series.attempts and not series.error]


HEADS = ("rival", "cache", "first ms", "p95", "touched ms", "criu/this", "cold/this", "this/floor",
         "MiB", "GB/s", "kernel cache", "phases ms")


def number(value):
    return "-" if value is None else f"{value:.2f}"


def cells(row):
    amount = row["bytes"]
    return [row["rival"], row["cache"], f"{row['first_ms_median']:.1f}",
            f"{row['first_ms_p95']:.1f}", f"{row['touched_ms_median']:.1f}",
            number(row["ratio_vs_criu"]), number(row["ratio_vs_cold"]),
            number(row["ratio_vs_floor"]), f"{amount / 2**20:.1f}" if amount else "-",
            number(row["gb_per_s"]) if amount else "-", row["kernel_cache"],
            " ".join(f"{name} {value:.0f}" for name, value in row["phases"].items()
                     if value >= 0.5) or "-"]


def print_lines(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    print(flush=True)


def print_table(rows):
    if rows:
        print(f"{rows[0]['case']}, {rows[0]['rounds']} rounds")
        print_lines([HEADS, *(cells(row) for row in rows)])


def print_options(rows):
    """How each rival was started, once."""
    for name, options in {row["rival"]: row["options"] for row in rows}.items():
        print(f"{name}: {options}")


def print_json(rows):
    for row in rows:
        print(json.dumps(row), flush=True)


CAPTURE_HEADS = ("case", "how", "rounds", "frozen ms", "client's silence ms", "whole ms", "MiB",
                 "phases ms")


def capture_cells(row):
    return [row["case"], row["how"], str(row["rounds"]), f"{row['frozen_ms']:.0f}",
            number(row["silence_ms"]), f"{row['whole_ms']:.0f}", f"{row['bytes'] / 2**20:.1f}",
            " ".join(f"{name} {value:.0f}" for name, value in row["phases"].items()
                     if value >= 0.5) or "-"]


def print_capture_table(rows):
    if rows:
        print_lines([CAPTURE_HEADS, *(capture_cells(row) for row in rows)])


def machine_line(rounds):
    model = "unknown CPU"
    for line in read_text("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    huge = read_text("/sys/kernel/mm/transparent_hugepage/enabled")
    huge = huge.partition("[")[2].partition("]")[0] or "none"
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (f"{now}; {os.cpu_count()} x {model}; Linux {platform.release()}; huge pages {huge}; "
            f"median of {rounds}, in turns; first: exec to first valid answer, touched: exec to all "
            f"memory read; evicted: no page of the files is in the guest's page cache (mincore), "
            f"the host's may hold them")
