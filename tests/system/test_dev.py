# SPDX-License-Identifier: Apache-2.0
"""./dev says what is wrong with its words before it installs or builds anything."""

import pathlib
import subprocess

import pytest

DEV = str(pathlib.Path(__file__).resolve().parents[2] / "dev")


@pytest.mark.parametrize("words,told", [
    (["fuzz", "--seconds"], "--seconds needs a number"),
    (["fuzz", "--seconds", "soon"], "not 'soon'"),
    (["fuzz", "--seconds", "0"], "not '0'"),
    (["fuzz", "--minutes", "1"], "unknown option --minutes"),
    (["fuzz", "manifst"], "no target 'manifst'; there are archive "),
    (["fuzz", "replay"], "no target 'replay'"),
    (["check", "--minutes", "x"], "--minutes needs a number"),
    (["check", "gcc"], "unknown argument gcc"),
    (["bild"], "unknown command bild"),
])
def test_wrong_words_are_told_before_anything_is_done(words, told):
    done = subprocess.run([DEV, *words], capture_output=True, text=True, timeout=20, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1 and told in done.stderr
