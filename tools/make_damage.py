#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
The one generator of damage: tests/lib/damaged_*.py hold the kinds, this writes them down.

Without arguments it writes tests/data/pages_map, tests/data/manifest, tests/data/fuzz/page_map and
the tables of docs/damage.md; `--check` compares them and writes nothing. `--list` names all kinds
of damage to a store, and `--spoil STORE NAME` does one to a copy of a store that you made.
"""

import argparse
import pathlib
import sys
import tempfile

SKIP = 77
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

try:
    from lib import damaged_manifests, damaged_pages, damaged_stores  # noqa: E402
except OSError as error:
    print(f"SKIP: {error}")
    sys.exit(SKIP)

DOCUMENT = "docs/damage.md"
TABLES = {"damage": damaged_stores.table, "finds": damaged_stores.table_of_finds}


def with_tables(root):
    text = (root / DOCUMENT).read_text(encoding="utf-8")
    for name, table in TABLES.items():
        begin = f"<!-- {name}: written by tools/make_damage.py -->\n"
        end = f"<!-- end of {name} -->\n"
        head, rest = text.split(begin)
        text = head + begin + table() + end + rest.split(end)[1]
    return text.encode()


def all_files(root):
    """{name below the project: content}, and the folders that hold nothing else."""
    good = (root / "tests/data/manifest/good.json").read_bytes()
    data = {**damaged_pages.data_files(), **damaged_manifests.data_files(good)}
    files = {f"tests/data/{name}": content for name, content in data.items()}
    return {**files, DOCUMENT: with_tables(root)}


def faults(root, files):
    for name, content in files.items():
        path = root / name
        if not path.is_file():
            yield f"{name}: missing"
        elif path.read_bytes() != content:
            yield f"{name}: not what tools/make_damage.py writes"
    for folder in ("tests/data/pages_map", "tests/data/manifest"):
        for path in sorted((root / folder).glob("*")):
            if str(path.relative_to(root)) not in files:
                yield f"{path.relative_to(root)}: not of tools/make_damage.py"


def spoil(store, name):
    for damage in damaged_stores.DAMAGES:
        if damage.name == name:
            outside = tempfile.mkdtemp(prefix="outside.")
            damage.spoil(damaged_stores.Place(store, outside))
            print(f"{store}: {name}; links lead to {outside}")
            return 0
    print(f"no damage '{name}'; --list names them")
    return 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--list", action="store_true", help="name the kinds of damage to a store")
    parser.add_argument("--spoil", nargs=2, metavar=("STORE", "NAME"))
    args = parser.parse_args()
    if args.list:
        print("\n".join(damage.name for damage in damaged_stores.DAMAGES))
        return 0
    if args.spoil:
        return spoil(*args.spoil)
    files = all_files(ROOT)
    if args.check:
        found = list(faults(ROOT, files))
        for fault in found:
            print(fault)
        return 1 if found else 0
    for name, content in files.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_bytes(content)
    print(f"{len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
