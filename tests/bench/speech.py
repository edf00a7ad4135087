#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the speech task on the LibriVox recordings of Debian's pocketsphinx-testdata, on an idle machine:

    tests/bench/speech.py [BUILD]

Word errors, CPU per second of audio and memory of a child with the audio given at once; the CPU that
alignment of a known text takes beside that (runs with it less as many without, in turns). Then, spoken into the
socket of a hub at the pace of speech, as its owner's client sees it: first text after the first word began, live
text behind the speech (an event's arrival less the end of the audio its text was made from), and the result after
the end of the audio."""
import asyncio
import os
import pathlib
import statistics
import sys

if len(sys.argv) > 1:
    os.environ["TASKHUB_BUILD"] = sys.argv[1]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))
from client import TERMINAL, connect  # noqa: E402 (needs the path above)
from speech import LIBRIVOX, edit_distance, pcm_of, plain_words, speech, transcription  # noqa: E402
from taskhub import Stack  # noqa: E402

FILE = {"format": {"encoding": "file"}}
FRAME = 3200  # bytes of 100 ms
ALIGN_ROUNDS = 15


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def at_once(files, engine):
    errors = words = cpu = seconds = rss = private = 0
    for path, run in zip(files, speech(*files, args=FILE, options={"speech.engine": engine})):
        expected = plain_words(transcription(path))
        errors += edit_distance(expected, plain_words(run.result["text"]))
        words += len(expected)
        cpu += run.end["cpu_ms"] / 1000
        seconds += run.result["duration_s"]
        rss, private = max(rss, run.end["rss_kb"]), max(private, run.end["private_kb"])
    yield "word error rate", f"{100 * errors / words:.1f} % of {words} words"
    yield "CPU per second of audio", f"{cpu / seconds:.3f} s"
    yield "memory of a child", f"{rss / 1024:.0f} MiB, {private / 1024:.0f} MiB of it private"


def alignment(files, _):
    plain, aligned = ([[] for _ in files] for _ in range(2))
    for _ in range(ALIGN_ROUNDS):
        for i, path in enumerate(files):
            for runs, text in ((plain, {}), (aligned, {"expected_text": transcription(path)})):
                runs[i].append(speech(path, args={**FILE, **text})[0])
    seconds = sum(runs[0].result["duration_s"] for runs in plain)

    def cpu(kind, choose):
        return sum(choose(run.end["cpu_ms"] for run in runs) for runs in kind) / 1000 / seconds
    for name, choose in (("quietest runs", min), ("median runs", statistics.median)):
        without = cpu(plain, choose)
        yield f"alignment, {name}", f"{cpu(aligned, choose) - without:.3f} s, beside {without:.3f} s without it"


async def speak(hub, path):
    """Speaks a recording into a socket as a microphone would: [(seconds since the first sample, event)]."""
    clock, heard = asyncio.get_running_loop().time, []
    async with connect(hub) as c:
        stream = await c.audio_start(args={"resource_id": "r"})

        async def listen():
            while not heard or heard[-1][1]["type"] not in TERMINAL:
                await c.until(lambda: len(c.events) > len(heard), seconds=60)
                heard.extend((clock() - began, event) for event in c.events[len(heard):])
        began, data = clock(), pcm_of(path)
        listener = asyncio.ensure_future(listen())
        for at in range(0, len(data), FRAME):
            await asyncio.sleep(began + (at + FRAME) / 32000 - clock())  # a frame is there when it has been spoken
            await c.send(stream["stream"].to_bytes(4, "big") + data[at:at + FRAME])
        await c.call("audio.end", {"stream": stream["stream"]})
        await listener
    return heard


def over_a_socket(files, engine):
    first, behind, final = [], [], []
    stack = Stack()
    try:
        hub = stack.private_hub({"speech.engine": engine})
        for path in files:
            heard = asyncio.run(speak(hub, path))
            pieces = [(at, event["meta"]) for at, event in heard if event["type"] == "partial"]
            result = heard[-1][1]["result"]
            first.append(pieces[0][0] - result["words"][0]["start"])
            behind += [at - piece["end"] for at, piece in pieces if not piece["final"]]
            final.append(heard[-1][0] - result["duration_s"])
    finally:
        stack.close()
    yield "first text after the first word began", f"{1000 * max(first):.0f} ms at most"
    yield ("live text behind the speech",
           f"{1000 * percentile(behind, .5):.0f} ms median, {1000 * percentile(behind, .95):.0f} ms p95")
    yield ("result after the end",
           f"{1000 * percentile(final, .5):.0f} ms median, {1000 * max(final):.0f} ms at most")


def main():
    files = sorted(LIBRIVOX.glob("*.wav"))
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    for engine, parts in (("moonshine", (at_once, over_a_socket)), ("builtin", (at_once, alignment, over_a_socket))):
        for part in parts:
            for name, value in part(files, engine):
                print(f"{engine:<10} {name:<40} {value}", flush=True)


if __name__ == "__main__":
    main()
