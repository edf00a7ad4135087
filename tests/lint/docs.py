# SPDX-License-Identifier: MIT
"""Checks of what is shipped beside the code: pages that must tell the truth, the size of the client library."""
import gzip
import re
import subprocess

from tree import BUILD, LAYERS, TOP, Skip, files, read

SDK_LIMITS = {("web/sdk/taskhub.js", "web/sdk/taskhub-task.js", "web/sdk/taskhub-line.js", "web/sdk/taskhub-waits.js"): 8700,
              ("web/sdk/taskhub-audio.js", "web/sdk/taskhub-worklet.js"): 2700}


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


def check_docs_layers():
    """docs/architecture.md lists the layers in their order."""
    listed = re.findall(r"^\| `((?:hub|tasks|handlers)[\w/]*)` \|", read("docs/architecture.md"), flags=re.M)
    if listed != LAYERS:
        yield f"docs/architecture.md: its folders are not the layers of tests/lint/tree.py: {' '.join(listed)}"


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
    for name in files(".c", under="handlers/methods"):
        for method in re.findall(r'^\s*\{\s*(?:\.method\s*=\s*)?"([a-z]+(?:\.[a-z]+)?)",', read(name), flags=re.M):
            if f"`{method}`" not in text:
                yield f"docs/protocol.md: the method {method} is not described"
    for code in re.findall(r"= (-32\d+),", read("handlers/rpc/request.h")):
        if code not in text:
            yield f"docs/protocol.md: the error code {code} is not described"
