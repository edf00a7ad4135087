# SPDX-License-Identifier: MIT
"""Where a hub listens: sockets that a service manager hands over."""
import socket
import subprocess

from client import connect


async def test_a_socket_that_was_handed_over(stack):
    """As systemd does it (LISTEN_FDS): who connected before the hub started is served when it has."""
    hub = stack.hub(start=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hub.port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", hub.port)) as early:
            early.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            start = 'exec 3<&"$0"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
            with open(hub.log_path, "wb") as log:
                hub.process = subprocess.Popen(["bash", "-c", start, str(listening.fileno()), *hub.argv], env=hub.env,
                                               pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL, stdout=log,
                                               stderr=log, start_new_session=True)
            hub.wait_ready()
            early.settimeout(10)
            assert early.recv(100).startswith(b"HTTP/1.1 200 ")
        async with connect(hub, "alice") as c:
            assert (await c.wait_end(await c.submit("noop")))["status"] == "completed"
        assert hub.stop() == 0
        with socket.create_connection(("127.0.0.1", hub.port)):
            pass  # the socket is the manager's: it goes on listening
