# SPDX-License-Identifier: Apache-2.0
"""
Manifests that a reader must refuse, each for one fault (docs/formats/manifest.md).

The same cases are made of tests/data/manifest/good.json, for the unit test, and of the manifest of
a real snapshot, for the test that wakes it.
"""

import copy
import json
from dataclasses import dataclass

from . import checksums

SEAL = "digest"


def load(text):
    return json.loads(text)


def dump(doc):
    return json.dumps(doc, indent=1, ensure_ascii=False).encode() + b"\n"


def unseal(doc):
    """As somebody would write it by hand: without a digest, and without the need for one."""
    doc = {key: value for key, value in doc.items() if key != SEAL}
    needs = [need for need in doc.get("requires", []) if need != SEAL]
    doc.pop("requires", None)
    return {**doc, "requires": needs} if needs else doc


def seal(doc):
    """Text whose last member is the digest over all in front of its digits."""
    doc = unseal(doc)
    doc["requires"] = doc.get("requires", []) + [SEAL]
    text = dump({**doc, SEAL: "0" * 32})
    at = text.rindex(b"0" * 32)
    return text[:at] + checksums.digest(text[:at]).encode() + text[at + 32:]


@dataclass(frozen=True)
class Case:
    make: callable    # of the document; bytes, or None when it has no such place
    says: str         # what the refusal begins with
    is_data: bool = True  # small enough to lie in tests/data


CASES = {}


def dotted(path):
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def at_place(doc, path):
    for key in path:
        doc = doc[key]
    return doc


def edited(path, change):
    def make(doc):
        doc = copy.deepcopy(unseal(doc))
        try:
            change(at_place(doc, path[:-1]), path[-1])
        except (KeyError, IndexError):
            return None
        return dump(doc)
    return make


def put(name, path, value, says=None, is_data=True):
    def change(parent, key):
        if isinstance(key, int):
            parent[key]  # IndexError: there is no such entry here  # pylint: disable=W0104
        parent[key] = value(parent[key]) if callable(value) else value
    CASES[name] = Case(edited(path, change), "manifest.json: " + (says or dotted(path)), is_data)


def drop(name, path):
    CASES[name] = Case(edited(path, lambda parent, key: parent.pop(key)),
                       "manifest.json: " + dotted(path) + ": missing")


def text(name, make, says="manifest.json: no JSON", is_data=True):
    CASES[name] = Case(lambda doc: make(dump(unseal(doc))), says, is_data)


def sealed(name, make, says):
    """A manifest with a digest that is the fault."""
    CASES[name] = Case(lambda doc: make(seal(doc)), "manifest.json: digest: " + says)


def mapping(pid=1001, start=0x7f0000000000, end=0x7f0000004000, prot=3, **lock):
    return {"pid": pid, "start": hex(start), "end": hex(end), "prot": prot, **(lock or {"lock": 1})}


def gpu(**changes):
    device = {"uuid": "0123456789abcdef" * 2, "name": "NVIDIA H100 80GB HBM3", "compute": 90,
              "memory_bytes": 85520809984, "used_bytes": 67108864}
    made = {"mode": "staging", "driver": "580.159.04",
            "library": "/usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04",
            "library_build_id": "0123456789abcdef0123456789abcdef01234567", "cuda": 13000,
            "devices": [device],
            "processes": [{"pid": 1000, "restore_tid": 1002, "staging_bytes": 67108864}],
            "staging": [{"pid": 1000, "start": "0x7f0000000000", "end": "0x7f0004000000"}]}
    for place, value in changes.items():
        part, _, member = place.partition("__")
        made[part] = [{**made[part][0], member: value}] if member else value
    return made


def with_gpu(doc):
    """A good one of a CUDA engine, with its members where a capture would put them."""
    made = {}
    for key, value in unseal(doc).items():
        if key == "tree_has_filter":
            made["gpu"] = gpu()
        made[key] = value
    return {**made, "requires": [*made.get("requires", []), "gpu"]}


def with_mappings(doc):
    """A good one that has some, with its members where a capture would put them."""
    some = [mapping(), {key: value for key, value in
                        mapping(start=0x7f0000004000, end=0x7f0000006000, prot=7).items() if key != "lock"},
            mapping(pid=1002, lock=2)]
    made = {}
    for key, value in unseal(doc).items():
        made[key] = value
        if key == "pids":
            made["mappings"] = some
    return {**made, "requires": [*made.get("requires", []), "mappings"]}


ENV, FILES = ("identity", "env"), ("files",)

for _case in [
    ("schema-2", ("schema",), 2, "schema 2"), ("schema-0", ("schema",), 0, "schema 0"),
    ("schema-is-text", ("schema",), "1"),
    ("requires-unknown", ("requires",), ["pages-v2"], "requires 'pages-v2'"),
    ("requires-is-text", ("requires",), "pages-v2"),
    ("requires-holds-number", ("requires",), [2]),
    ("generation-is-path", ("generation",), "../gen-1"),
    ("generation-leading-zero", ("generation",), "gen-01"),
    ("created-local-time", ("created",), "2026-11-24 04:01:23"),
    ("verified-is-number", ("verified",), 1), ("snapinit_version-empty", ("snapinit_version",), ""),
    ("identity-is-list", ("identity",), []), ("argv-empty", ("identity", "argv"), []),
    ("argv-holds-null", ("identity", "argv", 2), None),
    ("cwd-relative", ("identity", "cwd"), "srv"), ("uid-negative", ("identity", "uid"), -1),
    ("uid-is-invalid-uid", ("identity", "uid"), 4294967295),
    ("gid-is-real", ("identity", "gid"), 1000.0),
    ("groups-unsorted", ("identity", "groups"), [1000, 27]),
    ("env_salt-short", ("identity", "env_salt"), "0011"),
    ("env-digest-upper-case", (*ENV, 0, "digest"), "A" * 64),
    ("env-name-with-equals", (*ENV, 0, "name"), "A=B"),
    ("env-unsorted", ENV, lambda env: [{**env[1]}, {**env[0]}] + env[2:]),
    ("env-twice", ENV, lambda env: [env[0], env[0]]),
    ("cpu_flags-holds-number", ("host", "cpu_flags", 3), 7),
    ("cpu_flags-unsorted", ("host", "cpu_flags", 0), "zzz", "host.cpu_flags[1]"),
    ("criu_build_id-odd", ("host", "criu_build_id"), "012"),
    ("caps_effective-is-number", ("host", "caps_effective"), 255),
    ("caps_bounding-17-digits", ("host", "caps_bounding"), "0x1" + "0" * 16),
    ("setting-unknown", ("host", "setting"), "D"),
    ("memory_limit-decimal", ("host", "memory_limit"), "1048576"),
    ("cpus-zero", ("host", "cpus"), 0), ("page_size-tiny", ("host", "page_size"), 512),
    ("file-path-relative", (*FILES, 0, "path"), "models/a"),
    ("file-path-dotdot", (*FILES, 0, "path"), "/models/../etc/shadow"),
    ("file-path-empty-component", (*FILES, 0, "path"), "/models//a"),
    ("file-path-trailing-slash", (*FILES, 0, "path"), "/models/"),
    ("file-path-too-long", (*FILES, 0, "path"), "/" + "a" * 4200),
    ("file-size-negative", (*FILES, 1, "size"), -5),
    ("file-mode-type-bits", (*FILES, 0, "mode"), 0o100644),
    ("file-stored-absolute", (*FILES, 1, "stored"), "/etc/passwd"),
    ("file-stored-dotdot", (*FILES, 1, "stored"), "a/../../b"),
    ("file-stored-blank", (*FILES, 1, "stored"), "a b"),
    ("file-stored-null", (*FILES, 1, "stored"), None),
    ("file-mapped-is-text", (*FILES, 0, "mapped"), "yes"), ("files-is-object", FILES, {}),
    ("dir-path-dot", ("dirs", 0, "path"), "/run/./engine"),
    ("listener-protocol-sctp", ("listeners", 0, "protocol"), "sctp"),
    ("listener-port-too-large", ("listeners", 0, "port"), 65536),
    ("listener-address-name", ("listeners", 0, "address"), "localhost"),
    ("listener-address-other-family", ("listeners", 1, "address"), "127.0.0.1"),
    ("image-name-absolute", ("images", 1, "name"), "/criu/pages-1.img"),
    ("image-name-dotdot", ("images", 1, "name"), "criu/.."),
    ("image-name-climbs", ("images", 1, "name"), "criu/../../x"),
    ("image-in-a-deeper-folder", ("images", 1, "name"), "criu/a/pages-1.img"),
    ("image-is-the-manifest", ("images", 1, "name"), "manifest.json"),
    ("image-twice", ("images",), lambda images: images[:1] + images, "images[1]"),
    ("image-digest-not-hex", ("images", 1, "digest"), "g" * 32),
    ("root_pid-not-in-pids", ("root_pid",), 999), ("pids-zero", ("pids", 0), 0),
    ("pids-too-large", ("pids",), lambda pids: pids[:1] + [4194305], "pids[1]"),
    ("pids-twice", ("pids",), [1000, 1000], "pids[1]"), ("ready-is-list", ("ready",), []),
    ("stdio-two-entries", ("stdio",), ["pipe:[1]", None]),
    ("stdio-is-socket", ("stdio", 1), "socket:[4712]"),
    ("resident_bytes-is-text", ("resident_bytes",), "268435456"),
    ("resident_bytes-is-real", ("resident_bytes",), 2.5e9),
    ("cold_boot_ms-negative", ("cold_boot_ms",), -1),
    ("mapping-overlaps", ("mappings",), [mapping(), mapping(start=0x7f0000003000, end=0x7f0000006000)],
     "mappings["),  # of a snapshot with other pids: its first
    ("mapping-not-pages", ("mappings",), [mapping(start=0x7f0000000001)], "mappings[0]"),
    ("mapping-empty", ("mappings",), [mapping(end=0x7f0000000000)], "mappings[0]"),
    ("mapping-beyond-user-space", ("mappings",), [mapping(end=0xffffffffff000000)], "mappings[0]"),
    ("mapping-pid-not-in-pids", ("mappings",), [mapping(pid=999)], "mappings[0]"),
    ("mappings-unsorted", ("mappings",), [mapping(pid=1002), mapping()], "mappings["),
    ("mapping-prot-8", ("mappings",), [mapping(prot=8)], "mappings[0].prot"),
    ("mapping-lock-3", ("mappings",), [mapping(lock=3)], "mappings[0].lock"),
    ("gpu-mode-unknown", ("gpu",), gpu(mode="magic"), "gpu.mode"),
    ("gpu-storage-without-map", ("gpu",), gpu(mode="storage", staging=[]), "gpu.mode"),
    ("gpu-library-relative", ("gpu",), gpu(library="libcuda.so.1"), "gpu.library"),
    ("gpu-uuid-short", ("gpu",), gpu(devices__uuid="0123"), "gpu.devices[0].uuid"),
    ("gpu-compute-zero", ("gpu",), gpu(devices__compute=0), "gpu.devices[0].compute"),
    ("gpu-without-devices", ("gpu",), gpu(devices=[], processes=[], staging=[]), "gpu: no device"),
    ("gpu-process-not-in-pids", ("gpu",), gpu(processes__pid=999), "gpu.processes[0]"),
    ("gpu-staging-not-pages", ("gpu",), gpu(staging__start="0x7f0000000001"), "gpu."),
    ("gpu-staging-empty", ("gpu",), gpu(staging__end="0x7f0000000000"), "gpu."),
]:
    put(*_case)

for _case in [("schema-missing", ("schema",)), ("nofile-missing", ("host", "nofile")),
              ("image-digest-missing", ("images", 1, "digest"))]:
    drop(*_case)

put("number-too-large", ("resident_bytes",), 99999999999999999999, "no JSON")
put("number-2-to-63", ("resident_bytes",), 1 << 63, "no JSON")
put("nan", ("resident_bytes",), float("nan"), "no JSON")
put("infinity", ("cold_boot_ms",), float("inf"), "no JSON")
put("nul-in-string", ("identity", "cwd"), "/srv\0x", "no JSON")
put("too-deep", ("later",), [[[[[[[[[]]]]]]]]], "takes more than")
put("key-twice-in-object", ("later",), {"a": 1, "b": 1}, "no JSON")
CASES["key-twice-in-object"] = Case(
    lambda doc, make=CASES["key-twice-in-object"].make: make(doc).replace(b'"b": 1', b'"a": 1'),
    "manifest.json: no JSON")
CASES["document-is-list"] = Case(lambda doc: dump([unseal(doc)]), "manifest.json: not an object")
text("key-twice", lambda old: old.replace(b'"verified": true,',
                                          b'"verified": true,\n "verified": false,', 1))
text("truncated", lambda old: old[:len(old) // 2])
text("trailing-garbage", lambda old: old + b"}\n")
text("empty", lambda old: b"")
text("comment", lambda old: b"{ /* no JSON */" + old[1:])
text("not-utf8", lambda old: old.replace(b'"cwd": "/', b'"cwd": "/\xff', 1))
text("nul-byte", lambda old: old.replace(b'"cwd": "/', b'"cwd": "/\0', 1))
text("utf-16", lambda old: old.decode().encode("utf-16"))
sealed("digest-of-other-text", lambda old: old.replace(b'"verified": true', b'"verified": false', 1)
       .replace(b'"frozen_ms": ', b'"frozen_ms": 1', 1), "")
sealed("digest-short", lambda old: old[:-5] + old[-4:], "not 32 lower case")
sealed("digest-missing", lambda old: old[:old.rindex(b",\n")] + b"\n}\n", "missing")
sealed("digest-not-last", lambda old: old[:-3] + b',\n "later": 1\n}\n', "not the last member")

# what must not cost memory or time: too large for tests/data
put("string-of-a-mebibyte", ("identity", "cwd"), "/" + "a" * (1 << 20), is_data=False)
put("path-of-a-mebibyte", (*FILES, 0, "path"), "/" + "a/" * (1 << 19), is_data=False)
put("list-of-100000", ("pids",), list(range(1, 100001)), "pids: more than 65536", is_data=False)
put("list-of-100000-objects", FILES, [{}] * 100000, "files: more than 65536", is_data=False)
put("million-objects", ("later",), [{}] * 500000, "takes more than", is_data=False)
put("million-members", ("later",), {f"{i:x}": 1 for i in range(900000)}, "takes more than",
    is_data=False)
text("ever-deeper", lambda old: b"[" * (8 << 20), "manifest.json: takes more than", False)
text("larger-than-16-mib", lambda old: old + b" " * (16 << 20),
     "'manifest.json' is larger than 16777216", False)


def data_files(good):
    """{name below tests/data: content}; good: the text of good.json"""
    doc = load(good)
    assert seal(doc) == good, "good.json is not sealed, or not laid out as a capture would"
    files = {"manifest/good.json": good, "fuzz/manifest/sealed": good,
             "manifest/good-mappings.json": seal(with_mappings(doc)),
             "manifest/good-gpu.json": seal(with_gpu(doc))}
    for name, case in CASES.items():
        if case.is_data:
            files[f"manifest/should-fail-{name}.json"] = case.make(doc)
    return files
