#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the scdoc source of a manual page from a template docs/man/NAME.SECTION.scd.in.

Prose is in the template; what the tables of options know comes from `snapctl __options` (as a file,
or - for standard input). Lines that begin with @ are replaced:

  @synopsis@       the verb's synopsis
  @option NAME@    term and first sentence of an option; indented lines below it say more
  @options@        all options that the page does not name otherwise
  @verbs@          the verbs, each with its page
  @keys@           the keys of the configuration file
  @markdown FILE@  a document, without its title

A page of options names each option of its program or verb; with --check one that does not is a
fault, and so is a verb without a page; without --check it is told and the options are put at its end.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "man"
DIRECTIVE = re.compile(r"^@(\w+)(?: (\S+))?@$")


def escape(text):
    return re.sub(r"([\\*_~#])", r"\\\1", text)


def sentence(text):
    text = escape(text[0].upper() + text[1:])
    return text if text.endswith(".") else text + "."


def placeholder(option):
    if option["choice"] or not option["value"]:
        return escape(option["value"] or "")
    return "_" + option["value"].replace("_", r"\_") + "_"


def facts(option):
    found = []
    if option["words"] and not option["choice"]:
        found.append(", ".join(escape(word) for word in option["words"].split("|")))
    if option["default"] is not None:
        found.append(f"default {escape(option['default'])}")
    if option["env"]:
        found.append(f"*{option['env']}*")
    if option["key"]:
        found.append(f"key *{option['key']}*")
    return "\t(" + "; ".join(found) + ")" if found else None


def term(option):
    letter = f"*-{option['letter']}*, " if option["letter"] else ""
    return f"{letter}*--{option['name']}* {placeholder(option)}".rstrip()


def entry(option, more=()):
    """An option's term, its first sentence, what the template adds, and the facts."""
    lines = [term(option), "\t" + sentence(option["help"]), *more]
    told = facts(option)
    return lines + ([told] if told else []) + [""]


def synopsis(verb):
    usage = escape(verb["usage"])
    usage = re.sub(r"--[a-z-]+", r"*\g<0>*", usage)
    usage = re.sub(r"\b[A-Z]{2,}\b|\b(?:command|argument|verb)\b", r"_\g<0>_", usage)
    return [f"*snapctl {verb['name']}* {usage}".rstrip()]


# --- markdown -------------------------------------------------------------------------------------

def inline(text):
    """`code`, *emphasis* and [links](to) of one line as scdoc has them."""
    text = re.sub(r"\[([^\]`]+)\]\([^)]+\)", r"\1", text)
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(f"*{escape(part[1:-1])}*" if part.startswith("`") and len(part) > 2
                   else re.sub(r"(?<![\w\\])\\\*([^*]+)\\\*", r"_\1_", escape(part))
                   for part in parts)


def cells(line):
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def table(rows):
    """A definition list: the first column is the term, the last says what it means."""
    lines = []
    for row in rows:
        first, *middle, last = row
        between = " ".join(inline(cell) for cell in middle if cell)
        lines += [f"{inline(first)}{' (' + between + ')' if between else ''}",
                  "\t" + (inline(last) if last else "The same."), ""]
    return lines


def markdown(text):
    lines, out, at = text.splitlines(), [], 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("# "):
            pass
        elif line.startswith("## "):
            out += ["## " + inline(line[3:]).replace("*", ""), ""]
        elif line.startswith("|"):
            rows = []
            while at < len(lines) and lines[at].startswith("|"):
                rows.append(cells(lines[at]))
                at += 1
            out += table(rows[2:])
            continue
        elif line.strip():
            out.append(inline(line))
        elif out and out[-1]:
            out.append("")
        at += 1
    return out


# --- pages ----------------------------------------------------------------------------------------

class Page:
    def __init__(self, path, tables):
        self.path, self.tables = path, tables
        self.name, self.section = path.name.removesuffix(".scd.in").rsplit(".", 1)
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.verb = next((verb for verb in tables["verbs"]
                          if self.name == f"snapctl-{verb['name']}"), None)
        self.options = self.verb["options"] if self.verb else \
            tables["snapinit"] if self.name == "snapinit" else []
        self.faults = []
        self.named = [match[2] for match in map(DIRECTIVE.match, self.lines)
                      if match and match[1] == "option"]

    def fault(self, number, text):
        self.faults.append(f"{self.path}:{number}: {text}")

    def rest(self):
        return [option for option in self.options if option["name"] not in self.named]

    def directive(self, number, what, arg, more):
        if what == "option":
            found = [option for option in self.options if option["name"] == arg]
            if not found or self.named.count(arg) > 1:
                self.fault(number, f"--{arg} is {'named twice' if found else 'no option'}")
            return entry(found[0], more) if found else []
        if what == "options":
            return [line for option in self.rest() for line in entry(option)]
        if what == "synopsis" and self.verb:
            return synopsis(self.verb)
        if what == "verbs":
            return [line for verb in self.tables["verbs"]
                    for line in (f"*{verb['name']}*", f"\t{sentence(verb['help'])} See "
                                 f"*snapctl-{verb['name']}*(1).", "")]
        if what == "keys":
            return [line for option in self.tables["snapinit"] if option["key"]
                    for line in entry(dict(option, letter=None, env=None, key=None),
                                      [f"\tAs *--{option['name']}* of *snapinit*(1)."])]
        if what == "markdown":
            return markdown((ROOT / arg).read_text(encoding="utf-8"))
        self.fault(number, f"@{what}@ is nothing here")
        return []

    def make(self):
        out, at = [], 0
        while at < len(self.lines):
            match = DIRECTIVE.match(self.lines[at])
            at += 1
            if not match:
                out.append(self.lines[at - 1])
                continue
            number, more = at, []
            while match[1] == "option" and at < len(self.lines) and self.lines[at].startswith("\t"):
                more.append(self.lines[at])
                at += 1
            made = self.directive(number, match[1], match[2], more)
            # an entry brings its empty line
            if made and not made[-1] and at < len(self.lines) and not self.lines[at]:
                at += 1
            out += made
        if self.rest() and "@options@" not in self.lines:
            for option in self.rest():
                self.fault(len(self.lines), f"--{option['name']} is not told: add a line "
                           f"'@option {option['name']}@', and below it what more there is to say")
            out += ["", "# FURTHER OPTIONS", ""]
            out += [line for option in self.rest() for line in entry(option)]
        # terms of keys have no dashes
        if self.section == "5":
            out = [re.sub(r"^\*--([a-z-]+)\*", r"*\1*", line) for line in out]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).rstrip("\n") + "\n"


def check(tables, folder=PAGES):
    """Faults of all pages together."""
    paths = sorted(folder.glob("*.scd.in"))
    faults = []
    for path in paths:
        page = Page(path, tables)
        page.make()
        faults += page.faults
    names = {path.name.removesuffix(".scd.in") for path in paths}
    wanted = {f"snapctl-{verb['name']}.1" for verb in tables["verbs"]} | {"snapinit.1", "snapctl.1"}
    faults += [f"{folder}: there is no {name}.scd.in" for name in sorted(wanted - names)]
    known = wanted | {"snapinit.conf.5", "snapinit-manifest.5", "snapinit-events.7"}
    faults += [f"{folder}/{name}.scd.in: no verb of that name" for name in sorted(names - known)]
    return faults


def check_built(folder):
    """Every template's page is there, and scdoc takes its source."""
    faults = []
    for template in sorted(PAGES.glob("*.scd.in")):
        name = template.name.removesuffix(".scd.in")
        page, source = folder / name, folder / f"{name}.scd"
        if not page.is_file() or not source.is_file():
            faults.append(f"{folder}: {name} was not built")
            continue
        done = subprocess.run(["scdoc"], input=source.read_bytes(), capture_output=True, check=False)
        if done.returncode != 0 or b".TH" not in page.read_bytes():
            faults.append(f"{source}: {done.stderr.decode().strip() or 'no manual page'}")
    return faults


def self_test():
    def option(name):
        return {"name": name, "letter": None, "value": None, "env": None, "key": None,
                "default": None, "words": None, "choice": False, "repeatable": False, "help": "x"}

    tables = {"snapinit": [option("told"), option("untold")],
              "verbs": [{"name": "go", "usage": "", "help": "x", "options": [option("a")]}]}
    pages = {
        "snapinit.1.scd.in": "@option told@\n@option gone@\n@nonsense@\n",
        "snapctl-go.1.scd.in": "@option a@\n@option a@\n",
        "snapctl-good.1.scd.in": "@options@\n",
    }
    wanted = ["--untold is not told", "--gone is no option", "@nonsense@ is nothing here",
              "--a is named twice", "--a is named twice", "no snapctl.1.scd.in",
              "snapctl-good.1.scd.in: no verb of that name"]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in pages.items():
            pathlib.Path(folder, name).write_text(text, encoding="utf-8")
        faults = check(tables, pathlib.Path(folder))
    missed = [text for text in wanted if not any(text in fault for fault in faults)]
    if missed or len(faults) != len(wanted):
        print(f"self-test: missed {missed} in {faults}")
        return 1
    print(f"self-test: {len(wanted)} faults found, none invented")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", help="what snapctl __options says")
    parser.add_argument("--check", action="store_true", help="look for faults in all pages")
    parser.add_argument("--built", type=pathlib.Path, help="with --check: folder of the built pages")
    parser.add_argument("--self-test", action="store_true", help="prove that faults are found")
    parser.add_argument("template", nargs="?", type=pathlib.Path)
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if not args.tables or bool(args.template) == args.check:
        parser.error("--tables, and a template or --check")
    with (sys.stdin if args.tables == "-" else open(args.tables, encoding="utf-8")) as file:
        tables = json.load(file)
    if args.check:
        faults = check(tables)
        if args.built and shutil.which("scdoc"):
            faults += check_built(args.built)
        print("\n".join(faults))
        if not faults and args.built and not shutil.which("scdoc"):
            print("SKIP: scdoc not found, the pages were not built")
            return 77
        return 1 if faults else 0
    page = Page(args.template, tables)
    sys.stdout.write(page.make())
    for fault in page.faults:
        print(fault, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
