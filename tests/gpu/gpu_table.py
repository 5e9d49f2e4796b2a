#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gpu_table.py RESULTS: the figures of a run of tests/gpu/run.sh as text; how every step ended."""

import json
import sys


def load(path):
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                print(f"no JSON: {line.strip()[:100]}", file=sys.stderr)


def show(title, head, lines):
    if not lines:
        return
    cells = [head] + [["-" if value is None else str(value) for value in line] for line in lines]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    print(f"\n{title}")
    for line in cells:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths)).rstrip())


def rounded(value, digits=1):
    return value if value is None else round(value, digits)


def mib(value):
    return None if value is None else round(value / (1 << 20))


def line_through(points):
    """(ms at size 0, GB/s) of the best line through (bytes, ms); None for fewer than two"""
    n = len(points)
    if n < 2:
        return None
    x, y = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    across = sum((p[0] - x) ** 2 for p in points)
    slope = sum((p[0] - x) * (p[1] - y) for p in points) / across if across else 0
    return (y - slope * x, 1 / slope / 1e6) if slope > 0 else None


def show_calls(rows, step, title):
    names = ("lock_ms", "checkpoint_ms", "restore_ms", "unlock_ms")
    lines = []
    for row in (each for each in rows if each["step"] == step and "sums_equal" in each):
        codes = [f"{key[:-5]} {row[key]}" for key in row if key.endswith("_code")]
        lines.append([row["what"], row["mib"], *(rounded(row.get(name)) for name in names),
                      rounded(row.get("checkpoint_gb_s"), 2), rounded(row.get("restore_gb_s"), 2),
                      round(row["staging_kib"] / 1024), "yes" if row["sums_equal"] else "NO",
                      ", ".join(codes) or "0"])
    show(title, ["memory", "MiB", "lock", "checkpoint", "restore", "unlock", "GB/s out", "GB/s in",
                 "staging MiB", "sums", "codes"], lines)


def show_fit(rows):
    for name in ("checkpoint", "restore"):
        points = [(row["mib"] << 20, row[f"{name}_ms"]) for row in rows
                  if row["step"] == "cost" and row.get(f"{name}_ms") is not None]
        fit = line_through(points)
        if fit:
            print(f"  {name}: {fit[0]:.0f} ms and {fit[1]:.2f} GB/s")


def show_snapshots(rows):
    lines = [[row["engine"], row["pages"], mib(row["bytes"]), mib(row["staging_bytes"]),
              row["cold_boot_ms"], row["capture_ms"], row["frozen_ms"], row["driver_ms"], row["ours_ms"]]
             for row in rows if row.get("what") == "create" and "bytes" in row]
    show("captures, ms; driver: its checkpoint, ours: the rest of frozen",
         ["engine", "pages", "MiB", "device MiB", "boot", "capture", "frozen", "driver", "ours"], lines)
    lines = [[row["engine"], row["pages"], row["cache"], row["number"], row["took_ms"],
              row["phases"].get("dur_ms"), row["driver_ms"], row["ours_ms"],
              row["phases"].get("criu_ms"), row["fill_ms"], row["fill_gb_s"],
              "same" if row["answer_is_same"] else "OTHER"]
             for row in rows if row.get("what") == "wake" and "took_ms" in row]
    show("wakes, ms; total: to the answer, driver: its restore and unlock, ours: the rest of the wake",
         ["engine", "pages", "cache", "n", "total", "wake", "driver", "ours", "CRIU", "fill",
          "fill GB/s", "answer"], lines)


def show_decided(rows):
    for row in rows:
        if row["step"] == "anatomy" and row["what"] == "staging":
            where = "in order" if row["is_in_order"] else f"in {row['pieces']} pieces"
            print(f"  staging of {row['mib']} MiB: {row['ranges']} ranges, " +
                  (f"plain, {where}" if row["is_plain"] else "NOT plain words"))
        if row.get("what") == "dump-without-checkpoint" and "refused" in row:
            print(f"  dump without checkpoint: {'refused' if row['refused'] else 'NOT REFUSED'}: "
                  f"{row['error'][:150]}")


def main():
    rows = list(load(sys.argv[1]))
    show_calls(rows, "cost", "driver by size, ms")
    show_fit(rows)
    show_calls(rows, "variants", "driver by kind of memory, ms")
    show_snapshots(rows)
    print("\ndecided")
    show_decided(rows)
    show("steps", ["step", "result", "s"],
         [[row["name"], row["result"], row["seconds"]] for row in rows if row["step"] == "run"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
