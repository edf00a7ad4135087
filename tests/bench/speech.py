#!/usr/bin/env python3
"""Measures the speech task on the LibriVox recordings of Debian's pocketsphinx-testdata, on an idle machine:

    tests/bench/speech.py [BUILD]

Word errors, CPU per second of audio and memory of a child with the audio given at once; then, at the pace of
speech: first text after the first word began, live text behind the speech (an event's time less the end of
the audio its text was made from), and the final text after the end of the audio."""
import os
import pathlib
import sys

if len(sys.argv) > 1:
    os.environ["TASKHUB_BUILD"] = sys.argv[1]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))
from speech import LIBRIVOX, edit_distance, speech, transcription  # noqa: E402 (needs the path above)

FILE = {"format": {"encoding": "file"}}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def at_once(files):
    errors = words = cpu = seconds = rss = private = 0
    for path, run in zip(files, speech(*files, args=FILE)):
        expected = transcription(path).replace("mister", "mr").split()
        errors += edit_distance(expected, run.result["text"].split())
        words += len(expected)
        cpu += run.end["cpu_ms"] / 1000
        seconds += run.result["duration_s"]
        rss, private = max(rss, run.end["rss_kb"]), max(private, run.end["private_kb"])
    yield "word error rate", f"{100 * errors / words:.1f} % of {words} words"
    yield "CPU per second of audio", f"{cpu / seconds:.3f} s"
    yield "memory of a child", f"{rss / 1024:.0f} MiB, {private / 1024:.0f} MiB of it private"


def at_pace(files):
    first, behind, final = [], [], []
    for run in speech(*files, args=FILE, pace=1):
        words = run.result["words"]
        shown = [event["at_ms"] for event in run.events if event["event"] in ("partial", "final")]
        first.append(shown[0] - 1000 * words[0]["start"])
        final.append(shown[-1] - 1000 * run.result["duration_s"])
        behind += [event["at_ms"] - 1000 * event["meta"]["end"] for event in run.events
                   if event["event"] == "partial"]
    yield "first text after the first word began", f"{max(first):.0f} ms at most"
    yield "live text behind the speech", f"{percentile(behind, .5):.0f} ms median, {percentile(behind, .95):.0f} ms p95"
    yield "final text after the end", f"{percentile(final, .5):.0f} ms median, {max(final):.0f} ms at most"


def main():
    files = sorted(LIBRIVOX.glob("*.wav"))
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    for part in (at_once, at_pace):
        for name, value in part(files):
            print(f"{name:<40} {value}", flush=True)


if __name__ == "__main__":
    main()
