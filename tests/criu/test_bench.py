# SPDX-License-Identifier: Apache-2.0
"""The benchmark of wakes runs, and its lines hold what others read from them. No time limits."""

import json
import os
import subprocess
import sys
import tempfile
import types

import pytest

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench"))

import criu_tool  # noqa: E402 (the path comes first)
import rivals  # noqa: E402
import rounds  # noqa: E402

KEYS = {"case", "rival", "cache", "rounds", "first_ms_median", "first_ms_p95", "touched_ms_median",
        "bytes", "phases", "ratio_vs_criu", "ratio_vs_cold", "ratio_vs_floor"}
CAPTURE_KEYS = {"case", "how", "rounds", "frozen_ms", "silence_ms", "whole_ms", "bytes", "phases"}
RIVALS = {"cold", "criu", "criu-lazy", "snapinit", "floor"}


def run(programs, *arguments):
    argv = ["/usr/bin/python3", "-B", os.path.join(programs.source, "tests/bench/wake.py"),
            "--build", programs.build, "--prefix", programs.prefix, "--case", "heap-tiny",
            "--rounds", "1", "--json", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)


def bench(programs, *arguments):
    """(JSON lines, stderr) of a run that must end well."""
    done = run(programs, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(autouse=True)
def only_root(place):
    if os.geteuid() != 0:
        pytest.skip("the benchmark needs root")


def test_wakes_are_measured_against_every_rival(programs, tmp_path):
    svg = tmp_path / "phases.svg"
    rows, _ = bench(programs, "--svg", str(svg))
    places = [(row["rival"], row["cache"]) for row in rows]
    assert len(set(places)) == len(places)
    assert {(rival, cache) for rival in RIVALS for cache in ("warm", "evicted")} <= set(places)
    for row in rows:
        assert KEYS <= row.keys()
        assert row["case"] == "heap-tiny" and row["rounds"] == 1
        assert 0 < row["first_ms_median"] <= row["touched_ms_median"], row
        assert row["first_ms_p95"] == row["first_ms_median"], row
        assert all(row[f"ratio_vs_{rival}"] > 0 for rival in ("criu", "cold", "floor")), row
        if row["rival"] != "cold":
            assert row["bytes"] > 0 and row["phases"], row
    assert svg.read_text(encoding="utf-8").count("ms</title>") >= len(rows)


def test_what_is_not_asked_for_is_not_measured(programs):
    rows, stderr = bench(programs, "--rival", "cold", "--rival", "floor", "--cache", "warm")
    assert [(row["rival"], row["cache"]) for row in rows] == [("cold", "warm"), ("floor", "warm")]
    assert rows[0]["ratio_vs_criu"] is None and rows[0]["ratio_vs_cold"] == 1
    assert "left out" not in stderr


def test_captures_are_measured(programs):
    rows, _ = bench(programs, "--capture")
    assert [row["how"] for row in rows][:2] == ["criu dump", "snapinit"]
    for row in rows:
        assert CAPTURE_KEYS <= row.keys()
        assert row["frozen_ms"] > 0 and row["whole_ms"] > 0 and row["bytes"] > 0, row


@pytest.fixture
def broken(programs):
    """A build whose worker is none. In the build folder: starts have a /tmp of their own."""
    with tempfile.TemporaryDirectory(prefix="broken.", dir=programs.build) as folder:
        for name in ("init", "cli", "tests"):
            os.symlink(os.path.join(programs.build, name), os.path.join(folder, name))
        os.mkdir(os.path.join(folder, "worker"))
        os.symlink("/bin/false", os.path.join(folder, "worker/snapworker"))
        yield folder


def test_a_rival_that_fails_is_an_error_with_its_log(programs, broken):
    done = run(programs, "--build", broken, "--cache", "warm", "--rival", "snapinit", "--rival",
               "cold")
    assert done.returncode == 1, done.stderr
    assert [json.loads(line)["rival"] for line in done.stdout.splitlines()] == ["cold"]
    assert "heap-tiny: snapinit: capture" in done.stderr
    assert "capture.failed" in done.stderr


def test_configurations_follow_what_snapinit_offers(tmp_path):
    snapinit = tmp_path / "snapinit"
    snapinit.write_text("#!/bin/sh\ncat <<END\n"
                        "      --filler NAME           how memory is filled: auto, ring, writev\n"
                        "  -r, --reader NAME           auto, pread (no uring-like one) (auto)\n"
                        "END\n", encoding="ascii")
    snapinit.chmod(0o755)
    offered = rivals.Help(str(snapinit))
    names = [name for name, flags in rivals.fill_configurations() if offered.offers_all(flags)]
    assert names == ["snapinit-ring-pread", "snapinit-writev-pread"]
    assert not offered.offers("--compress", "zstd")


class Liar(rivals.Rival):
    """Its second answer is another one."""

    name = "liar"
    count = 0

    def start(self, cache):
        self.count += 1
        return rivals.Attempt(1.0, 2.0, "as before" if self.count == 1 else "otherwise")


def test_another_answer_than_before_is_an_error(capsys):
    context = types.SimpleNamespace(case=types.SimpleNamespace(name="lies", memory=0, files=()))
    measured = rounds.Measurement(context, [Liar(context)], ["warm"], 2)
    measured.answer = "as before"
    for _ in range(2):
        measured.start(measured.series[0])
    assert len(measured.series[0].attempts) == 1
    assert "otherwise" in measured.series[0].error
    assert "lies: liar, page cache warm: answered 'otherwise'" in capsys.readouterr().err


def test_percentiles_are_values_that_occurred():
    assert rounds.percentile([5], 95) == 5
    assert rounds.percentile(list(range(1, 101)), 95) == 95
    assert rounds.percentile([3, 1, 2], 50) == 2


def test_statistics_of_another_format_are_refused(tmp_path):
    (tmp_path / "stats-dump").write_bytes(bytes(16))
    with pytest.raises(ValueError, match="another format"):
        criu_tool.read_stats(str(tmp_path), "dump")
