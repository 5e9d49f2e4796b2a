# SPDX-License-Identifier: Apache-2.0
"""
Kinds of damage to a store, and what is said about each (docs/formats/store.md).

A kind spoils a copy of a whole store: two generations, gen-1 and the current gen-2, of an engine
with page files and one carried file. tests/criu/test_damage.py does each to a store, starts the
engine on it and asks snapctl; docs/damage.md is the table of this file.
"""

import glob
import json
import os
import re
import shutil
import socket
import time
from dataclasses import dataclass, replace

from . import checksums, damaged_manifests, damaged_pages

STRANGER = 12345  # a uid that is nobody's

CORRUPT, NO_SNAPSHOT = 5, 4  # exit statuses of snapctl(1)
REFUSED, FAILED, WAKES = "wake.refused", "wake.failed", "wake.done"
NOT_WOKEN = f"{REFUSED} or {FAILED}"


class NoDamage(Exception):
    """This store has nothing that this kind could change."""


class Place:
    """A store to be spoiled, and a folder beside it that links lead to."""

    def __init__(self, store, outside, generation="gen-2", other="gen-1"):
        self.store, self.outside = store, outside
        self.generation, self.other = generation, other

    def path(self, name):
        """GEN is the current generation; a name may be a pattern that one file matches."""
        found = os.path.join(self.store, name.replace("GEN", self.generation))
        if "*" in found:
            matches = sorted(glob.glob(found))
            if len(matches) != 1:
                raise NoDamage(f"{found}: {len(matches)} files")
            return matches[0]
        return found

    def name(self, path):
        """As messages have it: below the generation."""
        return os.path.relpath(path, os.path.join(self.store, self.generation))

    def edit(self, change):
        """The manifest, sealed again: a forgery, or what a faulty capture would write."""
        path = self.path("GEN/manifest.json")
        doc = json.loads(read(path))
        change(doc)
        write(path, damaged_manifests.seal(doc))

    def reseal(self, path):
        """Make the manifest agree with a file that was changed."""
        def change(doc):
            for image in doc["images"]:
                if image["name"] == self.name(path):
                    image.update(size=os.path.getsize(path), digest=checksums.digest(read(path)))
        self.edit(change)


@dataclass(frozen=True)
class Damage:
    what: str        # in the table
    how: str
    spoil: callable  # of a Place
    event: str       # of the start: the first record about the wake
    says: str        # in its message: "..." is anything, " | " parts alternatives
    verify: int      # exit status of snapctl verify
    verify_says: str = ""
    export: int = CORRUPT
    inspect: int = 0
    why: str = ""    # it wakes, or is not found
    in_table: bool = True
    is_long: bool = False  # only with --full

    @property
    def name(self):
        return f"{self.what}: {self.how}"


def says(pattern, text):
    """Does text have the words of one alternative, in their order?"""
    return any(re.search(".*".join(re.escape(part) for part in words.split("...")), text, re.DOTALL)
               for words in pattern.split(" | "))


def read(path):
    with open(path, "rb") as data:
        return data.read()


def write(path, data):
    with open(path, "r+b") as out:
        out.write(data)
        out.truncate()


# --- one file


def flip_bit(path, at=None):
    data = bytearray(read(path))
    if not data:
        raise NoDamage("empty")
    data[len(data) // 2 if at is None else at] ^= 0x10
    write(path, data)


def flip_bit_of_chunk(place, path):
    """In the middle of pages.dat there may be a gap, which is nobody's memory."""
    chunks = damaged_pages.load(read(place.path("GEN/pages.map"))).chunks
    flip_bit(path, chunks[-1]["offset"] + chunks[-1]["stored"] // 2)


def flip_bit_of_gap(place):
    path = place.path("GEN/pages.dat")
    for chunk in damaged_pages.load(read(place.path("GEN/pages.map"))).chunks:
        if chunk["stored"] % damaged_pages.PAGE:
            flip_bit(path, chunk["offset"] + chunk["stored"])
            return
    raise NoDamage("no gap")


def truncate(to):
    def spoil(_, path):
        size = os.path.getsize(path)
        if size == 0:
            raise NoDamage("empty")
        os.truncate(path, int(size * to))
    return spoil


def swap_with(partner):
    def spoil(place, path):
        other = place.path(partner)
        if other == path or read(other) == read(path):
            raise NoDamage("the same content")
        os.rename(path, path + ".swap")
        os.rename(other, path)
        os.rename(path + ".swap", other)
    return spoil


def take_from_other_generation(place, path):
    other = os.path.join(place.store, place.other, place.name(path))
    if not os.path.exists(other):  # a shared object's number is in the name
        found = glob.glob(re.sub(r"\d+(?=\.img$)", "*", other))
        other = found[0] if len(found) == 1 else ""
    if not os.path.exists(other) or read(other) == read(path):
        raise NoDamage("the same content")
    write(path, read(other))


def grow(by):
    def spoil(_, path):
        os.truncate(path, os.path.getsize(path) + by)
    return spoil


def link_outside(place, path):
    target = os.path.join(place.outside, "target")
    shutil.copytree(path, target) if os.path.isdir(path) else shutil.copy2(path, target)
    clear(path)
    os.symlink(target, path)


def clear(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def instead(make):
    def spoil(_, path):
        clear(path)
        make(path)
    return spoil


def make_socket(path):
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(os.path.dirname(path))  # a socket's path is at most 107 bytes
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.basename(path))
        os.chmod(path, 0o600)
    finally:
        os.fchdir(here)
        os.close(here)


def make_empty(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def hard_link(place, path):
    twin = os.path.join(place.outside, "twin")
    shutil.copy2(path, twin)
    os.unlink(path)
    os.link(twin, path)


def mode(bits):
    return lambda _, path: os.chmod(path, bits)


def chown(_, path):
    os.chown(path, STRANGER, STRANGER)


CONTENT = {  # how -> what it does; "swapped" has a partner and is made below
    "cut in half": truncate(0.5),
    "empty": truncate(0),
    "one bit flipped": lambda _, path: flip_bit(path),
    "removed": lambda _, path: os.unlink(path),
    "another generation's": take_from_other_generation,
    "a byte longer": grow(1),
    "a tebibyte longer": grow(1 << 40),
}
KIND = {
    "a link to a copy outside": link_outside,
    "a link to nothing": instead(lambda path: os.symlink("no-such", path)),
    "a fifo": instead(lambda path: os.mkfifo(path, 0o600)),
    "a socket": instead(make_socket),
    "a device": instead(lambda path: os.mknod(path, 0o20600, os.makedev(1, 5))),
    "a folder": instead(lambda path: os.mkdir(path, 0o700)),
}
RIGHTS = {
    "others may write": mode(0o666),
    "another owner": chown,
}
HARMLESS = {
    "others may read": mode(0o644),
    "mode 0000": mode(0),
    "a hard link to a file outside": hard_link,
}
WHY = {
    "others may read": "reading is no damage, layers are often so (store.md 2.1); verify tells",
    "mode 0000": "it keeps nobody out who has the rights that a wake needs; content is compared",
    "a hard link to a file outside": "the same file by another name; owner, mode, content hold",
}

DAMAGES = []


def add(what, how, spoil, *expected, **more):
    DAMAGES.append(Damage(what, how, spoil, *expected, **more))


def on(name, spoil):
    return lambda place: spoil(place, place.path(name))


def add_file(what, name, partner, told, verify_told, **more):
    """All kinds on one file of a generation; told: how -> (event, words)."""
    def put(how, spoil, *expected, **options):
        add(what, how, on(name, spoil), *expected, **{**more, **options})

    # a manifest that is none is all that can be told
    blind = CORRUPT if what == "manifest.json" else 0
    content = {**CONTENT, "swapped with its neighbour": swap_with(partner)}
    if what == "pages.dat":
        content["one bit flipped"] = flip_bit_of_chunk
    for how, spoil in content.items():
        event, words = told[how]
        put(how, spoil, event, words, CORRUPT, verify_told.get(how, verify_told["*"]),
            inspect=more.get("inspect", told.get("inspect", {}).get(how, blind)))
    for how, spoil in KIND.items():
        event, words = told.get(how, (FAILED, "'GEN/NAME' is no regular file and no folder"))
        put(how, spoil, event, words, CORRUPT, "NAME...is no regular file",
            inspect=told.get("inspect", {}).get(how, blind))
    for how, spoil in RIGHTS.items():
        words = {"others may write": "others may write to 'GEN/NAME'",
                 "another owner": "'GEN/NAME' is owned by uid 12345"}[how]
        put(how, spoil, FAILED, words, CORRUPT,
            {"others may write": "NAME may be read or written by others",
             "another owner": "NAME is owned by uid 12345"}[how], inspect=0)
    for how, spoil in HARMLESS.items():
        found = how == "others may read"
        put(how, spoil, WAKES, "", CORRUPT if found else 0,
            "NAME may be read or written by others" if found else "intact", export=0, inspect=0,
            why=WHY[how])


ANY = "*"
GATE_SIZE = (REFUSED, "image 'NAME' has ... bytes, captured with")
DIGEST = (FAILED, "'NAME' is damaged: digest")
IMAGE = {
    "cut in half": GATE_SIZE, "empty": GATE_SIZE, "a byte longer": GATE_SIZE,
    "a tebibyte longer": GATE_SIZE, "one bit flipped": DIGEST,
    "removed": (REFUSED, "image 'NAME' is missing"), "a folder": (REFUSED, "image 'NAME' is no regular file"),
    "swapped with its neighbour": (NOT_WOKEN, f"{GATE_SIZE[1]} | {DIGEST[1]}"),
    "another generation's": (NOT_WOKEN, f"{GATE_SIZE[1]} | {DIGEST[1]}"),
}
IMAGE_VERIFY = {ANY: "NAME has ... the manifest says", "removed": "NAME is missing"}
FIRST_IMAGES = ("core-*.img", "pages-2.img")
MORE_IMAGES = ("inventory.img", "mm-*.img", "pstree.img", "fdinfo-*.img", "files.img",
               "fs-*.img", "ids-*.img", "memfd.img", "pagemap-1*.img", "pagemap-shmem-*.img",
               "pages-1.img", "pipes-data.img", "seccomp.img", "stats-dump", "timens-0.img")
ALWAYS = ("cut in half", "one bit flipped", "removed", "a byte longer", "a fifo",
          "a link to a copy outside")

MANIFEST_TEXT = (FAILED, "manifest.json: no JSON")
add_file("manifest.json", "GEN/manifest.json", "GEN/pages.map", {
    "cut in half": MANIFEST_TEXT, "empty": MANIFEST_TEXT,
    "one bit flipped": (FAILED, "manifest.json: "), "a byte longer": MANIFEST_TEXT,
    "removed": (FAILED, "cannot open 'manifest.json'"),
    "a tebibyte longer": (FAILED, "'manifest.json' is larger than 16777216 bytes"),
    "a folder": (FAILED, "'manifest.json' is no regular file"),
    "swapped with its neighbour": (FAILED, "manifest.json: "),
    "another generation's": (NOT_WOKEN, "image 'criu/... has ... bytes | is damaged | is missing"),
    "inspect": {"another generation's": 0},
}, {ANY: "manifest.json", "another generation's": "the manifest says | is missing"})

add_file("pages.map", "GEN/pages.map", "GEN/pages.dat", {
    **IMAGE, "one bit flipped": (FAILED, "pages.map: its checksum differs"),
    "another generation's": (NOT_WOKEN, "'pages.map' has ... bytes | 'pages.map' is damaged | "
                             "'pages.dat' has"),
    "inspect": {how: CORRUPT for how in (
        "cut in half", "empty", "a byte longer", "a tebibyte longer", "one bit flipped", "removed",
        "swapped with its neighbour", *KIND)},
}, IMAGE_VERIFY)

DATA_SIZE = (FAILED, "'pages.dat' has ... bytes, pages.map says")
add_file("pages.dat", "GEN/pages.dat", "GEN/pages.map", {
    **{how: DATA_SIZE for how in CONTENT}, "removed": (FAILED, "cannot open 'pages.dat'"),
    "one bit flipped": (FAILED, "pages.dat is damaged: chunk"),
    "another generation's": (FAILED, "pages.dat is damaged: chunk | 'pages.dat' has"),
    "swapped with its neighbour": (REFUSED, "image 'pages.map' has ... bytes"),
    "a folder": (FAILED, "'pages.dat' is no regular file"),
    "inspect": {how: CORRUPT for how in (
        "cut in half", "empty", "a byte longer", "a tebibyte longer", "removed",
        "swapped with its neighbour", *KIND)},
}, {ANY: "pages.dat", "swapped with its neighbour": "pages.map"})

add("pages.dat", "a bit flipped between chunks", flip_bit_of_gap, WAKES, "", 0, "intact", export=0,
    why="no chunk has it: it is in no memory")

add_file("files/*", "GEN/files/f-*", "GEN/pages.map",
         {**IMAGE, "inspect": {"swapped with its neighbour": CORRUPT}}, IMAGE_VERIFY)
_names = FIRST_IMAGES + MORE_IMAGES
for _i, _image in enumerate(_names):
    _first = len(DAMAGES)
    add_file(f"criu/{_image}", f"GEN/criu/{_image}", f"GEN/criu/{_names[_i - 1]}", IMAGE,
             IMAGE_VERIFY, in_table=False)
    for _n in range(_first, len(DAMAGES)):
        DAMAGES[_n] = replace(DAMAGES[_n], in_table=_i == 0,
                              is_long=_i >= len(FIRST_IMAGES) and DAMAGES[_n].how not in ALWAYS)

# --- current

NAMES_NONE = "current' names no generation"
for _how, _spoil in {**CONTENT, **KIND, **RIGHTS, **HARMLESS}.items():
    if _how == "another generation's":
        continue
    _event, _words, _status = FAILED, NAMES_NONE, CORRUPT
    if _how in KIND:
        _words = "current' is no regular file"
    elif _how == "removed":
        _event, _words, _status = REFUSED, "has no current snapshot", NO_SNAPSHOT
    elif _how in RIGHTS:
        _words = "others may write to 'current' | 'current' is owned by uid 12345"
    elif _how in HARMLESS:
        _event, _words, _status = WAKES, "", 0
    add("current", _how, on("current", _spoil), _event, _words, _status,
        _words or "intact", export=_status, inspect=_status,
        why=WHY.get(_how, "").replace("; content is compared", "").replace("; verify tells", ""))


def says_instead(text):
    return lambda place: write(place.path("current"), text)


for _how, _text in {
    "no newline": b"gen-2", "two newlines": b"gen-2\n\n", "a newline first": b"\ngen-2\n",
    "two names": b"gen-2\ngen-1\n", "a blank first": b" gen-2\n", "CR LF": b"gen-2\r\n",
    "a NUL": b"gen-2\0\n", "a NUL and more": b"gen-2\0../x\n", "a path upwards": b"../../etc\n",
    "a path through a generation": b"gen-2/../gen-1\n", "an absolute path": b"/etc\n",
    "a leading zero": b"gen-02\n", "ten digits": b"gen-1000000000\n", "a sign": b"gen--2\n",
    "upper case": b"GEN-2\n", "a mebibyte": b"gen-2" * 200000 + b"\n",
}.items():
    add("current", f"says {_how}", says_instead(_text), FAILED, NAMES_NONE, CORRUPT, NAMES_NONE,
        inspect=CORRUPT)
add("current", "names what is not there", says_instead(b"gen-9\n"), NOT_WOKEN,
    "generation 'gen-9'", NO_SNAPSHOT, "generation 'gen-9'", export=NO_SNAPSHOT,
    inspect=NO_SNAPSHOT)
add("current", "names the older generation", says_instead(b"gen-1\n"), WAKES, "", 0, "intact",
    export=0, why="a whole generation")

# --- generations


def half_made(*names):
    """A generation as a capture leaves it that died; current names it if "current" is given."""
    def spoil(place):
        os.mkdir(place.path("gen-3"), 0o700)
        os.mkdir(place.path("gen-3/criu"), 0o700)
        for name in names:
            if name == "current":
                write(place.path("current"), b"gen-3\n")
            else:
                shutil.copy(place.path("GEN/manifest.json"), place.path(name))
    return spoil


add("gen-3", "half made, not current", half_made(), WAKES, "", 0, "gen-2 intact", export=0,
    why="current names another one; the next capture removes it")
add("gen-3", "half made, current", half_made("current"), FAILED, "cannot open 'manifest.json'",
    CORRUPT, "cannot open 'manifest.json'", inspect=CORRUPT)
add("gen-3", "half made, manifest under its temporary name, current",
    half_made("current", "gen-3/manifest.json.tmp.77"), FAILED, "cannot open 'manifest.json'",
    CORRUPT, "cannot open 'manifest.json'", inspect=CORRUPT)
add("gen-3", "a manifest and nothing else, current", half_made("current", "gen-3/manifest.json"),
    REFUSED, "image ... is missing", CORRUPT, "is missing", inspect=CORRUPT)
add("the store", "temporary files of a publisher that died",
    lambda place: [make_empty(place.path(name)) for name in ("current.tmp.77", "lease.tmp.ab",
                                                             "lease.stale.ab")],
    WAKES, "", 0, "intact", export=0, why="no reader looks at them; the next capture removes them")
add("the store", "files of somebody else's",
    lambda place: [make_empty(place.path(name)) for name in ("gen-x", "README", "gen-02")],
    WAKES, "", 0, "intact", export=0, why="store.md 1.1")
add("GEN", "an unknown file in it", lambda place: make_empty(place.path("GEN/more")), WAKES, "",
    CORRUPT, "more is not in the manifest", export=0, why="nothing opens it; verify tells")
add("GEN", "an unknown file in criu/", lambda place: make_empty(place.path("GEN/criu/tty.img")),
    FAILED, "'criu/tty.img' is not in the manifest", CORRUPT, "criu/tty.img is not in the manifest")
add("GEN", "an unknown file in files/", lambda place: make_empty(place.path("GEN/files/more")),
    WAKES, "", CORRUPT, "files/more is not in the manifest", export=0,
    why="only files that the manifest names are put back; verify tells")
add("GEN", "folders 6 deep in it", lambda place: os.makedirs(place.path("GEN/1/2/3/4/5/6")), FAILED,
    "lies too deep", CORRUPT, "1 is not in the manifest")


def add_folder(what, name, told, verify_told, status=CORRUPT):
    for how, spoil in {
        "removed": lambda _, path: shutil.rmtree(path),
        "empty": lambda _, path: (shutil.rmtree(path), os.mkdir(path, 0o700)),
        "a link to a copy outside": link_outside,
        "a fifo": instead(lambda path: os.mkfifo(path, 0o600)),
        "a file": instead(make_empty),
        "others may write": mode(0o777),
        "another owner": chown,
    }.items():
        event, words = told.get(how, told[ANY])
        exits = status.get(how, CORRUPT) if isinstance(status, dict) else status
        add(what, how, on(name, spoil), event, words, exits, verify_told.get(how, verify_told[ANY]),
            export=exits, inspect=exits if what == "GEN" else 0)


add_folder("GEN", "GEN", {
    ANY: (FAILED, "generation 'gen-2'"), "removed": (NOT_WOKEN, "generation 'gen-2'"),
    "empty": (FAILED, "cannot open 'manifest.json'"),
    "others may write": (FAILED, "others may write to 'gen-2'"),
    "another owner": (FAILED, "'gen-2' is owned by uid 12345"),
}, {ANY: "generation 'gen-2'", "empty": "cannot open 'manifest.json'",
    "others may write": "others may write to 'gen-2'",
    "another owner": "'gen-2' is owned by uid 12345"}, {"removed": NO_SNAPSHOT})
for _folder in ("criu", "files"):
    _gone = (REFUSED, f"image '{_folder}/... is missing | no regular file")
    add_folder(f"{_folder}/", f"GEN/{_folder}", {
        ANY: (FAILED, f"'gen-2/{_folder}' is no regular file and no folder"),
        "removed": _gone, "empty": _gone, "a file": (REFUSED, f"image '{_folder}/"),
        "others may write": (FAILED, f"others may write to 'gen-2/{_folder}'"),
        "another owner": (FAILED, f"'gen-2/{_folder}' is owned by uid 12345"),
    }, {ANY: f"{_folder} is no folder", "removed": "is missing", "empty": "is missing",
        "others may write": f"{_folder} may be read or written by others",
        "another owner": f"{_folder} is owned by uid 12345"})

# --- the store itself


def replace_store(make):
    def spoil(place):
        os.rename(place.store, place.store + ".aside")
        make(place.store)
    return spoil


add("the store", "another owner", lambda place: os.chown(place.store, STRANGER, STRANGER), FAILED,
    "store' is owned by uid 12345", CORRUPT, "current'", inspect=CORRUPT)
add("the store", "others may write", lambda place: os.chmod(place.store, 0o777), FAILED,
    "others may write to '...store' (mode 0777", CORRUPT, "others may write to '...store'",
    inspect=CORRUPT)
add("the store", "a link", replace_store(lambda path: os.symlink(path + ".aside", path)), FAILED,
    "store '...store'", CORRUPT, "store '...store'", inspect=CORRUPT)
add("the store", "a file", replace_store(make_empty), FAILED, "store '...store'", CORRUPT,
    "store '...store'", inspect=CORRUPT)
add("the store", "a fifo", replace_store(lambda path: os.mkfifo(path, 0o600)), FAILED,
    "store '...store'", CORRUPT, "store '...store'", inspect=CORRUPT)
add("the store", "not there", replace_store(lambda path: None), REFUSED, "store '...store'",
    NO_SNAPSHOT, "store '...store'", export=NO_SNAPSHOT, inspect=NO_SNAPSHOT)

# --- what a wake can do without

KDAT = "a cache: what is not as it was written is as if absent, CRIU asks the kernel again"
for _file in ("criu.kdat", "digest"):
    for _how, _spoil in {**CONTENT, **KIND, **RIGHTS, **HARMLESS}.items():
        if _how != "another generation's":
            add("kdat/*", f"{_file} {_how}", on(f"kdat/*/{_file}", _spoil), WAKES, "", 0, "intact",
                export=0, why=KDAT, is_long=_how not in ALWAYS)
for _how, _spoil in {
    "removed": lambda place, path: shutil.rmtree(path), "a link to a copy outside": link_outside,
    "a fifo": KIND["a fifo"], "a file": instead(make_empty), "others may write": mode(0o777),
    "another owner": chown,
}.items():
    add("kdat/", _how, on("kdat", _spoil), WAKES, "", 0, "intact", export=0, why=KDAT)


def lease_of(text):
    def spoil(place):
        make_empty(place.path("lease"))
        write(place.path("lease"), text)
    return spoil


def lease_text(pid=1, start=1, boot="5b0c9a52-31a9-4a1c-9c0f-6a7f3f1f2d11", ns=1, expires=0,
               token="0123456789abcdef" * 2):
    return (f"pid {pid}\nstart_ticks {start}\nboot_id {boot}\npid_ns {ns}\n"
            f"expires_ms {expires}\ntoken {token}\n").encode()


for _how, _spoil in {
    "of a capture that died": lease_of(lease_text()),
    "until the year 3000": lease_of(lease_text(expires=32503680000000)),
    "is no lease": lease_of(b"\0" * 4096),
    "a fifo": lambda place: os.mkfifo(place.path("lease"), 0o600),
    "a folder": lambda place: os.mkdir(place.path("lease"), 0o700),
    "a link to nothing": lambda place: os.symlink("no-such", place.path("lease")),
}.items():
    add("lease", _how, _spoil, WAKES, "", 0, "intact", export=0,
        why="only captures look at it (below)")

# --- consistent, but wrong: nothing accidental, and no digest can tell


def forged_map(change):
    def spoil(place):
        path = place.path("GEN/pages.map")
        m = damaged_pages.load(read(path))
        change(m)
        write(path, m.bytes())
        place.reseal(path)
    return spoil


FORGED = "digests are against accidents: whoever can write a whole store can write what he likes"


def forge(what, how, spoil, event, words, verify_told=None, **more):
    """verify_told: what verify can tell all the same."""
    status = CORRUPT if verify_told else 0
    more = {"export": status, "inspect": 0, **more}
    add(what, how, spoil, event, words, status, verify_told or "intact",
        why="" if verify_told else FORGED, **more)


def set_of(table, index, **fields):
    return lambda m: getattr(m, table)[index].update(fields)


for _how, _change, _words in [
    ("the version of another time", lambda m: m.head.update(version=2), "has version 2"),
    ("2^32 - 1 extents", lambda m: m.head.update(n_extents=2**32 - 1), "4294967295 extents"),
    ("an extent in the kernel", set_of("extents", 0, address=0xFFFF888000000000), "extent 0: ends"),
    ("an extent that wraps", set_of("extents", 0, address=2**64 - 4096), "extent 0: ends beyond"),
    ("a chunk beyond pages.dat", set_of("chunks", 0, offset=1 << 40), "chunk 0: ends beyond"),
    ("an unknown codec", set_of("chunks", 0, codec=9), "chunk 0: unknown codec 9"),
    ("init's memory", set_of("spaces", 0, pid=1), "space 0: pid 1 is not within"),
    ("data of 64 TiB", lambda m: m.head.update(data_bytes=1 << 46), "pages.dat' has ... pages.map"),
]:
    forge("pages.map, forged", _how, forged_map(_change), FAILED, _words, _words,
          **dict.fromkeys(("inspect", "export"), NO_SNAPSHOT if "version" in _how else CORRUPT))
forge("pages.map, forged", "memory that the engine has not got",
      forged_map(lambda m: m.extents[0].update(address=0x10000)), FAILED,
      "cannot write memory of pid 1000")
forge("pages.map, forged", "memory of a process that is none of the tree's",
      forged_map(set_of("spaces", 0, pid=4000)), FAILED,
      "pages.map: space 0: pid 4000 is none of the tree's", "pid 4000 is none of the tree's")


def map_is_a_hole(place):
    path = place.path("GEN/pages.map")
    os.truncate(path, 0)
    os.truncate(path, 600 << 20)
    place.edit(lambda doc: [image.update(size=600 << 20) for image in doc["images"]
                            if image["name"] == "pages.map"])


forge("pages.map, forged", "a hole of 600 MiB", map_is_a_hole, FAILED, "the magic is missing",
      "pages.map has digest", inspect=CORRUPT)


def forged_image(name, change):
    def spoil(place):
        path = place.path(name)
        change(path)
        place.reseal(path)
    return spoil


for _image in ("core-*.img", "mm-*.img", "inventory.img", "pstree.img", "pagemap-1*.img",
               "files.img"):
    forge("criu/*.img, forged", f"{_image} cut in half",
          forged_image(f"GEN/criu/{_image}", lambda path: os.truncate(
              path, os.path.getsize(path) // 2)), FAILED,
          f"CRIU restore failed: ...criu/{_image.split('*', maxsplit=1)[0]}", export=None)
forge("criu/*.img, forged", "no inventory.img in the manifest",
      lambda place: (os.unlink(place.path("GEN/criu/inventory.img")), place.edit(
          lambda doc: doc.update(images=[image for image in doc["images"]
                                         if "inventory" not in image["name"]]))),
      REFUSED, "'criu/inventory.img' is not in the manifest", export=None)

# --- manifests


def use_manifest(case):
    def spoil(place):
        path = place.path("GEN/manifest.json")
        made = case.make(json.loads(read(path)))
        if made is None:
            raise NoDamage("this manifest has no such member")
        write(path, made)
    return spoil


for _name, _case in damaged_manifests.CASES.items():
    _status = NO_SNAPSHOT if _case.says in (
        "manifest.json: schema 2", "manifest.json: schema 0",
        "manifest.json: requires 'pages-v2'") else CORRUPT
    _words = _case.says if _status == CORRUPT else _case.says.replace("manifest.json:", "manifest")
    add("manifest.json with", _name, use_manifest(_case), FAILED, _words, _status, _words,
        export=_status, inspect=_status)


# --- what a capture finds


@dataclass(frozen=True)
class Find:
    """Something in a store in which there is no current generation and a capture begins."""
    what: str
    how: str
    spoil: callable
    says: str = ""  # of capture.failed; "": it is made all the same

    @property
    def name(self):
        return f"{self.what}: {self.how}"


def aged(spoil, seconds=60):
    """A minute old: what is no lease is left alone for 10 s."""
    def spoil_and_age(place):
        spoil(place)
        when = time.time() - seconds
        os.utime(place.path("lease"), (when, when), follow_symlinks=False)
    return spoil_and_age


def soon():
    return int(time.time() * 1000) + 3600_000


def lease_until_soon(**fields):
    return lambda place: lease_of(lease_text(expires=soon(), **fields))(place)


NO_LEASE = "'lease' is no lease; it is broken 10 s after"
HELD = "another capture has the store's lease (pid"
_leases = {
    "is no lease": lease_of(b"\0" * 4096), "empty": lease_of(b""),
    "cut in half": lambda place: lease_of(lease_text(expires=soon())[:70])(place),
    "until the year 3000": lease_of(lease_text(expires=32503680000000)),
    "until 2^64 - 1": lease_of(lease_text(expires=2**64 - 1)),
    "until -1": lease_of(lease_text(expires=-1)),
    "a token too short": lease_until_soon(token="0123"),
    "a mebibyte": lease_of(b"pid 1\n" * 175000),
    "a fifo": lambda place: os.mkfifo(place.path("lease"), 0o600),
    "a folder": lambda place: os.makedirs(place.path("lease/deeper")),
    "a link to nothing": lambda place: os.symlink("no-such", place.path("lease")),
    "a link to a file outside": lambda place: os.symlink(
        os.path.join(place.outside, "canary"), place.path("lease")),
}
FINDS = [Find("lease", how, spoil, NO_LEASE) for how, spoil in _leases.items()
         if not how.startswith("a link to a file")]
FINDS += [Find("lease", f"{how}, a minute old", aged(spoil)) for how, spoil in _leases.items()]
FINDS += [
    Find("lease", "of a capture that is over", lease_of(lease_text(expires=1))),
    Find("lease", "of another boot, for an hour", lease_until_soon(), HELD),
    Find("lease", "of a pid of 2^31 - 1, for an hour", lease_until_soon(pid=2**31 - 1), HELD),
    Find("lease", "of a pid of -1, for an hour", lease_until_soon(pid=-1), HELD),
    Find("gen-3", "half made", half_made()),
    Find("gen-3", "a link to a folder outside",
         lambda place: os.symlink(place.outside, place.path("gen-3"))),
    Find("gen-3", "a fifo", lambda place: os.mkfifo(place.path("gen-3"), 0o600)),
    Find("gen-3", "a file", lambda place: make_empty(place.path("gen-3"))),
    Find("gen-3", "with a link to a folder outside", lambda place: (
        half_made()(place), os.symlink(place.outside, place.path("gen-3/criu/outside")))),
    Find("gen-999999999", "half made", lambda place: os.mkdir(place.path("gen-999999999")),
         "is worn out"),
    Find("the store", "temporary files and folders of a publisher that died", lambda place: (
        make_empty(place.path("current.tmp.7")), os.mkdir(place.path("lease.stale.7")),
        os.symlink(place.outside, place.path("lease.tmp.7")))),
]
FINDS += [Find("kdat/", _how, on("kdat", _spoil)) for _how, _spoil in {
    "removed": lambda _, path: shutil.rmtree(path), "a link to a copy outside": link_outside,
    "a link to nothing": KIND["a link to nothing"], "a fifo": KIND["a fifo"],
    "a file": instead(make_empty), "others may write": mode(0o777), "another owner": chown,
}.items()]
FINDS.append(Find("kdat/", "a link to another folder outside", lambda place: (
    shutil.rmtree(place.path("kdat")), os.symlink(place.outside, place.path("kdat")))))
FINDS += [Find("kdat/*", _how, on("kdat/*", _spoil)) for _how, _spoil in {
    "a link to a copy outside": link_outside, "a file": instead(make_empty)}.items()]


# --- the table


def cell(text):
    return text.replace("NAME", "X").replace("GEN", "gen-N").replace(" | ", " *or* ").replace(
        "...", "…").replace("|", "\\|")


def table():
    """One row a kind; a criu/ image stands for all."""
    rows = ["| what | damage | the start says | verify | wakes, or is not found, because |\n",
            "| --- | --- | --- | --- | --- |\n"]
    for damage in DAMAGES:
        if not damage.in_table:
            continue
        what = "criu/*" if damage.what == f"criu/{FIRST_IMAGES[0]}" else damage.what
        told = damage.event if damage.event == WAKES else f"{damage.event}: {cell(damage.says)}"
        rows.append(f"| {cell(what)} | {cell(damage.how)} | {told} | {damage.verify} |"
                    f" {damage.why} |\n")
    return "".join(rows)


def table_of_finds():
    rows = ["| what | how | the capture |\n", "| --- | --- | --- |\n"]
    for find in FINDS:
        told = f"capture.failed: {cell(find.says)}" if find.says else "capture.done"
        rows.append(f"| {find.what} | {find.how} | {told} |\n")
    return "".join(rows)
