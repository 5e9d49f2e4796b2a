# SPDX-License-Identifier: Apache-2.0
"""How long an engine stands still while it is captured: `criu dump` against snapinit's capture."""

import json
import os
import statistics

import clock
import memory
from box import CriuBox, SnapinitBox
from cases import get
from criu_tool import SERVING_OPTIONS, read_stats
from failure import BenchError, say, say_error
from rivals import CAPTURE_LIMIT_S, ROOT_PID, capture_argv

COMPRESSORS = ("none", "lz4", "zstd")
HEALTH = get("/health")


class CriuDump:
    name = "criu dump"

    def __init__(self, context):
        self.context = context

    def run(self):
        context, case = self.context, self.context.case
        images = context.new_folder("images")
        box = CriuBox(context.new_folder("dump"), context.keeper)
        box.logs.append(os.path.join(images, "dump.log"))
        try:
            box.run(case.argv, env=dict(case.env), pid=ROOT_PID)
            answer = clock.measure(box.pid, case, lambda: None).answer
            client = clock.Silence(box.pid, HEALTH)
            try:
                reply = box.run(context.criu.dump(ROOT_PID, images, *SERVING_OPTIONS), wait=True)
            finally:
                silence_ms = client.end()
            if clock.measure(box.pid, case, lambda: None).answer != answer:
                raise BenchError("the engine answers otherwise after the dump", box.log())
        finally:
            box.end()
        stats = read_stats(images, "dump")
        return {"frozen_ms": stats["frozen"], "silence_ms": silence_ms,
                "whole_ms": (reply["ended_ns"] - reply["began_ns"]) / 1e6,
                "bytes": memory.stored_bytes(images), "phases": stats}


class SnapinitCapture:
    def __init__(self, context, name="snapinit", flags=()):
        self.context = context
        self.name = name
        self.flags = list(flags)

    def run(self):
        context, case = self.context, self.context.case
        store = os.path.join(context.new_folder("store"), "snapshot")
        box = SnapinitBox(context.new_folder("capture"), capture_argv(context, store, self.flags),
                          dict(case.env))
        try:
            client = clock.Silence(box.pid, HEALTH)
            try:
                done = box.record("capture.done", "capture.failed", seconds=CAPTURE_LIMIT_S)
            finally:
                silence_ms = client.end()
            if done["event"] != "capture.done":
                raise BenchError(f"capture: {done['msg']}", box.log())
            clock.measure(box.pid, case, box.check)
            record = box.record("capture.phases")
        finally:
            box.end()
        return {"frozen_ms": self.frozen_ms(store), "silence_ms": silence_ms,
                "whole_ms": record["dur_ms"], "bytes": memory.stored_bytes(store),
                "phases": {name[:-3]: value for name, value in record.items()
                           if name.endswith("_ms") and name != "dur_ms"}}

    @staticmethod
    def frozen_ms(store):
        for path in memory.files_below(store):
            if os.path.basename(path) == "manifest.json":
                with open(path, encoding="utf-8") as file:
                    return json.load(file)["frozen_ms"]
        raise BenchError(f"no manifest in {store}")


def captures_for(context, offered):
    made = [CriuDump(context), SnapinitCapture(context)]
    for name in COMPRESSORS:
        if offered.offers("--compress", name):
            made.append(SnapinitCapture(context, f"snapinit {name}", ("--compress", name)))
        else:
            say(f"left out: snapinit --compress {name}, this snapinit does not offer it")
    return made


def row_of(case, capture, results):
    def median(what):
        values = [result[what] for result in results if result[what] is not None]
        return round(statistics.median(values), 3) if values else None

    return {"case": case.name, "how": capture.name, "rounds": len(results),
            "frozen_ms": median("frozen_ms"), "silence_ms": median("silence_ms"),
            "whole_ms": median("whole_ms"), "bytes": int(median("bytes")),
            "phases": {name: round(statistics.median(result["phases"][name] for result in results),
                                   3) for name in results[0]["phases"]}}


def measure(context, offered, rounds):
    """(rows, did all go well?)"""
    captures = captures_for(context, offered)
    results, failed = {capture.name: [] for capture in captures}, set()
    for number in range(rounds):
        for capture in captures:
            if capture.name in failed:
                continue
            try:
                memory.settle(2 * context.case.memory)
                results[capture.name].append(capture.run())
            except BenchError as error:
                failed.add(capture.name)
                say_error(BenchError(f"{context.case.name}: {capture.name}: {error}", error.log))
        say(f"{context.case.name}: capture, round {number + 1} of {rounds}")
    return [row_of(context.case, capture, results[capture.name]) for capture in captures
            if results[capture.name] and capture.name not in failed], not failed
