#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the test suites and sums them up: ./run test [quick|all|PART…]. The last line is "N passed, N failed".

A part stands in one list. `quick` (2 minutes on two quiet cores) is the first list, no word (25 minutes) the
first two, `all` the three; parts run by their names, too.

quick
    lint       the source tree itself (tests/lint)
    unit       C unit tests and the replay of the fuzz corpora (meson)
    telling    the scenarios that tell most: those marked `quick`
test
    fuzz       every fuzz target with libFuzzer for a few seconds
    scenarios  the other scenarios: the real binaries against a real Redis (tests/scenarios, pytest). By name: all
    browser    the page in a real browser (tests/browser)
    way        how many files a task goes through, and how often it is copied (tests/way)
    sanitize   unit tests and main scenarios under ASan + UBSan, and under TSan, side by side
all
    long-fuzz  every fuzz target for a minute
    long       scenarios that take long: many rounds, or much time has to pass
    debian     builds on the next Debian (tests/debian.sh)

A skip that tests/skips does not list is a failure.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

TOP = pathlib.Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
FUZZ_SECONDS = int(os.environ.get("TASKHUB_FUZZ_SECONDS", "5"))
PROCESSES = min(8, os.cpu_count() + 1)  # of scenarios: these wait more than they compute
SANITIZED_PROCESSES = 2  # of each of the two builds, which run side by side
SUPPRESSIONS = TOP / "tests/sanitizers"
SKIPS = [line.split("|")[0].strip() for line in (TOP / "tests/skips").read_text().splitlines()
         if line.strip() and not line.startswith("#")]


class Counts:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def __add__(self, other):
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def say(text):
    print(text, flush=True)


def unlisted(text):
    """Whether a skip with this text is in no line of tests/skips; says so."""
    if any(known in text for known in SKIPS):
        return False
    say(f"a skip that tests/skips does not list: {text}")
    return True


def run(*words, **kwargs):
    """Runs a program from the top of the tree, its output going through; gives the exit code."""
    return subprocess.run([str(word) for word in words], cwd=TOP, check=False, stdin=subprocess.DEVNULL,
                          **kwargs).returncode


def count_tap(text):
    """Checks in TAP output; a plan that does not fit counts as a failure."""
    skips = re.findall(r"^ok .*# SKIP.*", text, flags=re.M)
    failed = len(re.findall(r"^not ok ", text, flags=re.M))
    passed = len(re.findall(r"^ok ", text, flags=re.M)) - len(skips)
    plan = re.search(r"^1\.\.(\d+)(.*)", text, flags=re.M)
    if not plan or int(plan.group(1)) != passed + failed + len(skips):
        failed += 1
    elif plan.group(1) == "0":
        skips.append(plan.group(2))
    return Counts(passed, failed + sum(map(unlisted, skips)), len(skips))


def tap_program(*words, env=None):
    """Runs a program that speaks TAP, showing what failed or was skipped."""
    done = subprocess.run([str(word) for word in words], cwd=TOP, stdout=subprocess.PIPE, text=True,
                          check=False, stdin=subprocess.DEVNULL, env=dict(os.environ, **(env or {})))
    for line in done.stdout.splitlines():
        if line.startswith(("not ok", "#")) or "# SKIP" in line:
            say(line)
    counts = count_tap(done.stdout)
    if done.returncode and not counts.failed:
        say(f"{words[0]} ended with {done.returncode}")
        counts.failed += 1
    return counts


def setup(directory, *options, compiler=None, targets=()):
    """Configures a build directory once, and builds these targets or everything; False if that fails."""
    env = dict(os.environ, **({"CC": compiler} if compiler else {}))
    if not (TOP / directory / "build.ninja").exists():
        done = subprocess.run(["meson", "setup", directory, *options], cwd=TOP, env=env, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            say(done.stdout)
            return False
    return run("ninja", "--quiet", "-C", directory, *targets) == 0


def meson_tests(directory, env=None):
    """Runs meson's tests of a build directory; counts the single checks."""
    log = TOP / directory / "meson-logs/testlog.json"
    log.unlink(missing_ok=True)
    code = run("meson", "test", "-C", directory, "--no-rebuild", "--print-errorlogs", "--num-processes", "2",
               "--timeout-multiplier", "4",
               env=dict(os.environ, **(env or {})), stdout=subprocess.DEVNULL)
    counts = Counts()
    for line in log.read_text().splitlines() if log.exists() else []:
        test = json.loads(line)
        text = test.get("stdout") or ""
        one = count_tap(text) if "1.." in text else Counts(passed=test["result"] == "OK")
        if test["result"] in ("FAIL", "ERROR", "TIMEOUT", "INTERRUPT") and not one.failed:
            one.failed = 1
        if one.failed:
            say(f"--- {test['name']}: {test['result']}\n{text[-4000:]}{(test.get('stderr') or '')[-8000:]}")
        counts += one
    if code and not counts.failed:
        counts.failed = 1
    return counts


def pytest(*words, processes=1, env=None, **kwargs):
    """Runs the scenario tests, in so many processes at once; counts from the report file. The rest goes to run()."""
    env = dict({"TASKHUB_TEST_PROCESSES": str(processes)}, **(env or {}))
    if processes > 1:
        words += ("-n", processes, "--dist", "loadgroup")
    with tempfile.TemporaryDirectory() as directory:
        report = pathlib.Path(directory, "report.xml")
        code = run(PYTHON, "-B", "-m", "pytest", "-c", "tests/scenarios/pytest.ini", "--rootdir",
                   "tests/scenarios", f"--junitxml={report}", "--durations=5", "tests/scenarios", *words,
                   env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1", **env), **kwargs)
        counts = Counts()
        if report.exists():
            for suite in xml.etree.ElementTree.parse(report).getroot().iter("testsuite"):
                failed = int(suite.get("failures")) + int(suite.get("errors"))
                skipped = int(suite.get("skipped"))
                failed += sum(unlisted(skip.get("message", "")) for skip in suite.iter("skipped"))
                counts += Counts(max(0, int(suite.get("tests")) - failed - skipped), failed, skipped)
        if code not in (0, 5) and not counts.failed:
            counts.failed = 1
        return counts


def scenarios(marks):
    """The scenarios with these marks: several at once, then those that want to be alone."""
    if not setup("build"):
        return Counts(failed=1)
    return (pytest("-m", f"({marks}) and not alone", processes=PROCESSES)
            + pytest("-m", f"({marks}) and alone"))


def part_unit():
    return meson_tests("build") if setup("build") else Counts(failed=1)


def part_lint():
    return tap_program(PYTHON, "-B", "tests/lint/run.py")


def part_telling():
    return scenarios("quick")


def part_scenarios():
    return scenarios("not quick and not java and not long")


def npm_ci(folder):
    """Installs what the lockfile names; on failure says what npm said last."""
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(folder)], cwd=TOP, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        say("npm ci failed, the browser tests cannot run. Its last lines:")
        say("\n".join(done.stdout.splitlines()[-20:]))
    return done.returncode == 0


def part_browser():
    """Playwright's own library, by lockfile; the browser is the distribution's."""
    folder = TOP / "tests/browser"
    stamp = folder / "node_modules/.package-lock.json"
    if not stamp.exists() or stamp.stat().st_mtime < (folder / "package-lock.json").stat().st_mtime:
        if not npm_ci(folder):
            return Counts(failed=1)
        stamp.touch()
    sys.path.append(str(TOP / "tests/scenarios"))
    from taskhub import SLOWDOWN
    return tap_program("node", "tests/browser/run.mjs", env={"TASKHUB_TEST_SLOWDOWN": f"{SLOWDOWN:.1f}"})


def part_way():
    """Programs whose functions tell that they are entered, in a build of their own."""
    if not setup("build-way", "-Dc_args=-finstrument-functions",
                 targets=("taskhub", "taskhub-worker", "tests/way/libway.so")):
        return Counts(failed=1)
    return tap_program(PYTHON, "-B", "tests/way/run.py")


def part_fuzz(seconds=FUZZ_SECONDS):
    """A smoke run: new inputs go to a copy of the corpus, a finding is kept in build-fuzz/."""
    names = sorted(source.stem for source in (TOP / "tests/fuzz").glob("fuzz_*.c"))
    if not setup("build-fuzz", "-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                 "-Dc_args=-fsanitize=fuzzer-no-link", compiler="clang",
                 targets=[f"tests/fuzz/{name}" for name in names]):
        return Counts(failed=1)
    counts = Counts()
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copytree(TOP / "tests/fuzz/corpus" / name[5:], pathlib.Path(scratch, "corpus"))
            done = subprocess.run([TOP / "build-fuzz/tests/fuzz" / name, f"-max_total_time={seconds}",
                                   "-timeout=5", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1",
                                   f"-artifact_prefix={TOP}/build-fuzz/{name}-", pathlib.Path(scratch, "corpus")],
                                  capture_output=True, text=True, check=False, cwd=scratch)
        runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        say(f"{name}: {runs.group(1) if runs else '?'} runs{'' if done.returncode == 0 else ', FAILED'}")
        if done.returncode:
            say(done.stderr[-6000:])
        counts += Counts(done.returncode == 0, done.returncode != 0)
    return counts


def sanitized(directory, kind, env):
    """Unit tests and main scenarios of one sanitizer build."""
    if not setup(directory, f"-Db_sanitize={kind}", "-Db_lundef=false", "-Doptimization=1", "-Dwerror=true",
                 compiler="clang"):
        return Counts(failed=1)
    env = dict(env, TASKHUB_TEST_SLOWDOWN="4")
    counts = meson_tests(directory, env)
    say(f"{directory}: unit {counts.passed} passed, {counts.failed} failed")
    env.update(TASKHUB_BUILD=str(TOP / directory), TASKHUB_TEST_PROCESSES=str(2 * SANITIZED_PROCESSES))
    with tempfile.TemporaryFile("w+") as log:  # shown as a whole: the other build's comes at the same time
        counts += pytest("-m", "main", processes=SANITIZED_PROCESSES, env=env, stdout=log, stderr=log)
        log.seek(0)
        say(f"{directory}:\n{log.read()}")
    return counts


def part_sanitize():
    address = {"ASAN_OPTIONS": "abort_on_error=0:detect_stack_use_after_return=1",
               "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
               "LSAN_OPTIONS": f"suppressions={SUPPRESSIONS}/lsan.txt:print_suppressions=0"}
    thread = {"TSAN_OPTIONS": f"halt_on_error=1:suppressions={SUPPRESSIONS}/tsan.txt"}
    kinds = ("build-asan", "address,undefined", address), ("build-tsan", "thread", thread)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return sum(pool.map(lambda words: sanitized(*words), kinds), Counts())


def part_long_fuzz():
    return part_fuzz(60)


def part_java():
    return pytest("-m", "java") if setup("build") else Counts(failed=1)


def part_long():
    return pytest("-m", "long") if setup("build") else Counts(failed=1)


def part_debian():
    """Needs root and debootstrap; the folder is kept, so that the next run is short."""
    if os.geteuid() or not shutil.which("debootstrap"):
        return Counts(failed=unlisted("debian needs root and debootstrap"), skipped=1)
    failed = run("tests/debian.sh", "trixie", TOP / "build-trixie", "build") != 0
    return Counts(not failed, failed)


LISTS = {"quick": {"lint": part_lint, "unit": part_unit, "telling": part_telling},
         "test": {"fuzz": part_fuzz, "scenarios": part_scenarios, "browser": part_browser, "way": part_way,
                  "sanitize": part_sanitize},
         "all": {"long-fuzz": part_long_fuzz, "long": part_long, "java": part_java, "debian": part_debian}}
PARTS = {name: part for parts in LISTS.values() for name, part in parts.items()}


def wanted_parts(words):
    """The parts that the words of the command line name, in the order of the lists; None if one is unknown."""
    names = set()
    for word in words or ["test"]:
        if word in LISTS:
            for name, parts in LISTS.items():
                names.update(parts)
                if name == word:
                    break
        elif word in PARTS:
            names.update(("telling", word) if word == "scenarios" else (word,))
        else:
            print(f"no such part: {word}; there are: quick all {' '.join(PARTS)}", file=sys.stderr)
            return None
    return [name for name in PARTS if name in names]


def main():
    wanted = wanted_parts(sys.argv[1:])
    if wanted is None:
        return 2
    results = {}
    for name in wanted:
        say(f"=== {name}")
        started = time.monotonic()
        counts = PARTS[name]()
        results[name] = counts, time.monotonic() - started
    total = Counts()
    say("\npart       passed failed skipped  seconds")
    for name, (counts, seconds) in results.items():
        total += counts
        say(f"{name:10} {counts.passed:6} {counts.failed:6} {counts.skipped:7} {seconds:8.0f}")
    say(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
