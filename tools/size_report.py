#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reports how long the functions of the C sources are, and fails beyond the budget.

A function counts from the line of its opening brace in column 0 to that of its closing one. The
budget: no function is longer than MAX lines, and of a hundred functions 95 are not longer than
P95. Tests count for the first rule only: a table of cases may be long.
"""

import re
import sys

import lint

PRODUCT = ["common", "engine", "snapshot", "init", "worker", "cli", "runtime-hooks", "launcher"]
TESTS = ["tests"]
MAX = 100
P95 = 60
LISTED = 10
# the name before the first parenthesis of a definition's head
NAME = re.compile(r"(\w+)\s*\(")


def sources(root, folders):
    for folder in folders:
        for path in sorted((root / folder).rglob("*.[ch]")):
            if path.relative_to(root).parts[:2] != ("tests", "data"):
                yield path


def head_name(lines, brace):
    """The name in the definition whose opening brace is lines[brace]; its head may be many lines."""
    head = []
    for line in reversed(lines[max(0, brace - 12):brace]):
        if not line.strip() or line.startswith(("}", "#")) or line.rstrip().endswith((";", "*/")):
            break
        head.insert(0, line)
    found = NAME.search(" ".join(head))
    return found[1] if found else "?"


def functions(root, folders):
    """(length, "file:line", name) of every function"""
    for path in sources(root, folders):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        start = None
        for number, line in enumerate(lines, 1):
            if line.rstrip() == "{":
                start = number
            elif line.startswith("}") and start is not None:
                yield (number - start + 1, f"{path.relative_to(root)}:{start}",
                       head_name(lines, start - 1))
                start = None


def percentile(lengths, share):
    """The smallest length that at least share per cent of the functions do not exceed."""
    ordered = sorted(lengths)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)] if ordered else 0


def report(root, out):
    """Writes the report; returns the faults."""
    faults = []
    for title, folders in (("product", PRODUCT), ("tests", TESTS)):
        found = sorted(functions(root, folders), key=lambda f: (-f[0], f[1]))
        lengths = [length for length, _, _ in found]
        if not lengths:
            continue
        p95 = percentile(lengths, 95)
        print(f"{title}: {len(found)} functions, median {percentile(lengths, 50)}, p95 {p95}, "
              f"longest {lengths[0]} lines", file=out)
        for length, place, name in found[:LISTED]:
            print(f"  {length:4} {name} {place}", file=out)
        faults += [f"{place}: {name} has {length} lines, {MAX} are allowed"
                   for length, place, name in found if length > MAX]
        if title == "product" and p95 > P95:
            faults.append(f"the 95th percentile is {p95} lines, {P95} are allowed")
    return faults


def self_test():
    def function(name, length):
        return f"static int {name}(int a,\n\t\tint b)\n{{\n" + "\tx();\n" * (length - 2) + "}\n\n"

    def faults_of(files):
        with lint.tree_of(files) as root, open("/dev/null", "w", encoding="utf-8") as out:
            return report(root, out)

    short = "".join(function(f"s{n}", 10) for n in range(19))
    assert percentile([1, 2, 3, 4], 50) == 2 and percentile([7], 95) == 7
    assert percentile(range(1, 101), 95) == 95
    assert not faults_of({"common/a.c": short + function("edge", MAX)})
    found = faults_of({"common/a.c": short + function("wide", MAX + 1)})
    assert found == [f"common/a.c:{19 * 13 + 3}: wide has {MAX + 1} lines, {MAX} are allowed"], found
    # two of twenty are 10 per cent: the percentile sees them
    found = faults_of({"cli/a.c": short[:len(short) // 19 * 18] + function("a", P95 + 1)
                       + function("b", P95 + 1)})
    assert found == [f"the 95th percentile is {P95 + 1} lines, {P95} are allowed"], found
    assert not faults_of({"tests/unit/a.c": function("a", P95 + 1)})
    assert len(faults_of({"tests/unit/a.c": function("a", MAX + 1)})) == 1
    assert not faults_of({"cli/a.c": "static const int t[] = {\n" + "\t1,\n" * 200 + "};\n"})
    print("self-test: budget kept and broken as expected")
    return 0


if __name__ == "__main__":
    sys.exit(lint.run(__doc__, lambda root: report(root, sys.stdout), self_test))
