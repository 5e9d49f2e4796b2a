#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what the fuzz target of the import starts from: tests/data/fuzz/archive."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lib import generations as g  # noqa: E402  (needs the path above)


def small(chunks=None):
    """Little enough that a mutation often hits a header."""
    made = g.Generation(chunks)
    made.files["criu/pages-1.img"] = b"pages"
    del made.files["criu/empty.img"]
    made.files["files/f-000001"] = b"x"
    made.seal()
    return [g.entry(name, data) for name, data in made.members()]


def seeds():
    pages = [(0x10000000, 1, 1), (0x10010000, 2, 2)]
    plain, whole = g.archive(small()), g.archive(small(pages))
    yield "plain", plain
    yield "pages", whole
    yield "pax", g.archive([(info, data) if i else g.entry(info.name, data, pax_headers={
        "comment": "a pax header"}) for i, (info, data) in enumerate(small())], g.tarfile.PAX_FORMAT)
    yield "zstd", g.zstd(whole)
    yield "cut", whole[:len(whole) // 2]
    yield "nothing", b""
    for name, kind in (("link", g.tarfile.SYMTYPE), ("hard", g.tarfile.LNKTYPE),
                       ("device", g.tarfile.CHRTYPE)):
        yield name, g.archive([*small()[:1], g.entry("criu/inventory.img", type=kind,
                                                     linkname="/etc/passwd")])
    yield "out", g.archive([*small()[:1], g.entry("../x", b"x")])


if __name__ == "__main__":
    folder = ROOT / "tests" / "data" / "fuzz" / "archive"
    folder.mkdir(exist_ok=True)
    for file, content in seeds():
        (folder / file).write_bytes(content)
