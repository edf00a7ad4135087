# SPDX-License-Identifier: MIT
"""Checks of the plan of the tree: a folder is a library is a layer, and uses only those below it."""
import collections
import json
import re
import subprocess

from tree import BUILD, LAYERS, TOP, Skip, code_lines, files, folder, functions, is_test, product, read, tool

FOLDER_MAX = 25  # .c files, tests not counted
TYPE_FOLDERS = ("tasks/light", "tasks/heavy")  # one file per task type, as many as there are types
KNOT_MAX = 2
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def includes(name):
    """(line, path) of the project's own files that a file includes."""
    for number, line in enumerate(read(name).split("\n"), 1):
        match = INCLUDE.match(line)
        if match:
            target = match.group(1)
            yield number, target if "/" in target else f"{folder(name)}/{target}"


def level(name):
    """The layer of a file by its folder; tests stand on top of all."""
    if name.startswith("tests/") or folder(name) not in LAYERS:
        return len(LAYERS)
    return LAYERS.index(folder(name))


def check_includes():
    """A file includes only what its own folder and those below hold; tests/lib is for tests."""
    for name in files(".c", ".h"):
        for number, target in includes(name):
            if is_test(name) and target.startswith("tests/"):
                continue
            if level(target) > level(name):
                yield f"{name}:{number}: {target} is above"


def check_private_headers():
    """A *_private.h stays within its folder, and no .c file is included."""
    for name in files(".c", ".h"):
        for number, target in includes(name):
            if target.endswith("_private.h") and folder(target) != folder(name):
                yield f"{name}:{number}: {target} is private to {folder(target)}/"
            if target.endswith(".c"):
                yield f"{name}:{number}: includes {target}"


def check_folders():
    """A folder is a layer with a header of its own and at most 25 .c files."""
    counts = collections.Counter(folder(name) for name in files(".c") if not is_test(name))
    for name, count in sorted(counts.items()):
        if name not in LAYERS:
            yield f"{name}/: not in the list of layers (tests/lint/tree.py)"
        elif name not in TYPE_FOLDERS and count > FOLDER_MAX:
            yield f"{name}/: {count} .c files, at most {FOLDER_MAX}"
        elif name not in TYPE_FOLDERS and not any(folder(header) == name for header in files(".h", under=name)):
            yield f"{name}/: no header"


def objects():
    """Object file → source, as the path in the tree, of the product's objects in the build directory."""
    commands = BUILD / "compile_commands.json"
    if not commands.exists():
        raise Skip("nothing is built")
    found = {}
    for command in json.loads(commands.read_text()):
        source = (BUILD / command["file"]).resolve()
        base = BUILD.resolve() if source.is_relative_to(BUILD.resolve()) else TOP
        if not source.is_relative_to(base):
            raise Skip("the build directory is that of another tree")
        name = str(source.relative_to(base))
        output = BUILD / command["output"]
        if folder(name) in LAYERS and not is_test(name) and "tests/" not in command["output"] and output.exists():
            found[str(output)] = name
    return found


def symbols():
    """(symbol → (source, whether a function)) of what is defined, source → set of what it lacks."""
    paths = objects()
    out = subprocess.run([tool("nm"), "-A", "-p", "--no-demangle", *paths], capture_output=True, text=True,
                         check=True).stdout
    defined, lacks = {}, collections.defaultdict(set)
    for line in out.splitlines():
        path, _, rest = line.rpartition(".o:")
        kind, symbol = rest.split()[-2:]
        if kind == "U":
            lacks[paths[path + ".o"]].add(symbol)
        elif kind.isupper() and symbol != "main":
            defined[symbol] = paths[path + ".o"], kind in "TW"
    return defined, lacks


def check_links():
    """What a folder's objects lack is defined in a folder below."""
    defined, lacks = symbols()
    for name, wanted in sorted(lacks.items()):
        for symbol in sorted(wanted & defined.keys()):
            if level(defined[symbol][0]) > level(name):
                yield f"{name}: {symbol} is defined above, in {defined[symbol][0]}"


def components(edges):
    """Strongly connected sets of a graph (Tarjan, without recursion)."""
    index, low, stack, found = {}, {}, [], []
    for root in sorted(edges):
        work = [(root, iter(sorted(edges[root])))] if root not in index else []
        while work:
            node, targets = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
            for target in targets:
                if target not in index:
                    work.append((target, iter(sorted(edges.get(target, ())))))
                    break
                if target in stack:
                    low[node] = min(low[node], low[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    found.append(sorted(stack[at:]))
                    del stack[at:]
    return found


def check_knots():
    """At most two .c files need each other."""
    defined, lacks = symbols()
    edges = {name: {defined[symbol][0] for symbol in wanted & defined.keys() if defined[symbol][1]} - {name}
             for name, wanted in lacks.items()}
    for knot in components(edges):
        if len(knot) > KNOT_MAX:
            yield f"{knot[0]}: {len(knot)} files need each other: {' '.join(knot)}"


def check_state():
    """Every write of a state is in a function whose name ends in _become."""
    write = re.compile(r"[\w\])](?:\.|->)state\s*(?:=(?!=)|[-+|&^]=|\+\+|--)")
    inside = collections.defaultdict(list)
    for path, first, name, length in functions():
        inside[path].append((first, first + length - 1, name))
    for path in product(".c", ".h"):
        for number, line in enumerate(code_lines(path), 1):
            if write.search(line):
                owner = [name for first, last, name in inside[path] if first <= number <= last]
                if not owner or not owner[0].endswith("_become"):
                    yield f"{path}:{number}: {owner[0] if owner else 'no function'} writes a state"
