"""Find VNish miners in an address range: only when a person asks for it, and reading only what is open to anybody."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import httpx

from minesim.bridge.clock import Clock
from minesim.bridge.miners.miner import Identity, MinerError, MinerUnreachable
from minesim.bridge.miners.vnish import VnishMiner
from minesim.errors import ParamsError, explain

LARGEST_UNCONFIRMED = 4096
"""Addresses of a /20; a larger range is more likely a slip than a site (assumed)."""
LARGEST = 65_536
"""Addresses of a /16; beyond, nothing is scanned (assumed)."""
CONCURRENCY = 128
"""Addresses asked at once (assumed)."""
TIMEOUT_S = 2.0
"""Longest wait for an answer of one address (assumed; miners stand in the same network)."""
HOME_PAGE_MARK = b"AnthillOS"
FIRMWARE_MARK = "vnish"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Found:
    """A VNish miner.

    Attributes:
        address: host, or host:port.
        identity: who it is; None where only its web page shows that it is one.
        problem: why its identity is not known, else ``""``.
    """

    address: str
    identity: Identity | None
    problem: str = ""


def parse_range(cidr: str, *, confirmed: bool = False) -> Network:
    """Read an address range, and refuse one that is probably a slip.

    Args:
        cidr: e.g. ``10.0.4.0/22``, or a single address.
        confirmed: allow up to 65,536 addresses instead of 4,096, and public ones.

    Raises:
        ParamsError: not a range, or one that is too large or public.

    >>> parse_range("10.0.4.0/22").num_addresses
    1024
    """
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise ParamsError(
            explain(f"{cidr!r} is no address range", allowed="such as 10.0.4.0/22", origin=str(error))
        ) from None
    largest = LARGEST if confirmed else LARGEST_UNCONFIRMED
    if network.num_addresses > largest:
        raise ParamsError(
            explain(
                f"{cidr} has {network.num_addresses} addresses",
                allowed=f"{LARGEST_UNCONFIRMED}, or {LARGEST} if confirmed",
                fix="Scan the miners' own subnets.",
            )
        )
    if network.is_global and not confirmed:
        raise ParamsError(
            explain(
                f"{cidr} is a public range",
                allowed="private addresses without confirmation",
                fix="Confirm it only if all of it is yours.",
            )
        )
    return network


async def probe(
    address: str,
    clock: Clock,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Found | None:
    """Ask one address whether it is a VNish miner; None if it is not or does not answer.

    Args:
        address: host, or host:port.
        clock: what tells the time.
        transport: what carries requests instead of the network.
        timeout_s: longest wait for an answer.
    """
    async with VnishMiner(address, None, clock, transport=transport, timeout_s=timeout_s) as miner:
        identity, problem = None, ""
        try:
            identity = await miner.identity()
            if FIRMWARE_MARK in (await miner.firmware_name()).lower():
                return Found(address, identity)
        except MinerUnreachable:
            return None
        except MinerError as error:
            problem = str(error)
        with contextlib.suppress(MinerError):
            if HOME_PAGE_MARK in await miner.home_page():
                return Found(address, identity, problem)
    return None


async def discover(
    network: Network,
    clock: Clock,
    *,
    port: int = 80,
    concurrency: int = CONCURRENCY,
    timeout_s: float = TIMEOUT_S,
    transport: httpx.AsyncBaseTransport | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> AsyncGenerator[Found, None]:
    """Scan a range and yield miners as they are found; close the iterator (``contextlib.aclosing``) to stop early.

    Args:
        network: from :func:`parse_range`.
        clock: what tells the time.
        port: of the web interface.
        concurrency: how many addresses are asked at once, 1 or more.
        timeout_s: longest wait for an answer of one address.
        transport: what carries requests instead of the network.
        on_progress: called with the number of addresses asked so far and in all.

    Raises:
        ParamsError: concurrency below 1.
    """
    if concurrency < 1:
        raise ParamsError(explain(f"concurrency is {concurrency}", allowed="1 or more"))
    slots = asyncio.Semaphore(concurrency)

    async def ask(host: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Found | None:
        name = f"[{host}]" if host.version == 6 else str(host)
        async with slots:
            return await probe(
                name if port == 80 else f"{name}:{port}", clock, transport=transport, timeout_s=timeout_s
            )

    tasks = [asyncio.create_task(ask(host)) for host in network.hosts()]
    try:
        for done, answer in enumerate(asyncio.as_completed(tasks), start=1):
            found = await answer
            if on_progress is not None:
                on_progress(done, len(tasks))
            if found is not None:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
