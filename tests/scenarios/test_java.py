# SPDX-License-Identifier: MIT
"""What Java brings along speaks to the hub: java.net.http.WebSocket, whose upgrade says Content-Length: 0 up to
JDK 17. Every JDK of the machine is tried."""
import pathlib
import re
import shutil
import subprocess

import pytest

from taskhub import SLOWDOWN, TOP, token

pytestmark = pytest.mark.java


def jdks():
    """The `java` of every JDK (17 and later have what the client uses), by version; those of the PATH too."""
    found = {}
    for java in [*pathlib.Path("/usr/lib/jvm").glob("*/bin/java"), shutil.which("java")]:
        if java and (pathlib.Path(java).resolve().parent / "javac").exists():
            said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
            version = re.search(r'version "(\d+)', said)
            if version and int(version.group(1)) >= 17:
                found[version.group(1)] = str(java)
    return found


@pytest.mark.limit(120)
def test_the_websocket_of_the_jdk(hub):
    java = jdks()
    if not java:
        pytest.skip("needs a JDK of 17 or later")
    for version, program in java.items():
        done = subprocess.run([program, TOP / "tests/java/Client.java", hub.url, token()], capture_output=True,
                              text=True, timeout=60 * SLOWDOWN, check=False)
        assert done.returncode == 0, (version, done.stderr[-2000:])
        assert '"type":"completed"' in done.stdout, (version, done.stdout)
