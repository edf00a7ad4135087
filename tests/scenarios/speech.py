# SPDX-License-Identifier: MIT
"""Runs the speech task on files without a hub (the program speech_cli), for scenario tests and tests/bench."""
import json
import os
import pathlib
import re
import struct
import subprocess

from taskhub import BUILD, SLOWDOWN, environment

DATA = pathlib.Path("/usr/share/pocketsphinx/test/data")
GOFORWARD = DATA / "goforward.raw"
SOMETHING = DATA / "something.raw"
LIBRIVOX = DATA / "librivox"
MOONSHINE = BUILD / "moonshine"  # the engine, as `taskhub speech fetch` leaves it beside the program
SENTENCE = LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0930.wav"  # amiable himself
FORWARD = "go forward ten meters"  # the text of GOFORWARD
FILE = {"format": {"encoding": "file"}}
RAW = ["-f", "s16le", "-ar", 16000, "-ac", 1]  # what ffmpeg is told about headerless recordings


def made(directory, name, data):
    """Writes a file; its path."""
    path = directory / name
    path.write_bytes(data)
    return path


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)], check=True)


def pcm_of(path):
    """The samples of a recording of the test data as 16 kHz s16le bytes."""
    data = pathlib.Path(path).read_bytes()
    return data[44:] if data[:4] == b"RIFF" else data


def read_aloud(directory, name, text, voice="slt"):
    """A text read by one of flite's voices: 16 kHz in one channel."""
    path = directory / f"{name}.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", path], check=True)
    return path


def transcription(path):
    """The text that is spoken in one of the LibriVox recordings."""
    for line in (LIBRIVOX / "transcription").read_text().splitlines():
        if f"({path.stem})" in line:
            return line.split("<s>")[1].split("</s>")[0].strip()
    raise KeyError(path)


class Run:
    """What came of one file: all events, and the last one."""

    def __init__(self, events):
        self.events = events
        self.end = events[-1]
        self.result = self.end.get("result")
        self.error = self.end.get("error")

    def pieces(self, kind):
        return [event["meta"] for event in self.events if event["event"] == kind]


def start_speech(*files, args=None, options=None, stdout=subprocess.PIPE, **own):
    """Starts the task on these files, each in a child of its own of one loaded parent, with the built-in engine unless
    the options name another. `own`: pace, chunk, cancel_ms of speech_cli."""
    options = {"speech.engine": "builtin", "speech.moonshine_dir": MOONSHINE, **(options or {})}
    words = [f"{name}={value}" for name, value in own.items()]
    words.append("args=" + json.dumps({"resource_id": "r", **(args or {})}))
    return subprocess.Popen([str(BUILD / "tests/lib/speech_cli"), *words, *map(str, files)],
                            env=environment(options), text=True, stdin=subprocess.DEVNULL,
                            stdout=stdout, stderr=subprocess.PIPE)


def speech(*files, timeout=100, log=None, **more):
    """As start_speech(), to the end; a Run per file. The lines of the operator's log are added to `log`."""
    process = start_speech(*files, **more)
    try:
        out, err = process.communicate(timeout=timeout * SLOWDOWN)
    finally:
        process.kill()
    assert process.returncode == 0, out[-2000:] + err[-4000:]
    if log is not None:
        log += err.splitlines()
    runs, events = [], []
    for line in out.splitlines():
        events.append(json.loads(line))
        if events[-1]["event"] in ("completed", "failed", "died"):
            runs.append(Run(events))
            events = []
    assert len(runs) == len(files)
    return runs


def speak(path, name=None, **more):
    """As speech(), for one file whose format is to be found out."""
    args = {"format": {"encoding": "file", "name": name or os.path.basename(path)}, **more.pop("args", {})}
    return speech(path, args=args, **more)[0]


def wav(samples, rate=16000, channels=1, bits=16, tag=1, data_size=None, riff_size=None):
    """A WAV file around bytes of samples; the sizes may lie."""
    align = channels * bits // 8
    size = len(samples) if data_size is None else data_size
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", min(36 + size, 0xFFFFFFFF) if riff_size is None else
                       riff_size, b"WAVE", b"fmt ", 16, tag, channels, rate, rate * align & 0xFFFFFFFF,
                       align & 0xFFFF, bits, b"data", size)
    return head + samples


def plain_words(text):
    """The words of a text as they are compared: lower case, without punctuation."""
    return re.sub(r"[^a-z' ]", "", text.lower().replace("-", " ")).replace("mister", "mr").split()


def edit_distance(one, other):
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
