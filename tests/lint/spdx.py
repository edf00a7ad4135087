#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The licence line of every source file: checked with the other checks; run as a program, adds it where it lacks."""
from tree import TOP, files, read

LINE = "SPDX-License-Identifier: MIT"
FORMS = {(".c", ".h", ".def", ".def.in", ".js", ".mjs", ".css"): f"/* {LINE} */", (".lua",): f"-- {LINE}",
         (".html", ".svg"): f"<!-- {LINE} -->", (".py", ".sh", "meson.build", "meson_options.txt"): f"# {LINE}"}
FIRST = ("#!", "<!doctype", "<!DOCTYPE", "<?xml")  # lines that must stay the first


def form(name):
    """The licence line as this file would write it, None for what is no source file."""
    for suffixes, line in FORMS.items():
        if name.endswith(suffixes):
            return line
    return f"# {LINE}" if name in ("run", ".ci/run") else None


def without(text):
    """A text without its licence line."""
    return "\n".join(line for line in text.split("\n") if LINE not in line)


def check_spdx():
    """Every source file says its licence, near its top."""
    for name in files():
        line = form(name)
        if line and line not in read(name).split("\n")[:2]:
            yield f"{name}: no line '{line}' (tests/lint/spdx.py adds it)"


def main():
    for name in files():
        line, text = form(name), read(name)
        if line and line not in text.split("\n")[:2]:
            first, rest = text.split("\n", 1) if text.startswith(FIRST) else ("", text)
            (TOP / name).write_text((first + "\n" if first else "") + line + "\n" + rest)
            print(name)


if __name__ == "__main__":
    main()
