"""Finding miners in an address range: who is found, and that nobody else is bothered."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from minesim.bridge.miners.discovery import Found, discover, parse_range
from minesim.errors import ParamsError
from tests.bridge.vnish_fake import INFO_S19_126, FakeMiner, ManualClock


class Network(httpx.AsyncBaseTransport):
    """Hosts by address: miners, other things that speak HTTP, and nobody."""

    def __init__(self, hosts: dict[str, FakeMiner | httpx.Response]) -> None:
        self.hosts = hosts
        self.requests: list[httpx.Request] = []
        self.busy = 0
        self.busiest = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(0.001)
        self.busy -= 1
        host = self.hosts.get(request.url.host)
        if host is None:
            raise httpx.ConnectTimeout("nobody", request=request)
        if isinstance(host, FakeMiner):
            return host.answer(request)
        return httpx.Response(host.status_code, content=host.content)


async def scan(hosts: dict[str, FakeMiner | httpx.Response], cidr: str = "10.0.0.0/28") -> tuple[Network, list[Found]]:
    network = Network(hosts)
    found = [item async for item in discover(parse_range(cidr), ManualClock(), transport=network, concurrency=4)]
    return network, sorted(found, key=lambda item: item.address)


async def test_miners_are_found_among_other_things() -> None:
    old, new = FakeMiner("1.2.6"), FakeMiner("1.3.4")
    network, found = await scan(
        {
            "10.0.0.1": httpx.Response(200, content=b"<html>router</html>"),
            "10.0.0.3": old,
            "10.0.0.5": httpx.Response(401, content=b"printer"),
            "10.0.0.9": new,
        }
    )
    assert [item.address for item in found] == ["10.0.0.3", "10.0.0.9"]
    assert [item.identity.firmware_version for item in found if item.identity] == [(1, 2, 6), (1, 3, 4)]
    assert all(not item.problem for item in found)
    assert {request.method for request in network.requests} == {"GET"}
    assert all("authorization" not in request.headers for request in network.requests)
    assert {request.url.path for request in network.requests} == {"/", "/api/v1/info"}
    assert network.busiest <= 4


async def test_another_firmware_name_is_told_by_its_page() -> None:
    renamed, other = FakeMiner(), FakeMiner()
    for miner, page in ((renamed, b"<title>AnthillOS</title>"), (other, b"<title>Else</title>")):
        miner.overrides["GET", "/info"] = lambda request: httpx.Response(200, json={**INFO_S19_126, "fw_name": "X"})
        miner.overrides["GET", "/"] = lambda request, page=page: httpx.Response(200, content=page)  # type: ignore[misc]
    _, found = await scan({"10.0.0.1": renamed, "10.0.0.2": other})
    assert [item.address for item in found] == ["10.0.0.1"]
    assert found[0].identity is not None


async def test_a_broken_miner_is_told_with_its_problem() -> None:
    miner = FakeMiner()
    miner.overrides["GET", "/info"] = lambda request: httpx.Response(500, json={"err": "flash"})
    miner.overrides["GET", "/"] = lambda request: httpx.Response(200, content=b"AnthillOS")
    _, found = await scan({"10.0.0.2": miner})
    assert found[0].identity is None
    assert "flash" in found[0].problem


async def test_progress_counts_every_address() -> None:
    told: list[tuple[int, int]] = []
    network = parse_range("10.0.0.0/28")
    async for _ in discover(network, ManualClock(), transport=Network({}), on_progress=lambda *now: told.append(now)):
        pass
    assert told == [(done, 14) for done in range(1, 15)]


async def test_stopping_early_leaves_nothing_running() -> None:
    network = Network({"10.0.0.1": FakeMiner()})
    search = discover(parse_range("10.0.0.0/24"), ManualClock(), transport=network, concurrency=2)
    async with contextlib.aclosing(search) as items:
        async for item in items:
            assert item.address == "10.0.0.1"
            break
    asked = len(network.requests)
    await asyncio.sleep(0.02)
    assert len(network.requests) == asked < 20
    assert len(asyncio.all_tasks()) == 1


async def test_other_ports_and_single_addresses() -> None:
    network = Network({"127.0.0.1": FakeMiner()})
    found = [f async for f in discover(parse_range("127.0.0.1/32"), ManualClock(), transport=network, port=8800)]
    assert [item.address for item in found] == ["127.0.0.1:8800"]
    found = [
        f
        async for f in discover(parse_range("fe80::1/128"), ManualClock(), transport=Network({"fe80::1": FakeMiner()}))
    ]
    assert [item.address for item in found] == ["[fe80::1]"]


@pytest.mark.parametrize(
    ("cidr", "reason"),
    [
        ("10.0.0.0/19", "8192 addresses"),
        ("8.8.8.0/28", "public"),
        ("10.0.0.5/24", "host bits set"),
        ("site-a", "no address range"),
        ("fd00::/64", "addresses"),
    ],
)
def test_ranges_that_are_refused(cidr: str, reason: str) -> None:
    with pytest.raises(ParamsError, match=reason):
        parse_range(cidr)


def test_confirmation_widens_but_not_without_end() -> None:
    assert parse_range("10.0.0.0/20").num_addresses == 4096
    assert parse_range("10.0.0.0/16", confirmed=True).num_addresses == 65_536
    assert parse_range("8.8.8.0/28", confirmed=True).num_addresses == 16
    with pytest.raises(ParamsError, match="addresses"):
        parse_range("10.0.0.0/8", confirmed=True)


async def test_concurrency_below_one_is_refused() -> None:
    with pytest.raises(ParamsError, match="concurrency is 0"):
        await anext(aiter(discover(parse_range("10.0.0.0/30"), ManualClock(), concurrency=0)))
