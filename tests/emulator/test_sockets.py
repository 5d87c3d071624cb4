"""The emulator on real sockets: what independent fleet tools look at, and how broken connections look there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx
import pytest

from minesim.emulator import FIRMWARES, Emulator, Fault, FaultKind, rpc
from minesim.emulator.serve import Address, Service, addresses, pace, serving
from minesim.errors import ParamsError
from tests.emulator.firmware import S19J_PRO, Client

MODELS = (S19J_PRO, "Antminer S21", "Antminer L7 (9.5G)", "Antminer S21 Hydro")


def free_ports(miners: int) -> tuple[Address, ...]:
    return addresses(miners, "127.0.0.1", 0, 0)


async def tcp(address: Address, command: Any) -> bytes:
    """Send bytes, or a command as JSON; read until the miner closes, as fleet tools do."""
    reader, writer = await asyncio.open_connection(address.host, address.rpc_port)
    writer.write(command if isinstance(command, bytes) else json.dumps({"command": command}).encode())
    reply = await asyncio.wait_for(reader.read(), 5.0)
    writer.close()
    return reply


def parsed(reply: bytes) -> Any:
    assert reply.endswith(b"\x00")
    return json.loads(reply[:-1])


@pytest.mark.parametrize("firmware", FIRMWARES)
async def test_fleet_tools_tell_what_it_is_over_http_and_over_tcp(firmware: str) -> None:
    emulator = Emulator(MODELS, firmware=firmware)
    emulator.advance(1800.0)
    async with serving(emulator, free_ports(4), speed=None) as service, httpx.AsyncClient(trust_env=False) as client:
        for index, address in enumerate(service.addresses):
            base = f"http://{address.host}:{address.http_port}"
            assert "AnthillOS" in (await client.get(f"{base}/")).text
            assert (await client.get(f"{base}/docs/")).status_code == 200
            miner = (await client.get(f"{base}/api/v1/summary")).json()["miner"]
            info = (await client.get(f"{base}/api/v1/info")).json()
            version, details = await tcp(address, "version"), await tcp(address, "devdetails")
            # Tools take "ANTMINER" in either for stock firmware, and "VNISH" for this one.
            assert b"VNISH" in version
            assert b"ANTMINER" not in (version + details).upper()
            told = parsed(await tcp(address, "version+summary+stats+pools"))
            kind, stats = told["stats"][0]["STATS"]
            assert kind["Type"] == miner["miner_type"] == f"{info['miner']} (Vnish {firmware})"
            model = emulator.miners[index].model
            rate_ths = told["summary"][0]["SUMMARY"][0]["GHS 5s"] / 1e3
            assert rate_ths == pytest.approx(miner["hr_realtime"] / model.per_ths, rel=1e-3)
            assert rate_ths == pytest.approx(model.hashrate_stock_ths, rel=0.03)
            for n, board in enumerate(miner["chains"], start=1):
                assert stats[f"temp{n}"] == board["pcb_temp"]["max"]
                assert stats[f"temp2_{n}"] == board["chip_temp"]["max"]
                assert stats[f"chain_acn{n}"] == model.chips_per_board
                assert stats[f"chain_rate{n}"] / 1e3 == pytest.approx(board["hashrate_rt"] / model.per_ths, rel=5e-3)
            assert [stats[f"fan{n + 1}"] for n in range(model.fans)] == [f["rpm"] for f in miner["cooling"]["fans"]]
            assert stats["watt"] == miner["power_consumption"]
            pool = told["pools"][0]["POOLS"][0]
            assert (pool["URL"], pool["User"]) == (miner["pools"][0]["url"], miner["pools"][0]["user"])
            assert len(told["pools"][0]["POOLS"]) == 1  # the developer fee is no pool of the user's


def test_a_lost_board_has_no_chips_and_an_empty_slot_over_tcp() -> None:
    emulator = Emulator((S19J_PRO,))
    emulator.inject(Fault(0, FaultKind.BOARD_LOST, level=1.0))
    emulator.advance(60.0)
    reply = rpc.answer(emulator, 0, b'{"command":"stats"}')
    assert reply is not None
    stats = parsed(reply)["STATS"][1]
    assert [stats[f"chain_acn{n}"] for n in (1, 2, 3)] == [126, 0, 126]
    assert stats["chain_rate2"] == 0.0
    assert stats["miner_count"] == 2


@pytest.mark.parametrize("command", ["addpool", "restart", "switchpool", "", 3])
def test_unknown_and_writing_commands_are_invalid(command: object) -> None:
    reply = rpc.answer(Emulator((S19J_PRO,)), 0, json.dumps({"command": command}).encode())
    assert reply is not None
    assert parsed(reply)["STATUS"][0]["STATUS"] == "E"


@pytest.mark.parametrize("request_", [b"", b"{", b"[]", b'"stats"', b"\xff\xfe", b'{"cmd":"stats"}'])
def test_nonsense_over_tcp_gets_an_error(request_: bytes) -> None:
    reply = rpc.answer(Emulator((S19J_PRO,)), 0, request_)
    assert reply is not None
    assert parsed(reply)["STATUS"][0]["Msg"] == "Invalid JSON"


@pytest.mark.parametrize("command", ["devs", "config", "devdetails", "pools"])
def test_every_read_over_tcp_has_its_section(command: str) -> None:
    reply = rpc.answer(Emulator((S19J_PRO,)), 0, json.dumps({"command": command}).encode() + b"\n")
    assert reply is not None
    told = parsed(reply)
    assert told["STATUS"][0]["STATUS"] == "S"
    assert told[command.upper()]


async def test_faults_look_the_same_on_sockets() -> None:
    emulator = Emulator((S19J_PRO,) * 5)
    kinds = (FaultKind.TIMEOUT, FaultKind.TRUNCATED, FaultKind.SLOW_DRIP, FaultKind.UNREACHABLE)
    emulator.inject(*(Fault(i, kind, level=2.0) for i, kind in enumerate(kinds)))
    async with serving(emulator, free_ports(5), speed=None) as service:
        async with httpx.AsyncClient(trust_env=False, timeout=0.5) as client:

            async def get(index: int) -> int:
                address = service.addresses[index]
                return (await client.get(f"http://{address.host}:{address.http_port}/api/v1/summary")).status_code

            for index, error in enumerate((httpx.ReadTimeout, httpx.RemoteProtocolError)):
                with pytest.raises(error):
                    await get(index)
            began_s = asyncio.get_running_loop().time()
            assert await get(2) == 200  # each piece comes in time, the whole takes 2 s
            assert asyncio.get_running_loop().time() - began_s > 1.5
            with pytest.raises(httpx.TransportError):
                await get(3)
            assert await get(4) == 200
        with contextlib.suppress(ConnectionError):
            assert await tcp(service.addresses[3], "summary") == b""


async def test_writes_over_sockets_reach_their_own_miner() -> None:
    emulator = Emulator((S19J_PRO,) * 3)
    async with serving(emulator, free_ports(3), speed=None) as service, httpx.AsyncClient(trust_env=False) as client:
        address = service.addresses[1]
        base = f"http://{address.host}:{address.http_port}/api/v1"
        token = (await client.post(f"{base}/unlock", json={"pw": "admin"})).json()["token"]
        reply = await client.post(f"{base}/mining/stop", headers={"authorization": f"Bearer {token}"})
        assert (reply.status_code, reply.content) == (200, b"")
        assert "content-type" not in reply.headers
    emulator.advance(60.0)
    assert [Client(emulator, i).state() for i in range(3)] == ["mining", "stopped", "mining"]


async def test_each_miner_may_have_its_own_address() -> None:
    emulator = Emulator((S19J_PRO,) * 2)
    where = tuple(Address(f"127.0.1.{i}", 0, 0) for i in (1, 2))
    async with serving(emulator, where, speed=None) as service, httpx.AsyncClient(trust_env=False) as client:
        for address in service.addresses:
            info = (await client.get(f"http://{address.host}:{address.http_port}/api/v1/info")).json()
            assert info["system"]["network_status"]["ip"] == address.host


async def test_a_taken_port_is_named() -> None:
    async def serve(where: tuple[Address, ...]) -> Service:
        async with serving(Emulator((S19J_PRO,)), where, speed=None) as service:
            return service

    async with serving(Emulator((S19J_PRO,)), free_ports(1), speed=None) as service:
        taken = service.addresses[0]
        with pytest.raises(ParamsError, match=f"127.0.0.1:{taken.http_port}"):
            await serve((taken,))


async def test_time_runs_with_the_clock_times_the_speed() -> None:
    emulator = Emulator((S19J_PRO,), step_s=1.0)
    pacing = asyncio.create_task(pace(emulator, speed=100.0))
    await asyncio.sleep(0.5)
    pacing.cancel()
    assert 20.0 <= emulator.elapsed_s <= 52.0


async def test_a_fleet_whose_time_cannot_go_on_ends_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = Emulator((S19J_PRO,), step_s=1.0)

    def breaks(seconds: float) -> None:
        raise ParamsError("no more")

    monkeypatch.setattr(emulator, "advance", breaks)
    with pytest.raises(ParamsError, match="no more"):
        async with serving(emulator, free_ports(1), speed=100.0) as service:
            await asyncio.wait_for(service.ended, 5.0)


def test_addresses_count_up() -> None:
    assert addresses(2, "127.0.0.1", 8800) == (Address("127.0.0.1", 8800, 4028), Address("127.0.0.1", 8801, 4029))
    assert addresses(300, "127.0.1.1", 80)[299] == Address("127.0.2.44", 80, 4028)


@pytest.mark.parametrize(
    ("miners", "host", "port", "rpc_port"),
    [
        (1, "localhost", 8800, 4028),
        (2, "127.0.0.1", 65535, 4028),
        (5, "127.0.0.1", 4030, 4028),
        (3, "127.0.0.1", -1, 9),
    ],
)
def test_impossible_addresses_are_refused(miners: int, host: str, port: int, rpc_port: int) -> None:
    with pytest.raises(ParamsError):
        addresses(miners, host, port, rpc_port)
