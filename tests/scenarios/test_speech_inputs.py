# SPDX-License-Identifier: MIT
"""What the speech task takes as sound: layouts, rates, containers, and hostile files."""
import array
import os
import signal
import struct

import pytest

from taskhub import alive, children, eventually
from speech import (FILE, FORWARD, GOFORWARD, LIBRIVOX, RAW, SENTENCE, edit_distance, ffmpeg, made, pcm_of,
                    speak, speech, start_speech, wav)

pytestmark = pytest.mark.limit(200)


def float_wav(samples, bits):
    values = [sample / 32768 for sample in array.array("h", samples)]
    return wav(struct.pack(f"<{len(values)}{'f' if bits == 32 else 'd'}", *values), bits=bits, tag=3)


def wide_wav(samples, bits):
    out = b"".join(struct.pack("<i", sample << 16)[4 - bits // 8:] for sample in array.array("h", samples))
    return wav(out, bits=bits)


def stereo_wav(samples):
    return wav(b"".join(samples[i:i + 2] * 2 for i in range(0, len(samples), 2)), channels=2)


def test_wav_layouts(tmp_path):
    """The same samples in another layout give the same result to the last digit."""
    samples = pcm_of(GOFORWARD)
    layouts = {
        "16": wav(samples), "stereo": stereo_wav(samples), "24": wide_wav(samples, 24),
        "32": wide_wav(samples, 32), "f32": float_wav(samples, 32), "f64": float_wav(samples, 64),
        "streamed-0": wav(samples, data_size=0), "streamed-max": wav(samples, data_size=0xFFFFFFFF),
        "claims-4-gb": wav(samples, data_size=4_000_000_000)}
    files = [made(tmp_path, f"{name}.wav", data) for name, data in layouts.items()]
    plain = speech(GOFORWARD)[0].result
    for name, run in zip(layouts, speech(*files, args=FILE)):
        assert run.result == plain, name


def test_wav_rates(tmp_path):
    rates = [8000, 11025, 22050, 44100, 48000, 96000]
    for rate in rates:
        ffmpeg(*RAW, "-i", GOFORWARD, "-ar", rate, "-ac", 2, tmp_path / f"{rate}.wav")
    for rate, run in zip(rates, speech(*(tmp_path / f"{rate}.wav" for rate in rates), args=FILE)):
        assert run.result["duration_s"] == pytest.approx(2.79, abs=0.01)
        assert rate < 16000 or run.result["text"] == FORWARD, rate


def test_eight_bits(tmp_path):
    ffmpeg(*RAW, "-i", GOFORWARD, "-c:a", "pcm_u8", tmp_path / "a.wav")
    assert speak(tmp_path / "a.wav").result["duration_s"] == pytest.approx(2.79, abs=0.01)


def test_raw_needs_a_name_or_a_declaration(tmp_path):
    assert speak(GOFORWARD).result["text"] == FORWARD
    path = made(tmp_path, "recording", pcm_of(GOFORWARD))
    assert speak(path).error["code"] == "unsupported_media"
    ffmpeg(*RAW, "-i", GOFORWARD, "-ar", 44100, "-ac", 2, "-f", "s16le",
           tmp_path / "cd")
    declared = {"format": {"encoding": "pcm_s16le", "sample_rate": 44100, "channels": 2}}
    assert speech(tmp_path / "cd", args=declared)[0].result["text"] == FORWARD


CONTAINERS = {
    "a.webm": ["-c:a", "libopus"], "a.ogg": ["-c:a", "libopus"], "vorbis.ogg": ["-c:a", "libvorbis"],
    "phone.wav": ["-c:a", "pcm_alaw"], "a.mp3": [], "a.flac": [], "a.aac": ["-f", "adts"],
    "index-last.mp4": ["-c:a", "aac"], "index-first.mp4": ["-c:a", "aac", "-movflags", "+faststart"],
    "fragments.mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]}


def test_containers(tmp_path):
    for name, options in CONTAINERS.items():
        ffmpeg("-i", SENTENCE, *options, tmp_path / name)
    expected = "he might even have been made amiable himself".split()
    for name, run in zip(CONTAINERS, speech(*(tmp_path / name for name in CONTAINERS), args=FILE)):
        assert run.result["duration_s"] == pytest.approx(3.29, abs=0.12), name
        assert edit_distance(expected, run.result["text"].split()) <= 6, name
        assert "warnings" not in run.result, name


def test_sound_of_a_video(tmp_path):
    picture = ["-f", "lavfi", "-i", "testsrc=d=3:s=160x120"]
    ffmpeg(*picture, "-i", SENTENCE, "-c:v", "libvpx", "-c:a", "libopus", tmp_path / "a.webm")
    run = speak(tmp_path / "a.webm")
    assert "made amiable" in run.result["text"] and "warnings" not in run.result
    ffmpeg(*picture, "-c:v", "mpeg4", tmp_path / "mute.mp4")
    assert speak(tmp_path / "mute.mp4").error["code"] == "no_audio"


def test_live_webm(tmp_path):
    """Partial text comes while a WebM stream is still being sent."""
    ffmpeg("-i", LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0870.wav", "-c:a", "libopus", "-b:a", "24k",
           "-f", "matroska", "-live", 1, tmp_path / "a.webm")
    size = (tmp_path / "a.webm").stat().st_size
    run = speak(tmp_path / "a.webm", pace=1, chunk=size // 72)  # the file lasts as long as the speech
    assert run.pieces("partial") and run.result["duration_s"] == pytest.approx(7.1, abs=0.1)


# ---- hostile input -----------------------------------------------------------------------------------

def hostile(tmp_path):
    secret = made(tmp_path, "secret.wav", wav(pcm_of(GOFORWARD)))
    ffmpeg("-i", SENTENCE, "-c:a", "libopus", tmp_path / "whole.webm")
    whole = (tmp_path / "whole.webm").read_bytes()
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile {secret}\n".encode()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 65535, 16000, 0, 65534, 16)
    return {
        "playlist.mp4": (hls, "unsupported_media"),
        "playlist.webm": (hls, "unsupported_media"),
        "concat.wav": (concat, "unsupported_media"),
        "playlist-in-a-box.mp4": (b"\0\0\0\x18ftypisom" + hls, "bad_audio"),
        "playlist-as-matroska.webm": (b"\x1a\x45\xdf\xa3" + hls, "bad_audio"),
        "concat-as-ogg.ogg": (b"OggS" + concat, "bad_audio"),
        "cut.webm": (whole[:200], "bad_audio"),
        "many-channels.wav": (b"RIFF\xff\xff\xff\xffWAVE" + fmt + b"data\xff\xff\xff\x7f", "bad_audio"),
        "no-format.wav": (b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff", "bad_audio"),
        "endless-chunk.wav": (b"RIFF\xff\xff\xff\xffWAVELIST\xff\xff\xff\xff" + bytes(5000), "bad_audio"),
        "header-only.wav": (b"RIFF\xff\xff\xff\xffWAVE", "bad_audio"),
        "huge-box.mp4": (b"\0\0\0\x14ftypisom\0\0\0\0" + b"\xff\xff\xff\xffmoov" + bytes(3000), "bad_audio"),
        "text.txt": (b"hello, this is only text", "unsupported_media"),
        "empty.wav": (b"", "no_audio"),
        "tiny.mp3": (b"\xff\xfb", "bad_audio"),
    }


def test_hostile_files(tmp_path):
    cases = hostile(tmp_path)
    files = [made(tmp_path, name, data) for name, (data, _) in cases.items()]
    for (name, (_, code)), run in zip(cases.items(), speech(*files, args=FILE)):
        assert run.error and run.error["code"] == code, (name, run.end)
        assert run.error["retry"] is False and str(tmp_path) not in run.error["message"], name
        assert run.end["at_ms"] < 60_000 and run.end["cpu_ms"] < 10_000, name


def test_truncated_file_gives_what_it_has(tmp_path):
    ffmpeg("-i", SENTENCE, "-c:a", "libopus", tmp_path / "whole.webm")
    whole = (tmp_path / "whole.webm").read_bytes()
    run = speak(made(tmp_path, "cut.webm", whole[:len(whole) * 2 // 3]))
    assert 1.5 < run.result["duration_s"] < 3 and run.result["text"].startswith("he might")
    assert run.result["warnings"] == ["decode_errors"]


def test_hours_of_silence_are_cut(tmp_path):
    ffmpeg("-f", "lavfi", "-t", 3700, "-i", "anullsrc=r=8000:cl=mono", tmp_path / "long.flac")
    raw = made(tmp_path, "long.raw", b"")
    os.truncate(raw, 3700 * 32000)
    for run in (speak(tmp_path / "long.flac"), speak(raw)):
        assert run.result["duration_s"] == 3600 and run.result["warnings"] == ["audio_cut"]
        assert run.result["text"] == ""


def test_cancel_ends_the_decoder(tmp_path):
    ffmpeg("-f", "lavfi", "-t", 120, "-i", "sine=440", "-c:a", "libmp3lame", tmp_path / "long.mp3")
    run = speak(tmp_path / "long.mp3", cancel_ms=150, chunk=500)
    assert run.error["code"] == "cancelled"


def test_nothing_outlives_a_killed_child(tmp_path):
    """kill -9 of the task's process takes its draft and its ffmpeg with it."""
    ffmpeg(*RAW, "-stream_loop", 9, "-i", GOFORWARD, "-c:a", "libopus", tmp_path / "a.webm")
    parent = start_speech(tmp_path / "a.webm", args=FILE, pace=1, chunk=400)
    try:
        child = eventually(lambda: children(parent.pid), 30)[0]
        below = eventually(lambda: len(found := children(child)) == 2 and found, 30, "a draft and an ffmpeg")
        os.kill(child, signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in below), 10, "their end")
    finally:
        parent.kill()
        parent.wait()
