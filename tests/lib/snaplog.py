# SPDX-License-Identifier: Apache-2.0
"""snapinit's and snapworker's JSON records, as they stand in a start's stderr among other text."""

import json


def parse(text):
    """Every record in text, in order; what is no record is the engine's own output."""
    records = []
    for line in text.splitlines():
        start = line.find('{"ts":')
        if start < 0:
            continue
        try:
            records.append(json.loads(line[start:]))
        except ValueError:
            continue  # a line that is being written
    return records


def named(records, *events):
    return [record for record in records if record.get("event") in events]


def names(records):
    return [record.get("event") for record in records]
