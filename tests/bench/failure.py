# SPDX-License-Identifier: Apache-2.0
"""How a benchmark says what it does, and what stops it."""

import sys


class BenchError(Exception):
    """One line; log is the end of what the programs said."""

    def __init__(self, text, log=""):
        super().__init__(text)
        self.log = log


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def say_error(error):
    for line in error.log.splitlines()[-30:]:
        print(f"bench: | {line}", file=sys.stderr)
    say(error)


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
