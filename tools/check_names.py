#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks names: include guards, unique file names.

A header's guard is its path: common/fd.h has SNAP_COMMON_FD_H. A source file's name occurs once
in the tree, so that a name in a log or a trace names one file; main.c is the exception.
"""

import collections
import re
import sys

import lint

LAYERS = ["common", "engine", "snapshot", "init", "worker", "cli", "runtime-hooks", "launcher"]
FOLDERS = [*LAYERS, "tests"]
NAME_FOLDERS = [*FOLDERS, "tools", "cmake"]
NAME_SUFFIXES = {".c", ".h", ".py", ".sh", ".cmake"}
NOT_UNIQUE = {"main.c", "CMakeLists.txt", "__init__.py", "conftest.py"}
IFNDEF = re.compile(r"^\s*#\s*ifndef\s+(\w+)")
DEFINE = re.compile(r"^\s*#\s*define\s+(\w+)\s*$")


def files_below(root, folders, suffixes):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and path.suffix in suffixes and parts[:2] != ("tests", "data"):
                yield path


def lines_of(path):
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def guard_of(relative):
    return "SNAP_" + re.sub(r"[^A-Za-z0-9]", "_", str(relative)).upper()


def guard_faults(root):
    for path in files_below(root, FOLDERS, {".h"}):
        relative = path.relative_to(root)
        wanted = guard_of(relative)
        directives = [line for line in lines_of(path) if line.lstrip().startswith("#")][:2]
        first = IFNDEF.match(directives[0]) if directives else None
        second = DEFINE.match(directives[1]) if len(directives) > 1 else None
        if not (first and second and first[1] == second[1] == wanted):
            yield f"{relative}:1: the guard is not {wanted}"


def unique_faults(root):
    places = collections.defaultdict(list)
    for path in files_below(root, NAME_FOLDERS, NAME_SUFFIXES):
        if path.name not in NOT_UNIQUE:
            places[path.name].append(str(path.relative_to(root)))
    for names in places.values():
        if len(names) > 1:
            yield f"{names[1]}:1: the name is also that of {names[0]}"


def check(root):
    return [*guard_faults(root), *unique_faults(root)]


def self_test():
    def header(guard):
        return f"/* x */\n#ifndef {guard}\n#define {guard}\n#endif\n"

    files = {
        "common/fd.h": header("SNAP_COMMON_FD_H"),
        "common/bare.h": header("BARE_H"),
        "snapshot/criu/none.h": "int x;\n",
        "runtime-hooks/include/snapinit/hooks.h":
            header("SNAP_RUNTIME_HOOKS_INCLUDE_SNAPINIT_HOOKS_H"),
        "init/main.c": "",
        "cli/main.c": "",
        "cli/twice.c": "",
        "worker/twice.c": "",
    }
    expected = {"common/bare.h:1", "snapshot/criu/none.h:1", "cli/twice.c:1"}
    with lint.tree_of(files) as root:
        return lint.compare(expected, check(root))


if __name__ == "__main__":
    sys.exit(lint.run(__doc__, check, self_test))
