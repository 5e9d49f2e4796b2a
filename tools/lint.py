# SPDX-License-Identifier: Apache-2.0
"""What the lint programs of this folder have in common: their command line, and trees to be tried on."""

import argparse
import contextlib
import pathlib
import tempfile


@contextlib.contextmanager
def tree_of(files):
    """A folder with these files, {name: text}, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        yield root


def compare(expected, faults):
    """The end of a self-test: exactly the places in expected are among the faults."""
    found = {fault.split(": ")[0] for fault in faults}
    if found != expected:
        print(f"self-test: missed {expected - found}, wrongly refused {found - expected}")
        return 1
    print(f"self-test: {len(expected)} faults found, none invented")
    return 0


def run(doc, check, self_test):
    """Exit status of a program that has check(root), which returns its faults, and self_test()."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--self-test", action="store_true", help="prove that faults are found")
    parser.add_argument("root", nargs="?", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    faults = check(args.root)
    for fault in faults:
        print(fault)
    return 1 if faults else 0
