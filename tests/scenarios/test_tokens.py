# SPDX-License-Identifier: MIT
"""Who gets in: the tokens that identity providers make, in a message and in a header."""
import json

import pytest

from client import RpcError, connect
from raw_ws import CLOSE, TEXT, Raw, frame, upgrade
from taskhub import token


def by_header(hub, value):
    """What comes first on a connection with this Authorization: a text, or (close code, reason)."""
    with Raw(hub.port) as raw:
        raw.send(upgrade(Authorization=value))
        status, head = raw.head()
        if status != 101:
            return status, head
        raw.send(frame(TEXT, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})))
        opcode, payload = raw.frame()
        if opcode == CLOSE:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()
        return payload.decode()


def of_size(n):
    """A token of n bytes (or one or two more: base64 knows no other lengths)."""
    bulk = n * 3 // 4 - 300
    while len(token(bulk="x" * bulk)) < n:
        bulk += 1
    return token(bulk="x" * bulk)


async def test_forms_of_the_header(hub):
    assert '"time"' in by_header(hub, f"Bearer {token()}  "), "blanks behind it are not of the value"
    for scheme in ("Bearer ", "bearer ", "BEARER ", "Bearer  ", "Bearer      "):
        assert '"time"' in by_header(hub, scheme + token()), scheme
    for value in ("Basic dTpw", "Bearer", "Bearer  ", "Bearer" + token(), token()):
        assert "-32001" in by_header(hub, value), value


async def test_sizes(hub):
    assert '"time"' in by_header(hub, "Bearer " + of_size(8190))
    assert by_header(hub, "Bearer " + of_size(8200)) == (4401, "token is too long for a header")
    for n, fits in ((4100, True), (16380, True), (16390, False), (18000, False)):
        async with connect(hub, auth=False) as c:
            if fits:
                assert (await c.auth(of_size(n)))["user_id"] == "alice"
                continue
            with pytest.raises(RpcError) as refused:
                await c.auth(of_size(n))
            assert (refused.value.code, refused.value.args[0][7:24]) == (-32001, "token is too long")
            assert await c.wait_closed() == 4401
    async with connect(hub, "alice") as c:
        with pytest.raises(RpcError) as refused:
            await c.call("auth.refresh", {"token": of_size(40000)})
        assert "too long" in str(refused.value)
        await c.call("auth.refresh", {"token": of_size(16380)})
