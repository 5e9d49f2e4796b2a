# SPDX-License-Identifier: Apache-2.0
"""CRIU's command line, and what its statistics say."""

import os
import struct

IMG_SERVICE_MAGIC = 0x55105940
STATS_MAGIC = 0x57093306
DUMP_FIELDS = {1: "freezing", 2: "frozen", 3: "memdump", 4: "memwrite"}
RESTORE_FIELDS = {3: "forking", 4: "restore"}

DUMP_OPTIONS = ("--manage-cgroups=ignore", "--file-validation", "filesize")
# while a client asks: connections of that moment are neither locked nor an obstacle
SERVING_OPTIONS = ("--leave-running", "--tcp-established", "--skip-in-flight", "--network-lock",
                   "skip")
RESTORE_OPTIONS = ("--restore-detached", "--manage-cgroups=ignore", "--file-validation", "filesize",
                   "--skip-file-rwx-check", "-v1")


class Criu:
    def __init__(self, programs):
        paths = programs.paths
        # by its own ld.so, as snapinit starts it: the engine may have the other one mapped
        self.prefix = [paths["CRIU_LDSO"], "--library-path", paths["CRIU_LIBPATH"],
                       paths["CRIU_BIN"]]

    def dump(self, pid, images, *more):
        return [*self.prefix, "dump", "-t", str(pid), "-D", images, "-o", "dump.log", "-v1",
                *DUMP_OPTIONS, *more]

    def restore(self, images, work, *more):
        return [*self.prefix, "restore", "-D", images, "-W", work, "-o", "restore.log",
                *RESTORE_OPTIONS, *more]

    def lazy_pages(self, images, work):
        return [*self.prefix, "lazy-pages", "-D", images, "-W", work, "-o", "lazy.log", "-v1",
                "--status-fd", "{fd}"]


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _fields(data):
    """(number, value) of a protobuf message of varints and messages."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        elif key & 7 != 0:
            raise ValueError(f"wire type {key & 7}")
        yield key >> 3, value


def read_stats(folder, kind):
    """{name: milliseconds} of stats-dump or stats-restore; kind is the part after the hyphen."""
    with open(os.path.join(folder, f"stats-{kind}"), "rb") as file:
        service, magic, size = struct.unpack("<III", file.read(12))
        entry = file.read(size)
    if (service, magic) != (IMG_SERVICE_MAGIC, STATS_MAGIC):
        raise ValueError(f"{folder}/stats-{kind} has another format")
    wanted, names = (1, DUMP_FIELDS) if kind == "dump" else (2, RESTORE_FIELDS)
    inner = dict(_fields(entry)).get(wanted, b"")
    return {names[number]: value / 1000 for number, value in _fields(inner) if number in names}
