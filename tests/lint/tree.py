# SPDX-License-Identifier: MIT
"""The source tree as the checks see it: its files, their code, their layer. No check is here."""
import os
import pathlib
import re
import shutil
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TASKHUB_BUILD", TOP / "build"))
# The folders of the product from the bottom up: a folder uses itself and those before it. hub/*.c, the
# composition root, stands on top of all.
LAYERS = ["hub/base", "hub/json", "hub/config", "hub/auth", "hub/redis", "hub/sql", "hub/owners", "hub/net",
          "tasks/model", "tasks/store", "tasks/queue", "tasks/speech", "tasks/light", "tasks/heavy", "tasks",
          "tasks/runner", "tasks/runner/threads", "tasks/runner/slots", "tasks/manager", "tasks/worker",
          "handlers/rpc", "handlers/session", "handlers/methods", "hub"]


class Skip(Exception):
    """The check cannot run here."""


def files(*suffixes, under=""):
    """Tracked and new files with one of the suffixes, relative to the top. Without git: all but what a build
    leaves behind."""
    if (TOP / ".git").exists() and shutil.which("git"):
        out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", under or "."],
                             cwd=TOP, capture_output=True, check=True).stdout
        names = [name for name in out.decode().split("\0") if name]
    else:
        skipped = re.compile(r"(^|/)(\.git|build[^/]*|node_modules|\.taskhub|__pycache__)/")
        names = [str(path.relative_to(TOP)) for path in (TOP / under).rglob("*") if path.is_file()]
        names = [name for name in names if not skipped.search(name)]
    return sorted(n for n in set(names) if n.endswith(suffixes or ("",)) and (TOP / n).is_file())


def folder(name):
    return name.rpartition("/")[0]


def is_test(name):
    return name.startswith("tests/") or name.rpartition("/")[2].startswith("test_")


def product(*suffixes):
    """The product's files: those in a layer that are no test."""
    return [name for name in files(*suffixes) if folder(name) in LAYERS and not is_test(name)]


def read(name):
    return (TOP / name).read_text(errors="replace")


def code_lines(name):
    """Lines of a C file without comments and string contents, so that words in them do not count."""
    def blank(match):
        text = match.group(0)
        return '""' if text[0] == '"' else "".join(c if c == "\n" else " " for c in text)
    text = re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, read(name), flags=re.S)
    return text.split("\n")


def tool(name):
    path = shutil.which(name)
    if not path:
        raise Skip(f"{name} is not installed")
    return path


def functions():
    """(file, line, name, length) of every C function."""
    out = subprocess.run([tool("ctags"), "--languages=C", "--c-kinds=f", "--fields=+ne", "-f", "-",
                          *files(".c", ".h")], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        match = re.match(r"(\S+)\t(\S+)\t.*\tline:(\d+).*\tend:(\d+)", line)
        if match:
            name, path, first, last = match.group(1), match.group(2), int(match.group(3)), int(match.group(4))
            yield path, first, name, last - first + 1
