"""Reach emulated miners from ``httpx`` without a network, at the speed of a function call."""

from __future__ import annotations

import httpx

from minesim.emulator.emulator import Emulator
from minesim.emulator.http import Request


class EmulatorTransport(httpx.AsyncBaseTransport):
    """Finds the miner by the host of the URL; no time passes.

    An answer that does not come is a read timeout at once, and so is one that drips for longer than the client waits.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._index = {host: i for i, host in enumerate(emulator.hosts)}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request.

        Raises:
            httpx.ConnectError: no such miner, or it is not reachable.
            httpx.ReadTimeout: it does not answer in time.
            httpx.RemoteProtocolError: the connection breaks within the answer.
        """
        url = request.url
        index = self._index.get(url.host)
        if index is None or url.port not in (None, 80):
            raise httpx.ConnectError("All connection attempts failed", request=request)
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, url.path, dict(url.params), headers, body)
        delivery = self._emulator.answer(index, asked)
        if delivery.refused:
            raise httpx.ConnectError("All connection attempts failed", request=request)
        waits_s = request.extensions.get("timeout", {}).get("read")
        if delivery.reply is None or (waits_s is not None and delivery.drip_s > waits_s):
            raise httpx.ReadTimeout("", request=request)
        if delivery.cut:
            raise httpx.RemoteProtocolError(
                "peer closed connection without sending complete message body", request=request
            )
        reply = delivery.reply
        content_type = {"content-type": reply.content_type} if reply.body else {}
        return httpx.Response(reply.status, headers=content_type, content=reply.body, request=request)
