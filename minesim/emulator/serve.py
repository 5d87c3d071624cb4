"""Serve an emulated fleet on real sockets: HTTP with one server for all miners, the TCP interface beside it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from minesim.emulator import rpc
from minesim.emulator.emulator import Emulator
from minesim.emulator.http import Request
from minesim.errors import ParamsError, explain

RPC_PORT = 4028
HTTP_PORT = 80
BACKLOG = 128
RPC_TIMEOUT_S = 10.0
"""How long a TCP client may take for its command (assumed)."""
DRIP_CHUNKS = 20
END_S = 1
"""How long open requests may take when the server ends, s."""
FILES_PER_MINER, FILES_BESIDE = 6, 256
"""Open files to allow for: two listening sockets and some connections a miner."""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Address:
    """Where one miner listens."""

    host: str
    http_port: int
    rpc_port: int


def addresses(miners: int, host: str, port: int, rpc_port: int = RPC_PORT) -> tuple[Address, ...]:
    """Addresses of a fleet.

    On port 80 each miner has an address of its own, counting up from ``host``, as fleet tools expect; on any other port
    all share ``host`` and their ports count up.

    Args:
        miners: how many.
        host: first (or only) IPv4 address.
        port: first (or only) HTTP port; 0 takes free ones.
        rpc_port: first (or only) port of the TCP interface; 0 takes free ones.

    Raises:
        ParamsError: the host is no IPv4 address, or the ports leave 1 to 65535 or run into each other.
    """
    try:
        first = ipaddress.IPv4Address(host)
    except ValueError as wrong:
        raise ParamsError(
            explain(f"host is {host!r}", allowed="an IPv4 address", fix="Take 127.0.0.1, or 127.0.1.1 with port 80.")
        ) from wrong
    if port == HTTP_PORT:
        return tuple(Address(str(first + i), port, rpc_port) for i in range(miners))
    ranges = {start: range(start, start + miners) for start in (port, rpc_port) if start}
    if any(not 1 <= r.start <= r.stop - 1 <= 65535 for r in ranges.values()):
        raise ParamsError(explain(f"{miners} ports from {port} and from {rpc_port}", allowed="ports 1 to 65535"))
    if len(ranges) == 2 and max(port, rpc_port) < min(port, rpc_port) + miners:
        raise ParamsError(
            explain(
                f"{miners} ports from {port} run into those from {rpc_port}",
                fix="Move --port, or give each miner its own address: --host 127.0.1.1 --port 80.",
            )
        )
    return tuple(Address(host, port + i if port else 0, rpc_port + i if rpc_port else 0) for i in range(miners))


def _allow_files(miners: int) -> None:
    """Raise the number of open files that this process may have, as far as the system lets it."""
    try:
        import resource
    except ImportError:  # no such limit on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = miners * FILES_PER_MINER + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ParamsError(
            explain(
                f"cannot listen on {host}:{port}: {error.strerror}",
                fix="Choose another --host or --port; ports below 1024 need the right to bind them.",
            )
        ) from error
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


class WebApp:
    """The ASGI application of all miners: a request belongs to the miner on whose socket it came in."""

    def __init__(self, emulator: Emulator, index_of: dict[tuple[str, int], int]) -> None:
        self._emulator = emulator
        self._index_of = index_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        from starlette.requests import Request as WebRequest
        from starlette.responses import Response, StreamingResponse

        asked = WebRequest(scope, receive)
        body = await asked.body()
        client = "-" if asked.client is None else f"{asked.client.host}:{asked.client.port}"
        request = Request(asked.method, scope["path"], asked.query_params, asked.headers, body, client)
        delivery = self._emulator.answer(self._index_of[tuple(scope["server"])], request)
        if delivery.reply is None:
            # Silent until the client gives up: a miner without power does not refuse connections either.
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        reply = delivery.reply
        media_type = reply.content_type if reply.body else None
        if delivery.cut or delivery.drip_s > 0.0:
            length = {"content-length": str(len(reply.body))}
            pieces = _pieces(reply.body, delivery.cut, delivery.drip_s)
            await StreamingResponse(pieces, reply.status, length, media_type)(scope, receive, send)
        else:
            await Response(reply.body, reply.status, media_type=media_type)(scope, receive, send)


class ConnectionBroken(Exception):
    """The connection ends here."""


async def _pieces(body: bytes, cut: bool, drip_s: float) -> AsyncIterator[bytes]:
    """A body as it drips in, or half of it and no more."""
    body = body[: len(body) // 2] if cut else body
    size = max(1, len(body) // DRIP_CHUNKS) if drip_s > 0.0 else max(1, len(body))
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(drip_s / DRIP_CHUNKS)
    if cut:
        raise ConnectionBroken


def _rpc_handler(emulator: Emulator, index: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if emulator.reachable(index):
                request = await asyncio.wait_for(reader.read(4096), RPC_TIMEOUT_S)
                reply = rpc.answer(emulator, index, request)
                if reply is None:
                    await asyncio.wait_for(reader.read(), RPC_TIMEOUT_S)
                else:
                    writer.write(reply)
                    await writer.drain()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    return handle


async def pace(emulator: Emulator, speed: float) -> None:
    """Let the emulator's time run with the machine's, ``speed`` times as fast, until cancelled."""
    loop = asyncio.get_running_loop()
    began_s, steps = loop.time(), 0
    while True:
        steps += 1
        await asyncio.sleep(began_s + steps * emulator.step_s / speed - loop.time())
        emulator.advance(emulator.step_s)


@dataclass(frozen=True)
class Service:
    """A fleet on its sockets.

    Attributes:
        addresses: where the miners listen.
        ended: done when the web server has ended, after a signal.
    """

    addresses: tuple[Address, ...]
    ended: asyncio.Task[None]


@contextlib.asynccontextmanager
async def serving(emulator: Emulator, where: Sequence[Address], speed: float | None = 1.0) -> AsyncIterator[Service]:
    """Serve a fleet within a ``with`` block.

    Args:
        emulator: the fleet.
        where: an address for each miner.
        speed: emulated seconds a second; None leaves time to the caller.

    Yields:
        The service, with the ports that were taken.

    Raises:
        ParamsError: an address cannot be taken.
    """
    import uvicorn

    _allow_files(len(where))
    with contextlib.ExitStack() as sockets:
        http = [sockets.enter_context(_listen(a.host, a.http_port)) for a in where]
        tcp = [sockets.enter_context(_listen(a.host, a.rpc_port)) for a in where]
        taken = tuple(
            Address(a.host, h.getsockname()[1], t.getsockname()[1]) for a, h, t in zip(where, http, tcp, strict=True)
        )
        emulator.set_hosts([address.host for address in taken])
        app = WebApp(emulator, {(a.host, a.http_port): i for i, a in enumerate(taken)})
        # Broken connections are wanted here, so the server does not report them.
        config = uvicorn.Config(
            app, lifespan="off", log_level="critical", access_log=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        rpcs = [
            await asyncio.start_server(_rpc_handler(emulator, i), sock=listening) for i, listening in enumerate(tcp)
        ]
        web = asyncio.create_task(server.serve(sockets=http))
        pacing = None if speed is None else asyncio.create_task(pace(emulator, speed))
        if pacing is not None:
            pacing.add_done_callback(lambda _: setattr(server, "should_exit", True))
        try:
            while not (server.started or web.done()):
                await asyncio.sleep(0.01)
            yield Service(taken, web)
        finally:
            server.should_exit = True
            for rpc_server in rpcs:
                rpc_server.close()
            await asyncio.gather(web, return_exceptions=True)
            if pacing is not None:
                pacing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pacing  # raises what ended it
