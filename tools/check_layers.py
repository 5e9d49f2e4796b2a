#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fails a wrong arrow between the folders of the source tree.

An include of our own names its layer: #include "common/fd.h". ALLOWED says which layers a layer
may include. Also refused: an include of one of our headers without its layer, and a source file
whose first two lines lack the SPDX line. `--self-test` proves that each fault is found.
"""

import pathlib
import re
import sys

import lint

ALLOWED = {
    "common": {"common"},
    "engine": {"common", "engine"},
    "snapshot": {"common", "engine", "snapshot"},
    "init": {"common", "init"},
    "worker": {"common", "engine", "snapshot", "worker"},
    "cli": {"common", "engine", "snapshot", "cli"},
    "runtime-hooks": {"runtime-hooks"},
    "launcher": set(),
}
TESTS = "tests"
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
SPDX = "SPDX-License-" + "Identifier: Apache-2.0"  # in two, or reuse reads it as a line of its own
SPDX_SUFFIXES = {".c", ".h", ".py", ".sh", ".cmake"}
FOLDERS = [*ALLOWED, TESTS, "tools", "cmake"]


def files_below(root, folders, suffixes):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and (path.suffix in suffixes or path.name == "CMakeLists.txt"):
                yield path


def is_data(root, path):
    return path.relative_to(root).parts[:2] == (TESTS, "data")


def include_fault(layer, mark, target, header_names):
    """What is wrong with one include of a file of this layer, or None."""
    first, _, rest = target.partition("/")
    if rest and (first in ALLOWED or first == TESTS):
        if mark == "<":
            return f'"{target}" is ours: quotes, not angle brackets'
        if layer != TESTS and first not in ALLOWED[layer]:
            return f'{layer} may not include "{target}"'
        return None
    # a fixture may have a header beside it, found by the compiler without a folder
    if mark == '"' and layer != TESTS and pathlib.PurePath(target).name in header_names:
        return f'"{target}" does not name its layer'
    return None


def check(root):
    faults = []
    layers = [*ALLOWED, TESTS]
    header_names = {p.name for p in files_below(root, ALLOWED, {".h"}) if p.suffix == ".h"}
    for path in files_below(root, layers, {".c", ".h", ".in"}):
        layer = path.relative_to(root).parts[0]
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if match:
                fault = include_fault(layer, match[1], match[2], header_names)
                if fault:
                    faults.append(f"{path.relative_to(root)}:{number}: {fault}")
    for path in files_below(root, FOLDERS, SPDX_SUFFIXES):
        if is_data(root, path):
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.readline() + file.readline()
        if SPDX not in head:
            faults.append(f"{path.relative_to(root)}:1: no '{SPDX}' on the first two lines")
    return faults


def self_test():
    spdx = f"/* {SPDX} */\n"
    files = {
        "common/fd.h": spdx,
        "common/fd.c": spdx + '#include "common/fd.h"\n',
        "init/wrong.c": spdx + '#include "snapshot/store.h"\n',
        "snapshot/store.h": spdx + '#include "common/fd.h"\n#include <stdio.h>\n',
        "snapshot/bare.c": spdx + '#include "store.h"\n',
        "snapshot/angle.c": spdx + "#include <common/fd.h>\n",
        "launcher/wrong.c": spdx + '#  include "common/fd.h"\n',
        "worker/right.c": spdx + '#include "snapshot/store.h"\n#include "engine/x.h"\n',
        "tests/unit/any.c": spdx + '#include "init/private.h"\n#include "cli/private.h"\n',
        "engine/unmarked.c": "int x;\n",
        "runtime-hooks/c/wrong.c": spdx + '#include "common/fd.h"\n',
        "tests/data/ignored.c": "int x;\n",
    }
    expected = {
        "init/wrong.c:2", "snapshot/bare.c:2", "snapshot/angle.c:2", "launcher/wrong.c:2",
        "engine/unmarked.c:1", "runtime-hooks/c/wrong.c:2",
    }
    with lint.tree_of(files) as root:
        return lint.compare(expected, check(root))


if __name__ == "__main__":
    sys.exit(lint.run(__doc__, check, self_test))
