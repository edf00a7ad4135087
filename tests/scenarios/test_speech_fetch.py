# SPDX-License-Identifier: MIT
"""`taskhub speech fetch` and the folder it makes: by hash alone, as a whole or not at all, and no network afterwards."""
import os
import subprocess
import zipfile

import pytest

from speech import GOFORWARD, MOONSHINE, speech
from taskhub import BUILD, environment

WHEEL = "moonshine_voice-0.0.73-py3-none-any.whl"
NOWHERE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}


def fetch(directory, **pip):
    return subprocess.run([BUILD / "taskhub", "speech", "fetch"], capture_output=True, text=True, check=False,
                          env={**environment({"speech.moonshine_dir": directory}), **NOWHERE, **pip})


def test_the_folder_is_whole():
    names = {path.name.split("-")[0] for path in MOONSHINE.iterdir()}
    assert names == {"libmoonshine.so", "libonnxruntime", "encoder_model.ort", "decoder_model_merged.ort",
                     "tokenizer.bin", "LICENSE", "NOTICE", "version"}
    assert "Moonshine AI" in (MOONSHINE / "LICENSE").read_text()
    assert {"ONNX Runtime", "Silero VAD"} <= {line.split(" (")[0] for line in (MOONSHINE / "NOTICE").open()}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in MOONSHINE.iterdir()), "another user's worker reads it"


def test_what_is_there_is_not_asked_for():
    done = fetch(MOONSHINE)
    assert done.returncode == 0 and str(MOONSHINE) in done.stdout and not done.stderr


def test_without_a_registry(tmp_path):
    done = fetch(tmp_path / "engine")
    assert done.returncode == 1 and "the engine builtin serves" in done.stderr
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_another_wheel_is_refused(tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    with zipfile.ZipFile(links / WHEEL, "w") as wheel:
        wheel.writestr("moonshine_voice/libmoonshine.so", "evil")
        wheel.writestr("moonshine_voice-0.0.73.dist-info/METADATA",
                       "Metadata-Version: 2.1\nName: moonshine-voice\nVersion: 0.0.73\n")
        wheel.writestr("moonshine_voice-0.0.73.dist-info/WHEEL",
                       "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("moonshine_voice-0.0.73.dist-info/RECORD", "")
    done = fetch(tmp_path / "engine", PIP_FIND_LINKS=str(links))
    assert done.returncode == 1 and "HASH" in done.stderr.upper()
    assert [path.name for path in tmp_path.iterdir()] == ["links"]


@pytest.mark.limit(100)
def test_another_folder_serves(tmp_path):
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in MOONSHINE.iterdir():
        (copy / path.name).symlink_to(path)
    options = {"speech.engine": "moonshine", "speech.moonshine_dir": copy}
    assert speech(GOFORWARD, options=options)[0].result["text"] == "Go forward ten meters."
