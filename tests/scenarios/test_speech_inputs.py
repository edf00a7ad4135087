# SPDX-License-Identifier: MIT
"""What the speech task takes as sound: layouts, rates, containers, and hostile files."""
import array
import os
import random
import signal
import struct

import pytest

from taskhub import alive, children, eventually
from speech import (FILE, FORWARD, GOFORWARD, LIBRIVOX, RAW, SENTENCE, SOMETHING, edit_distance, ffmpeg, made, pcm_of,
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


def test_soft_speech(tmp_path):
    """Speech 40 dB below its recording is cut into the same utterances."""
    ffmpeg("-i", SENTENCE, "-af", "volume=-40dB", tmp_path / "soft.wav")
    ffmpeg("-i", SENTENCE, "-af", "volume=-20dB", tmp_path / "low.wav")
    plain, soft, low = speech(SENTENCE, tmp_path / "soft.wav", tmp_path / "low.wav", args=FILE)
    for run in (soft, low):
        assert run.result["utterances"] == plain.result["utterances"]
        assert len(run.result["words"]) == pytest.approx(len(plain.result["words"]), abs=3)


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


# What ffmpeg of Debian can write, by the name of the file.
CONTAINERS = {
    "a.webm": ["-c:a", "libopus"], "a.ogg": ["-c:a", "libopus"], "vorbis.ogg": ["-c:a", "libvorbis"],
    "speex.ogg": ["-c:a", "libspeex"], "a.mp3": [], "mp2.mp3": ["-c:a", "mp2", "-f", "mp2"], "a.flac": [],
    "a.aac": ["-f", "adts"], "index-last.mp4": ["-c:a", "aac"], "alac.m4a": ["-c:a", "alac"],
    "index-first.mp4": ["-c:a", "aac", "-movflags", "+faststart"],
    "fragments.mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"], "a.mov": ["-c:a", "pcm_s16be"],
    "a.aiff": [], "float.aiff": ["-c:a", "pcm_f32be"], "mulaw.aiff": ["-c:a", "pcm_mulaw"], "a.caf": [],
    "opus.caf": ["-c:a", "libopus"], "alac.caf": ["-c:a", "alac"], "a.w64": [], "a.au": [],
    "mulaw.au": ["-c:a", "pcm_mulaw"], "a.ts": ["-c:a", "aac"], "mp2.ts": ["-c:a", "mp2"],
    "a.m2ts": ["-c:a", "ac3", "-mpegts_m2ts_mode", 1], "a.mpg": ["-c:a", "mp2", "-f", "mpeg"], "a.ac3": [],
    "a.eac3": [], "a.avi": ["-c:a", "libmp3lame"], "a.wma": [], "v1.wma": ["-c:a", "wmav1"],
    "a.flv": ["-c:a", "libmp3lame", "-ar", 44100], "a.wv": [], "a.voc": ["-c:a", "pcm_u8"],
    "adpcm.wav": ["-c:a", "adpcm_ima_wav"], "ms.wav": ["-c:a", "adpcm_ms"], "mp3.wav": ["-c:a", "libmp3lame"],
    "gsm.wav": ["-c:a", "libgsm_ms", "-ar", 8000], "alaw.wav": ["-c:a", "pcm_alaw"],
    "phone.wav": ["-c:a", "pcm_alaw", "-ar", 8000], "mulaw.wav": ["-c:a", "pcm_mulaw", "-ar", 8000],
    "rf64.wav": ["-rf64", "always"]}


@pytest.mark.limit(600)
def test_containers(tmp_path):
    """Each kind of file is heard, without a warning, at the length that it has."""
    for name, options in CONTAINERS.items():
        ffmpeg("-i", SENTENCE, "-ac", 1, *options, tmp_path / name)
    expected = "he might even have been made amiable himself".split()
    for name, run in zip(CONTAINERS, speech(*(tmp_path / name for name in CONTAINERS), args=FILE, timeout=400)):
        assert run.result, (name, run.error)
        assert run.result["duration_s"] == pytest.approx(3.29, abs=0.2), name
        assert edit_distance(expected, run.result["text"].split()) <= 7, (name, run.result["text"])
        assert "warnings" not in run.result, (name, run.result["warnings"])


@pytest.mark.limit(600)
def test_a_damaged_file_of_each_kind(tmp_path):
    """The first 600 bytes alone, and a hole in the middle: an end with a word, soon."""
    files = []
    for name, options in CONTAINERS.items():
        ffmpeg("-t", 0.8, "-i", SENTENCE, "-ac", 1, *options, tmp_path / name)
        data = (tmp_path / name).read_bytes()
        hole = random.Random(1).randbytes(len(data) // 3)
        files += [made(tmp_path, "cut-" + name, data[:600]),
                  made(tmp_path, "hole-" + name, data[:len(data) // 3] + hole + data[-(len(data) // 3):])]
    for path, run in zip(files, speech(*files, args=FILE, timeout=400)):
        assert run.end["event"] in ("completed", "failed"), (path.name, run.end)
        assert run.end["cpu_ms"] < 15_000, path.name
        if run.error:
            assert run.error["code"] in ("bad_audio", "no_audio"), (path.name, run.error)
            assert run.error["retry"] is False and "ffmpeg" not in run.error["message"], path.name
            assert "0x" not in run.error["message"] and "[" not in run.error["message"], "ffmpeg's own words"


def test_telephone_frames(tmp_path):
    """Nothing of Debian writes AMR: frames made by hand, of zeros and of the kind that stands for silence."""
    amr = made(tmp_path, "a.amr", b"#!AMR\n" + (b"\x04" + bytes(12)) * 150)
    wide = made(tmp_path, "wide.amr", b"#!AMR-WB\n" + b"\x7c" * 150)
    ffmpeg("-i", amr, "-c", "copy", tmp_path / "a.3gp")
    for name, run in zip(("amr", "wide", "3gp"), speech(amr, wide, tmp_path / "a.3gp", args=FILE)):
        assert run.result, (name, run.error)
        assert run.result["duration_s"] == pytest.approx(3, abs=0.05), name
        assert run.result.get("warnings", ["silent"]) == ["silent"], name


@pytest.mark.parametrize("options", [["-f", "flac"], ["-f", "adts"], ["-f", "mp3"], ["-f", "wav"], ["-f", "ogg"]],
                         ids=["flac", "aac", "mp3", "wav", "ogg"])
def test_a_tag_in_front(tmp_path, options):
    """An ID3 tag says nothing of what stands behind it."""
    ffmpeg("-i", SENTENCE, *options, tmp_path / "plain")
    plain = (tmp_path / "plain").read_bytes()
    picture = b"APIC" + bytes(range(256)) * 200
    size = len(picture)
    tag = b"ID3\4\0\0" + bytes(size >> shift & 0x7f for shift in (21, 14, 7, 0)) + picture
    files = [made(tmp_path, "one", tag + plain), made(tmp_path, "two", tag * 2 + plain),
             made(tmp_path, "zeros", tag + bytes(100) + plain), made(tmp_path, "tag", tag),
             made(tmp_path, "cut", tag[:4000])]
    results = speech(tmp_path / "plain", *files, args=FILE)
    for run in results[1:4]:
        assert run.result and run.result == results[0].result, run.error
    for run in results[4:]:
        assert run.error["code"] == "no_audio" and "tag" in run.error["message"]


# ---- what the header says and what is there ------------------------------------------------------------

def test_redundant_fields_of_a_wav_are_derived(tmp_path):
    samples, runs = pcm_of(GOFORWARD), {}
    plain = wav(samples)
    for align, rate in ((2, 64000), (4, 64000), (1, 16000), (0, 0), (65535, 4294967295)):
        runs[align, rate] = plain[:28] + struct.pack("<IH", rate, align) + plain[34:]
    runs["24 bits"] = wide_wav(samples, 24)[:28] + struct.pack("<IH", 7, 1) + wide_wav(samples, 24)[34:]
    runs["no bits"] = plain[:34] + b"\0\0" + plain[36:]
    files = [made(tmp_path, f"{n}.wav", data) for n, data in enumerate(runs.values())]
    for name, run in zip(runs, speech(*files, args=FILE)):
        assert run.result and run.result["text"] == FORWARD, (name, run.end)
        assert run.result["duration_s"] == pytest.approx(2.79, abs=0.01) and "warnings" not in run.result


def too_short(tmp_path, name, *options):
    """A file whose header says that a tenth of its sound is there."""
    ffmpeg(*RAW, "-i", GOFORWARD, *options, "-bitexact", tmp_path / name)
    data = bytearray((tmp_path / name).read_bytes())
    kind, field, at = {"wav": ("<", "I", b"data"), "aiff": (">", "I", b"SSND"), "caf": (">", "Q", b"data"),
                       "au": (">", "I", b".snd"), "w64": ("<", "Q", b"data")}[name.split(".")[-1]]
    place = data.index(at) + {"au": 8, "w64": 16}.get(name.split(".")[-1], 4)
    length, = struct.unpack_from(kind + field, data, place)
    struct.pack_into(kind + field, data, place, length // 20 * 2)
    return made(tmp_path, name, bytes(data))


def test_a_length_that_is_too_small_cuts_nothing(tmp_path):
    files = [too_short(tmp_path, *words) for words in (
        ["a.wav"], ["24.wav", "-c:a", "pcm_s24le"], ["f32.wav", "-c:a", "pcm_f32le", "-ar", 48000, "-ac", 2],
        ["alaw.wav", "-c:a", "pcm_alaw"], ["adpcm.wav", "-c:a", "adpcm_ima_wav"], ["a.aiff"], ["a.caf"], ["a.au"],
        ["a.w64"])]
    for path, run in zip(files, speech(*files, args=FILE)):
        assert run.result and run.result["duration_s"] == pytest.approx(2.79, abs=0.05), (path.name, run.end)
        assert run.result["text"] == FORWARD, path.name
        assert run.result.get("warnings") == (None if path.suffix == ".au" else ["length_wrong"]), path.name


def test_what_follows_the_sound_of_a_wav(tmp_path):
    """Descriptions are no sound, and two chunks of sound are one recording."""
    samples = pcm_of(GOFORWARD)
    chunk = lambda name, body: name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)
    junk = random.Random(2).randbytes(9001)
    cases = {"list": (wav(samples) + chunk(b"LIST", b"INFO" + junk), {}),
             "odd": (wav(samples + b"\1", data_size=len(samples) + 1) + b"\0" + chunk(b"id3 ", junk), {}),
             "two": (wav(samples[:30000], data_size=30000) + chunk(b"LIST", junk) + chunk(b"data", samples[30000:]), {}),
             "before": (wav(samples).replace(b"data", chunk(b"JUNK", junk) + b"data", 1), {}),
             "cut": (wav(samples, data_size=2 * len(samples)), {"warnings": ["file_cut"]})}
    files = [made(tmp_path, f"{name}.wav", data) for name, (data, _) in cases.items()]
    plain = speech(GOFORWARD)[0].result
    for (name, (_, more)), run in zip(cases.items(), speech(*files, args=FILE)):
        assert run.result == {**plain, **more}, name


# ---- tracks and channels --------------------------------------------------------------------------------

def stereo(left, right):
    return b"".join(left[i:i + 2] + right[i:i + 2] for i in range(0, len(left), 2))


def opposite(samples):
    return array.array("h", (max(-32767, min(32767, -value)) for value in array.array("h", samples))).tobytes()


def test_two_channels_are_one_voice(tmp_path):
    """In phase, in opposite phase, in one alone, and in a file that codes them."""
    samples = pcm_of(GOFORWARD)
    silent = bytes(len(samples))
    pairs = {"same": (samples, samples), "opposite": (samples, opposite(samples)), "left": (samples, silent),
             "right": (silent, samples)}
    files = []
    for name, (left, right) in pairs.items():
        files.append(made(tmp_path, f"{name}.wav", wav(stereo(left, right), channels=2)))
    ffmpeg("-i", tmp_path / "opposite.wav", "-c:a", "flac", tmp_path / "opposite.flac")
    files.append(tmp_path / "opposite.flac")
    for path, run in zip(files, speech(*files, args=FILE)):
        assert run.result["text"] == FORWARD and "warnings" not in run.result, path.name


@pytest.mark.parametrize("name, codec", [("a.mkv", "pcm_s16le"), ("a.mp4", "aac"), ("a.ts", "mp2")])
def test_the_track_that_has_sound_is_heard(tmp_path, name, codec):
    """As recorders of a screen write them: the first track is silent. Two tracks with sound are told."""
    quiet = ["-f", "lavfi", "-t", 4, "-i", "anullsrc=r=16000:cl=mono"]
    voice, maps = [*RAW, "-i", GOFORWARD], ["-map", 0, "-map", 1, "-c:a", codec]
    ffmpeg(*quiet, *voice, *maps, tmp_path / name)
    ffmpeg(*voice, *quiet, *maps, tmp_path / ("first-" + name))
    ffmpeg(*voice, *RAW, "-i", SOMETHING, *maps, tmp_path / ("both-" + name))
    second, first, both = speech(*(tmp_path / (before + name) for before in ("", "first-", "both-")), args=FILE)
    for run in (second, first):
        assert run.result["text"] == FORWARD and "warnings" not in run.result
        assert run.result["duration_s"] == pytest.approx(4, abs=0.1)
    assert both.result["text"].startswith(FORWARD) and both.result["warnings"] == ["other_tracks"]


def test_silence_is_told(tmp_path):
    whisper = array.array("h", (i % 7 - 3 for i in range(32000))).tobytes()
    files = [made(tmp_path, "zero.wav", wav(bytes(64000))), made(tmp_path, "noise.wav", wav(whisper)),
             made(tmp_path, "none.wav", wav(b"", data_size=0))]
    zero, noise, none = speech(*files, args=FILE)
    assert zero.result["warnings"] == noise.result["warnings"] == ["silent"]
    assert zero.result["text"] == "" and "warnings" not in none.result


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
        assert run.result["duration_s"] == 3600 and set(run.result["warnings"]) == {"audio_cut", "silent"}
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
