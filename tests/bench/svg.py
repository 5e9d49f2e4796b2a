# SPDX-License-Identifier: Apache-2.0
"""The phases of each start to scale: a bar for each rival, a group for each case and page cache."""

import itertools
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 960, 190, 110, 18, 6, 26
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44bb99",
           "#99ddff", "#aaaa00")
REST_COLOUR = "#bbbbbb"


def segments(row):
    """[(name, ms)] that add up to the time of the first answer, as far as phases are known."""
    parts = [(name, value) for name, value in row["phases"].items() if value > 0]
    total = sum(value for _, value in parts)
    rest = row["first_ms_median"] - total
    if rest > 0:
        parts.append(("rest", rest))
    return parts


def text(x, y, content, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{escape(content)}</text>")


def box(x, y, width, colour, title):
    return (f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{BAR}" fill="{colour}">'
            f"<title>{escape(title)}</title></rect>")


def bar(row, y, scale, colour_of):
    yield text(LEFT - 8, y + 13, row["rival"], "end")
    x = LEFT
    for name, value in segments(row):
        yield box(x, y, value * scale, colour_of(name), f"{name} {value:.1f} ms")
        x += value * scale
    yield text(x + 6, y + 13, f"{row['first_ms_median']:.1f} ms")


def group(rows, y, colour_of):
    """(lines, where the next group begins)"""
    lines = [text(8, y + 17, f"{rows[0]['case']}, page cache {rows[0]['cache']}", weight="bold")]
    longest = max(sum(value for _, value in segments(row)) for row in rows)
    scale = (WIDTH - LEFT - RIGHT) / longest if longest else 0
    y += HEAD
    for row in rows:
        lines += bar(row, y, scale, colour_of)
        y += BAR + GAP
    return lines, y + GAP


def legend(names, y, colour_of):
    lines, x = [], 8
    for name in names:
        if x > WIDTH - 120:
            x, y = 8, y + BAR + GAP
        lines += [box(x, y, BAR, colour_of(name), name), text(x + BAR + 5, y + 13, name)]
        x += BAR + 24 + 8 * len(name)
    return lines, y + BAR + GAP


def draw(rows, note):
    names = list(dict.fromkeys(name for row in rows for name, _ in segments(row)))
    known = [name for name in names if name != "rest"]

    def colour_of(name):
        return REST_COLOUR if name == "rest" else COLOURS[known.index(name) % len(COLOURS)]

    lines, y = [], GAP
    ordered = sorted(rows, key=lambda row: (row["case"], row["cache"]))
    for _, members in itertools.groupby(ordered, key=lambda row: (row["case"], row["cache"])):
        more, y = group(list(members), y, colour_of)
        lines += more
    more, y = legend(names, y, colour_of)
    lines += [*more, text(8, y + 13, note)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + HEAD}" '
            f'font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(lines) + "\n</svg>\n")


def write(path, rows, note):
    with open(path, "w", encoding="utf-8") as file:
        file.write(draw(rows, note))
