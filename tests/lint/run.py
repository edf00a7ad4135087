#!/usr/bin/env python3
"""Checks of the source tree itself; TAP on stdout. `run.py WORD…` runs the checks with these names.

Each check is a function check_<name>() that yields problems as text ("path:line: what"). A check that
cannot run on this machine raises Skip, which is printed. The file list is git's.
"""
import gzip
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TASKHUB_BUILD", TOP / "build"))

FUNCTION_MAX, FILE_MAX, C_FILE_MAX = 60, 500, 900
CLANG_FORMAT = "14"  # another major version formats differently
BANNED = ("strcpy", "strcat", "sprintf", "atoi", "strtok", "rand", "usleep", "gets", "vsprintf")
# Which top-level folders' headers a folder may include. hub/*.c, the composition root, may all.
MAY_INCLUDE = {"hub": {"hub"}, "tasks": {"hub", "tasks"}, "handlers": {"hub", "tasks", "handlers"},
               "tests": {"hub", "tasks", "handlers", "tests"}}
SDK_LIMITS = {("web/sdk/taskhub.js", "web/sdk/taskhub-task.js"): 6000, ("web/sdk/taskhub-audio.js", "web/sdk/taskhub-worklet.js"): 2500}


class Skip(Exception):
    """The check cannot run here."""


def files(*suffixes, under=""):
    """Tracked and new files with one of the suffixes, relative to the top."""
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", under or "."],
                         cwd=TOP, capture_output=True, check=False)
    if out.returncode:
        skipped = {".git", "build", "node_modules", ".taskhub", "__pycache__"}
        names = [str(p.relative_to(TOP)) for p in TOP.rglob("*")
                 if p.is_file() and not any(part in skipped or part.startswith("build") for part in
                                            p.relative_to(TOP).parts)]
        names = [name for name in names if name.startswith(under)]
    else:
        names = [name for name in out.stdout.decode().split("\0") if name]
    return sorted(n for n in set(names) if n.endswith(suffixes or ("",)) and (TOP / n).is_file())


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


def check_includes():
    """Includes point one way: handlers -> tasks -> hub."""
    for name in files(".c", ".h"):
        folder = "tests" if "/test_" in name else name.split("/")[0]
        if name.rpartition("/")[0] == "hub" or folder not in MAY_INCLUDE:
            continue
        for number, line in enumerate(read(name).split("\n"), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match:
                continue
            target = match.group(1).split("/")[0]
            if "/" in match.group(1) and target not in MAY_INCLUDE[folder]:
                yield f"{name}:{number}: {folder}/ must not include {match.group(1)}"


def check_headers():
    """Every header compiles on its own and is guarded by #pragma once."""
    compiler = tool(os.environ.get("CC", "cc"))
    packages = ["libuv", "hiredis", "libsodium", "jansson", "sqlite3", "libwebsockets"]
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


def functions():
    """(file, line, name, length) of every C function."""
    out = subprocess.run([tool("ctags"), "--languages=C", "--c-kinds=f", "--fields=+ne", "-f", "-",
                          *files(".c", ".h")], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        match = re.match(r"(\S+)\t(\S+)\t.*\tline:(\d+).*\tend:(\d+)", line)
        if match:
            name, path, first, last = match.group(1), match.group(2), int(match.group(3)), int(match.group(4))
            yield path, first, name, last - first + 1


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
        if name == "tests/lint/run.py":
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
            text = read(name).lstrip()
            if text and not text.startswith(marks):
                yield f"{name}: no comment at the top that says what the file owns"


def strip_js(text):
    """JavaScript without comments and leading white space; strings, templates and regular expressions
    with slashes in them stay."""
    token = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`(?:\\.|[^`\\])*`'
                       r'|(?<=[=(,:!&|?])\s*/(?![*/])(?:\\.|\[[^\]]*\]|[^/\\\n])+/|/\*.*?\*/|//[^\n]*', re.S)
    text = token.sub(lambda m: "" if m.group(0).startswith(("/*", "//")) else m.group(0), text)
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())


def check_sdk_size():
    """The client library stays small: gzip -9 after comments are removed."""
    for names, limit in SDK_LIMITS.items():
        present = [name for name in names if (TOP / name).exists()]
        if not present:
            raise Skip(f"{names[0]} does not exist")
        size = sum(len(gzip.compress(strip_js(read(name)).encode(), 9, mtime=0)) for name in present)
        print(f"# {' + '.join(present)}: {size} bytes of {limit}")
        if size > limit:
            yield f"{present[0]}: {size} bytes compressed, at most {limit}"


def check_portable_text():
    """No path of somebody's machine and no package registry's host in what we ship."""
    pattern = re.compile(r"/(?:home|root|Users|workspace|work|builds?|mnt)/(?!x\b)\w"
                         r"|https?://(?:registry\.[\w.]+|files\.pythonhosted\.org|deb\.debian\.org)")
    for name in files():
        if name.startswith("tests/lint/") or name.endswith((".png", ".ico", ".woff2", ".wav", ".raw")):
            continue
        for number, line in enumerate(read(name).split("\n"), 1):
            match = pattern.search(line)
            if match:
                yield f"{name}:{number}: {match.group(0)}"


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


def option_keys():
    return re.findall(r'^OPTION_\w+\("([^"]+)"', read("hub/config/options.def"), flags=re.M)


def check_docs_options():
    """docs/configuration.md holds the table that `taskhub config --document` prints now."""
    page = TOP / "docs/configuration.md"
    if not page.exists():
        yield "docs/configuration.md: missing"
        return
    for key in option_keys():
        if f"`{key}`" not in page.read_text():
            yield f"docs/configuration.md: the option {key} is not described"
    program = BUILD / "taskhub"
    if not program.exists():
        raise Skip("the program is not built")
    done = subprocess.run([str(program), "config", "--document"], capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"taskhub config --document ended with {done.returncode}: {done.stderr.strip()}"
    elif done.stdout not in page.read_text():
        yield "docs/configuration.md: its table is not the one that `taskhub config --document` prints"


def check_docs_links():
    """Links between our own pages lead somewhere."""
    for name in files(".md"):
        text = re.sub(r"```.*?```", "", read(name), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target and not target.startswith("mailto:"):
                if not (TOP / name).parent.joinpath(target).exists():
                    yield f"{name}: no such file: {target}"


def check_docs_protocol():
    """Every method of the dispatch tables, and every error code, stands in docs/protocol.md."""
    page = TOP / "docs/protocol.md"
    if not page.exists():
        yield "docs/protocol.md: missing"
        return
    text = page.read_text()
    for name in files(".c", under="handlers"):
        for method in re.findall(r'^\s*\{\s*(?:\.method\s*=\s*)?"([a-z]+(?:\.[a-z]+)?)",', read(name), flags=re.M):
            if f"`{method}`" not in text:
                yield f"docs/protocol.md: the method {method} is not described"
    for code in re.findall(r"= (-32\d+),", read("handlers/rpc/request.h")):
        if code not in text:
            yield f"docs/protocol.md: the error code {code} is not described"


def main():
    checks = {name[6:]: fn for name, fn in globals().items() if name.startswith("check_")}
    wanted = sys.argv[1:] or list(checks)
    failed = 0
    for number, name in enumerate(wanted, 1):
        title = checks[name].__doc__.split("\n")[0].rstrip(".")
        try:
            problems = list(checks[name]())
        except Skip as reason:
            print(f"ok {number} - {name}: {title} # SKIP {reason}")
            continue
        for problem in problems:
            print(f"#   {problem}")
        print(f"{'not ok' if problems else 'ok'} {number} - {name}: {title}", flush=True)
        failed += bool(problems)
    print(f"1..{len(wanted)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
