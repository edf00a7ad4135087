# SPDX-License-Identifier: MIT
"""Checks of single source files: format, length, words, comments."""
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile

import spdx
from tree import TOP, Skip, code_lines, files, functions, is_test, product, read, tool

FUNCTION_MAX, FUNCTION_MEDIAN, FILE_MAX, C_FILE_MAX = 60, 11, 500, 900
STAND_INS_MAX = 400
CLANG_FORMAT = "14"  # another major version formats differently
BANNED = ("strcpy", "strcat", "sprintf", "atoi", "strtok", "rand", "usleep", "gets", "vsprintf")


def check_format():
    """C files are as clang-format leaves them."""
    binary = shutil.which(f"clang-format-{CLANG_FORMAT}") or tool("clang-format")
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    if f"version {CLANG_FORMAT}." not in version:
        raise Skip(f"needs clang-format {CLANG_FORMAT}, this is {version.strip()}")
    done = subprocess.run([binary, "--dry-run", "-Werror", *files(".c", ".h")], cwd=TOP, capture_output=True,
                          text=True, check=False)
    seen = set()
    for line in done.stderr.splitlines():
        match = re.match(r"(\S+?):(\d+):\d+: error", line)
        if match and match.group(1) not in seen:
            seen.add(match.group(1))
            yield f"{match.group(1)}:{match.group(2)}: not formatted (clang-format -i)"


def check_headers():
    """Every header compiles on its own and is guarded by #pragma once."""
    compiler = tool(os.environ.get("CC", "cc"))
    packages = ["libuv", "hiredis", "libsodium", "jansson", "sqlite3"]
    flags = subprocess.run(["pkg-config", "--cflags", *packages], capture_output=True, text=True,
                           check=True).stdout.split()
    with tempfile.TemporaryDirectory() as directory:
        for name in files(".h"):
            if "#pragma once" not in read(name):
                yield f"{name}: no #pragma once"
            source = pathlib.Path(directory, "header.c")
            source.write_text(f'#include "{name}"\n#include "{name}"\n')
            done = subprocess.run([compiler, "-std=gnu11", "-D_GNU_SOURCE", "-fsyntax-only", "-Wall", "-Wextra",
                                   "-I", str(TOP), *flags, str(source)], capture_output=True, text=True,
                                  check=False)
            if done.returncode:
                yield f"{name}: not self-contained: {done.stderr.splitlines()[0]}"


def check_function_length():
    """No C function is longer than 60 lines."""
    for path, line, name, length in functions():
        if length > FUNCTION_MAX:
            yield f"{path}:{line}: {name}() has {length} lines, at most {FUNCTION_MAX}"


def check_file_length():
    """No C file is longer than 900 lines, no other one longer than 500."""
    for name in files(".c", ".h", ".lua", ".js", ".mjs", ".css", ".py", ".html"):
        count, limit = read(name).count("\n"), C_FILE_MAX if name.endswith(".c") else FILE_MAX
        if count > limit:
            yield f"{name}: {count} lines, at most {limit}"


def check_banned():
    """No function that invites overflows, hidden state or lost errors; no leftovers."""
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    leftover = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for name in files(".c", ".h"):
        for number, line in enumerate(code_lines(name), 1):
            for match in call.finditer(line):
                yield f"{name}:{number}: {match.group(1)}() is banned"
    for name in files(".c", ".h", ".lua", ".js", ".mjs", ".css", ".py", ".html", ".md", "run", ".build"):
        if name == "tests/lint/source.py":
            continue
        for number, line in enumerate(read(name).split("\n"), 1):
            match = leftover.search(line)
            if match:
                yield f"{name}:{number}: {match.group(1)} left in the code"


def check_head_comment():
    """Every file says at its top what it owns."""
    starts = {(".c", ".h", ".js", ".mjs", ".css"): ("/*", "//"), (".lua",): ("--", "#!lua"), (".def",): ("/*",),
              (".py",): ('"""', "#!/usr/bin/env python3\n\"\"\""), (".build",): ("#", "project(")}
    for suffixes, marks in starts.items():
        for name in files(*suffixes):
            text = spdx.without(read(name)).lstrip()
            if text and not text.startswith(marks):
                yield f"{name}: no comment at the top that says what the file owns"


def check_stand_ins():
    """What unit tests put in the place of a part of the product is at most 400 lines, in sections that say so."""
    tables = "(owner_source|member_ops|answerer_ops|conn_ops|task_ctx_ops|engine|handler)"
    table = re.compile(rf"struct {tables}\b[^;()]*= \{{|\(struct {tables}\)\s*\{{")
    count = 0
    for name in files(".c", ".h"):
        if not is_test(name) or (name.startswith(("tests/lib/", "tests/bench/")) and name.endswith(".c")):
            continue  # a program of its own
        inside = False
        for number, line in enumerate(read(name).split("\n"), 1):
            if line.startswith("/* ---- "):
                inside = line.startswith("/* ---- stand-in: ")
            count += inside
            if not inside and table.search(line):
                yield f"{name}:{number}: a stand-in outside a section /* ---- stand-in: … ---- */"
    print(f"# {count} lines of stand-ins, at most {STAND_INS_MAX}")
    if count > STAND_INS_MAX:
        yield f"{count} lines of stand-ins, at most {STAND_INS_MAX}"


def check_shell():
    """shellcheck finds nothing in the shell scripts."""
    scripts = [name for name in files() if name in ("run", ".ci/run") or name.endswith(".sh")]
    done = subprocess.run([tool("shellcheck"), "--format=gcc", *scripts], cwd=TOP, capture_output=True,
                          text=True, check=False)
    yield from done.stdout.splitlines()


def check_lua():
    """The queue's Lua parses as Lua 5.1, which Redis runs."""
    compiler = shutil.which("luac5.1") or tool("luac")
    for name in files(".lua"):
        text = read(name)
        if text.startswith("#!"):
            text = "--" + text  # the registration line of a function library
        done = subprocess.run([compiler, "-p", "-"], input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"{name}: {done.stderr.strip()}"


def check_python():
    """Python files compile."""
    for name in files(".py"):
        try:
            compile(read(name), name, "exec")
        except SyntaxError as error:
            yield f"{name}:{error.lineno}: {error.msg}"


def check_function_median():
    """The functions of the product stay short: their median is at most 11 lines."""
    names = set(product(".c", ".h"))
    median = statistics.median(length for path, _, _, length in functions() if path in names)
    print(f"# median {median:g} lines, at most {FUNCTION_MEDIAN}")
    if median > FUNCTION_MEDIAN:
        yield f"the median is {median:g} lines, at most {FUNCTION_MEDIAN}"


def check_rulers():
    """No ruler (a comment with a row of dashes) is broken over two lines."""
    broken = re.compile(r"\s*(?:/\*[^/]*-{4,}(?!.*\*/)|\*?\s*-{2,}\s*\*/|\* .*-{4,}\s*\*/)")
    for name in files(".c", ".h", ".def"):
        for number, line in enumerate(read(name).split("\n"), 1):
            if broken.match(line):
                yield f"{name}:{number}: a broken ruler"
